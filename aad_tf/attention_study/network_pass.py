"""Runs the network for an attention study: predictions, attention maps and the attack's iterations.

One forward pass per iteration yields the predictions, the Grad-CAM and Grad-CAM++ maps, and the
gradient of the attack.
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
    compiled_gradient_sign_iteration,
    image_gradient,
    iteration_spec,
    projected_step,
)
from aad_tf.attacks.objectives import LogitsObjective
from aad_tf.attention import grad_cam_plus_plus_map, signed_grad_cam_map
from aad_tf.attention.grad_cam import class_gradients, predicted_classes
from aad_tf.classifier import Classifier
from aad_tf.utils.ops import at_least_float32

EXPLAINED = ("label", "prediction")


class Explanation(NamedTuple):
    """Predictions and attention maps of a batch; tensors in graphs, else NumPy arrays.

    Attributes:
        prediction: int32 `[batch]`, predicted classes.
        confidence: `[batch]`, softmax probability of the true label.
        top_confidence: `[batch]`, softmax probability of the predicted class.
        grad_cam: `[batch, h, w]`, Grad-CAM maps before the ReLU, of either sign.
        grad_cam_plus_plus: `[batch, h, w]`, Grad-CAM++ maps, not negative.
    """

    prediction: Any
    confidence: Any
    top_confidence: Any
    grad_cam: Any
    grad_cam_plus_plus: Any


class Round(NamedTuple):
    """A batch before an attack, or after one of its iterations.

    Attributes:
        images: tensor `[batch, H, W, C]`.
        explanation: predictions and attention maps of these images.
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
    """Computes predictions and maps of a batch before and after each iteration of an attack.

    Args:
        classifier: the network; runs in inference mode.
        attack: any gradient-sign attack without restarts.
        images: `[batch, H, W, C]` in the classifier's dtype.
        labels: int32 `[batch]`, true labels.
        explained: class that maps explain: the true `"label"`, or the `"prediction"` for the images
            of each round.
        seed: seed of the random start, if the attack has one.
        first_index: index of the first example in its data set, on which random starts depend.

    Yields:
        `attack.num_steps + 1` times a `Round`, which holds images and their predictions and maps:
        of the original images, then after each iteration. A random start itself is not yielded.
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
    """Compiles the computation of predictions and attention maps.

    Args:
        classifier: the network; runs in inference mode.
        explained: class that maps explain: the true `"label"` or the `"prediction"`.

    Returns:
        A function from images `[batch, H, W, C]` and int32 labels `[batch]` to an `Explanation` of
        tensors: predicted classes `[batch]`, probabilities of the label and of the prediction
        `[batch]`, Grad-CAM maps before the ReLU and Grad-CAM++ maps, both `[batch, h, w]`. It is
        traced once for all batch sizes, and cached in the classifier.
    """
    return classifier.cached_function(
        ("explanation", explained),
        lambda images, labels: _explained(classifier, images, labels, explained)[0],
        [classifier.image_spec, classifier.labels_spec],
    )


def compiled_explained_iteration(classifier: Classifier, objective: Any, explained: str) -> Any:
    """Compiles an iteration of an attack together with predictions and maps of the current images.

    For an objective that is computed from the logits, one forward pass serves both; for others,
    such as that of A3, there are two.

    Args:
        classifier: the network; runs in inference mode.
        objective: objective of the attack, whose value an iteration lowers.
        explained: class that maps explain: the true `"label"` or the `"prediction"`.

    Returns:
        A function from a `State` (the current images), `Examples` (original images, labels, and
        what the objective computed once from them), step size and epsilon (scalars in the unit of
        the images) to the next `State` and the `Explanation` of the images before the step: their
        predictions, probabilities, and Grad-CAM and Grad-CAM++ maps.
    """
    if not isinstance(objective, LogitsObjective):
        explain = compiled_explanation(classifier, explained)
        iterate = compiled_gradient_sign_iteration(classifier, objective)
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
        gradient = image_gradient(classifier, tape, values, images)
        moved = projected_step(
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
