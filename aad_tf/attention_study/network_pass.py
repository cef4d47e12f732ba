"""The passes a network must make: predictions, maps and the next round of an attack, together.

One forward pass per round serves the predictions, both kinds of map and the gradient of the attack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.attacks.loop import (
    Examples,
    State,
    compiled_iteration,
    iteration_spec,
    signed_step,
)
from aad_tf.attacks.objectives import LogitsObjective
from aad_tf.attention import grad_cam_plus_plus_map, signed_grad_cam_map
from aad_tf.attention.grad_cam import class_gradients, predicted_classes
from aad_tf.classifier import Classifier
from aad_tf.utils.ops import at_least_float32

EXPLAINED = ("label", "prediction")


class Explanation(NamedTuple):
    """What is known of a batch after one pass; NumPy arrays outside graphs.

    Attributes:
        prediction: int32 `[batch]`.
        confidence: `[batch]`, softmax probability of the true label.
        top_confidence: `[batch]`, of the prediction.
        grad_cam: `[batch, h, w]` before the ReLU, of either sign.
        grad_cam_plus_plus: `[batch, h, w]`, not negative.
    """

    prediction: Any
    confidence: Any
    top_confidence: Any
    grad_cam: Any
    grad_cam_plus_plus: Any


class Round(NamedTuple):
    """A batch at one point of an attack: 0 is the clean images.

    Attributes:
        images: tensor `[batch, H, W, C]`.
        explanation: of these images.
    """

    images: tf.Tensor
    explanation: Explanation


def follow(
    classifier: Classifier,
    attack: GradientSignAttack,
    images: tf.Tensor,
    labels: tf.Tensor,
    explained: str = "label",
    seed: int = 0,
    first_index: int = 0,
) -> Iterator[Round]:
    """Explains a batch as it is and after each round of an attack.

    Args:
        classifier: the network.
        attack: any gradient-sign attack without restarts.
        images: `[batch, H, W, C]` in the classifier's dtype.
        labels: int32 `[batch]`.
        explained: class that maps explain: the true `"label"` or the `"prediction"` of that round.
        seed: of a random start, which depends on it and the example's index only.
        first_index: index of the first example.

    Yields:
        `attack.num_steps + 1` rounds, the clean images first.
    """
    explain = compiled_explanation(classifier, explained)
    examples = Examples(images, labels, attack.compiled_context(classifier)(images, labels))
    indices = first_index + np.arange(len(images))
    state = attack.begin(classifier, examples, seed, indices, 0)
    for number in range(attack.num_steps):
        if number == 0 and attack.random_start:
            yield Round(images, _arrays(explain(images, labels)))
            state, _ = attack.compiled_iteration(classifier)(state, examples)
            continue
        both = compiled_explained_iteration(classifier, attack.objective, explained)
        following, explanation = both(state, examples, *attack.scalars(classifier.dtype))
        yield Round(state.images, _arrays(explanation))
        state = following
    yield Round(state.images, _arrays(explain(state.images, labels)))


def _arrays(explanation: Explanation) -> Explanation:
    return Explanation(*(part.numpy() for part in explanation))


def compiled_explanation(classifier: Classifier, explained: str = "label") -> Any:
    """The compiled function that explains a batch.

    Args:
        classifier: the network.
        explained: class that maps explain: the true `"label"` or the `"prediction"`.

    Returns:
        A function of images `[batch, H, W, C]` and int32 labels `[batch]` to an `Explanation`;
        the same function for the same arguments.
    """
    return classifier.cached_function(
        ("explanation", explained),
        lambda images, labels: _explained(classifier, images, labels, explained)[0],
        [classifier.image_spec, classifier.labels_spec],
    )


def compiled_explained_iteration(classifier: Classifier, objective: Any, explained: str) -> Any:
    """The compiled function that explains images and moves them by an iteration of an attack.

    Objectives of the logits share the forward pass; for others, as A3, which need a tape of
    their own, it is run once more.

    Returns:
        A function of a `State`, `Examples`, step size and budget, to the next state and the
        `Explanation` of the present images.
    """
    if not isinstance(objective, LogitsObjective):
        explain = compiled_explanation(classifier, explained)
        iterate = compiled_iteration(classifier, objective)
        return lambda state, examples, *scalars: (
            iterate(state, examples, *scalars)[0],
            explain(state.images, examples.labels),
        )

    def both(state: State, examples: Examples, step_size: Any, epsilon: Any) -> Any:
        images, labels = state.images, examples.labels
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            explanation, logits = _explained(classifier, images, labels, explained)
            values = objective.from_logits(logits, labels, *examples.context)
        gradient = tape.gradient(values, images)
        moved = signed_step(
            images, gradient, examples.images, step_size, epsilon, classifier.bounds
        )
        return state._replace(images=moved), explanation

    return classifier.cached_function(
        ("explained_iteration", objective, explained),
        both,
        lambda: iteration_spec(classifier, objective),
    )


def _explained(
    classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, explained: str
) -> tuple[Explanation, tf.Tensor]:
    """The explanation of images, and their logits."""
    target = labels if explained == "label" else None
    logits, features, gradients = class_gradients(classifier, images, target)
    probabilities = tf.nn.softmax(at_least_float32(logits))
    explanation = Explanation(
        predicted_classes(logits),
        tf.gather(probabilities, labels, axis=1, batch_dims=1),
        tf.reduce_max(probabilities, axis=-1),
        signed_grad_cam_map(features, gradients),
        grad_cam_plus_plus_map(features, gradients),
    )
    return explanation, logits
