"""Expectation over transformation (EoT): attacks on networks whose outputs are random.

Source: A. Athalye et al., Synthesizing Robust Adversarial Examples, ICML 2018; AutoAttack's code
(Croce and Hein 2020) takes the gradient over 20 draws in its version "rand".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.attacks.loop import Examples, objective_context, objective_gradient, value_dtype
from aad_tf.attacks.objectives import AnyObjective
from aad_tf.attacks.serialization import register_kind
from aad_tf.classifier import Classifier
from aad_tf.utils.checks import check_count


@register_kind("mean_over_draws")
@dataclass(frozen=True)
class MeanOverDraws:
    """Mean of an objective and of its gradient over several passes of a network with random layers.

    Each pass draws anew, whatever the layers draw when the network runs in inference mode. Memory
    does not grow with the number of draws. The logits it returns are the mean, too.

    Attributes:
        objective: what is averaged, a function of images or of logits.
        num_draws: number of passes.

    Example:
        >>> objective = MeanOverDraws(AwayFromLabel(), num_draws=20)
        >>> attack = GradientSignAttack(objective, 2 / 255, num_steps=10, epsilon=8 / 255)
    """

    objective: AnyObjective
    num_draws: int = 20

    def __post_init__(self) -> None:
        check_count(self.num_draws, "num_draws")
        if isinstance(self.objective, MeanOverDraws):
            raise ValueError(
                f"The objective is a mean over {self.objective.num_draws} draws already; take the "
                f"plain one."
            )

    @property
    def name(self) -> str:
        """Short name for records."""
        return f"mean_over_draws({self.objective.name}, {self.num_draws})"

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """What the objective needs of the original images, from one pass."""
        return objective_context(classifier, self.objective, images, labels)

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Values to descend and logits, means over the draws; see `ContextObjective`."""
        dtype = value_dtype(classifier)
        # Each draw has a tape of its own, so that the activations of one are held at a time.
        fixed = tf.stop_gradient(images)
        examples = Examples(fixed, labels, context)

        def draw(number: Any, *sums: tf.Tensor) -> tuple:
            found = objective_gradient(classifier, self.objective, fixed, examples)
            return number + 1, *(
                tf.ensure_shape(total + tf.cast(each, total.dtype), total.shape)
                for total, each in zip(sums, found, strict=True)
            )

        count = tf.shape(images)[0]
        zeros = (
            tf.zeros((count,), dtype),
            tf.zeros_like(images),
            tf.zeros((count, classifier.num_classes), dtype),
        )
        _, *sums = tf.while_loop(
            lambda number, *_: number < self.num_draws,
            draw,
            (0, *zeros),
            parallel_iterations=1,
        )
        values, gradient, logits = (total / self.num_draws for total in sums)
        # Zero, but with the mean gradient.
        slope = tf.reduce_sum(gradient * (images - fixed), axis=(1, 2, 3))
        return values + tf.cast(slope, dtype), logits


def draws_of(objective: AnyObjective) -> int:
    """How many passes of the network an objective averages; 1 if it averages none.

    Example:
        >>> draws_of(MeanOverDraws(AwayFromLabel(), 20))
        20
    """
    return objective.num_draws if isinstance(objective, MeanOverDraws) else 1


def over_draws(objective: AnyObjective, num_draws: int) -> AnyObjective:
    """The objective, or its mean over so many draws if there are several.

    Args:
        objective: of an attack.
        num_draws: passes of the network in each iteration, at least 1.

    Raises:
        ValueError: fewer than one draw.
    """
    check_count(num_draws, "num_draws")
    return objective if num_draws == 1 else MeanOverDraws(objective, num_draws)


def mean_logits(classifier: Classifier, images: tf.Tensor, num_draws: int) -> tf.Tensor:
    """Mean of the logits of so many passes of the network in inference mode, `[batch, classes]`."""
    if not tf.executing_eagerly():
        passes = [classifier(images, training=False).logits for _ in range(num_draws)]
    else:
        # Op by op, a forward pass takes several times as long as the compiled one.
        passes = [classifier.predict_logits(images) for _ in range(num_draws)]
    return tf.add_n(passes) / num_draws if num_draws > 1 else passes[0]
