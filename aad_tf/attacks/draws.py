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

    The network runs in inference mode; each pass uses new random numbers of those layers that are
    random in that mode. Memory does not grow with the number of passes. The logits are means over
    the passes too.

    Attributes:
        objective: objective that is averaged.
        num_draws: number of passes, at least 1.

    Raises:
        TypeError: a number of passes that is not an integer.
        ValueError: fewer than one pass, or an objective that is a `MeanOverDraws` already.

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
        """Short name for records: that of the objective, and the number of passes."""
        return f"mean_over_draws({self.objective.name}, {self.num_draws})"

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Returns what the averaged objective needs of the original images; it is not averaged.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the original images.
            labels: int32 `[batch]`, true labels.

        Returns:
            Tensors with the batch as first axis; an empty tuple for most objectives.
        """
        return objective_context(classifier, self.objective, images, labels)

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the mean objective of a batch.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the current images of the attack.
            labels: int32 `[batch]`, true labels.
            *context: the tensors that the method `context` computed from the original images.

        Returns:
            The mean values `[batch]`, whose gradient with respect to `images` is the mean gradient,
            and the mean logits `[batch, classes]`.
        """
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
    """Returns the number of passes of the network that an objective averages.

    Args:
        objective: objective of an attack.

    Returns:
        `num_draws` of a `MeanOverDraws`; 1 for every other objective.

    Example:
        >>> draws_of(MeanOverDraws(AwayFromLabel(), 20))
        20
    """
    return objective.num_draws if isinstance(objective, MeanOverDraws) else 1


def over_draws(objective: AnyObjective, num_draws: int) -> AnyObjective:
    """Makes the mean of an objective over several passes of the network.

    Args:
        objective: objective of an attack.
        num_draws: number of passes in each iteration, at least 1.

    Returns:
        A `MeanOverDraws`; the objective itself if there is one pass.

    Raises:
        TypeError: a number of passes that is not an integer.
        ValueError: fewer than one pass.
    """
    check_count(num_draws, "num_draws")
    return objective if num_draws == 1 else MeanOverDraws(objective, num_draws)


def mean_logits(classifier: Classifier, images: tf.Tensor, num_draws: int) -> tf.Tensor:
    """Mean of the logits over several passes of the network in inference mode.

    Args:
        classifier: the network.
        images: `[batch, H, W, C]`.
        num_draws: number of passes, at least 1.

    Returns:
        `[batch, classes]`.
    """
    if not tf.executing_eagerly():
        passes = [classifier(images, training=False).logits for _ in range(num_draws)]
    else:
        # Op by op, a forward pass takes several times as long as the compiled one.
        passes = [classifier.predict_logits(images) for _ in range(num_draws)]
    return tf.add_n(passes) / num_draws if num_draws > 1 else passes[0]
