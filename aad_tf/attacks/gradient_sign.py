"""GradientSignAttack: what to descend, how far, how often, from where."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import tensorflow as tf

from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.loop import Examples, State, iteration
from aad_tf.attacks.objectives import AnyObjective
from aad_tf.attacks.serialization import LEFT_OUT_AT_DEFAULT, register_kind
from aad_tf.attacks.starts import Noise
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_epsilon


@register_kind("gradient_sign")
@dataclass(frozen=True)
class GradientSignAttack(IterativeAttack):
    """Iterated signed gradient descent of an objective under an l-inf budget.

    Sizes are in the unit of the images: 8 / 255 for a classifier of images in [0, 1] is 8 for one
    with bounds (0, 255). They are checked against the bounds when the attack meets a classifier.

    Attributes:
        objective: what is descended; it carries its own sign and labels.
        step_size: size of a step, in the unit of the images.
        num_steps: number of iterations (rounds).
        epsilon: l-inf budget around the clean image; None lets iterations accumulate to
            `num_steps * step_size`, as the AAD paper does.
        random_start: start from a random point: a uniform one of the budget, or as `noise` says.
        restarts: independent random starts; of each example the first is kept that ends
            misclassified, or at its target if the attack is targeted; else the last one.
        name: label for records and tables; no part of the attack's identity.
        noise: what a random start adds to the image instead, `UniformNoise` or `GaussianNoise`;
            the first step projects it. None for a uniform point of the budget.

    Raises:
        ValueError: a size negative or not finite, a count under one, restarts without random
            start, a random start with neither budget nor noise, or noise without random start.

    Example:
        >>> attack = pgd(epsilon=8 / 255, step_size=2 / 255, num_steps=10)
        >>> adversarial = attack(classifier, images, labels, seed=0)
    """

    objective: AnyObjective
    step_size: float
    num_steps: int = 1
    epsilon: float | None = None
    random_start: bool = False
    restarts: int = 1
    name: str = dataclasses.field(default="gradient_sign", compare=False)
    noise: Noise | None = dataclasses.field(default=None, metadata=LEFT_OUT_AT_DEFAULT)

    def __post_init__(self) -> None:
        check_epsilon(self.step_size, "step_size")
        if self.noise is not None and not self.random_start:
            raise ValueError("noise is that of a random start: set random_start=True, or leave it.")
        super().__post_init__()

    def check_sizes(self, bounds: Bounds) -> None:
        """Raises ValueError if a size is larger than the width of the pixel range.

        Args:
            bounds: pixel range of the images.

        Example:
            >>> fgsm(8).check_sizes(Bounds(0, 255))
        """
        super().check_sizes(bounds)
        check_epsilon(
            self.step_size, "epsilon of each step" if self.epsilon is None else "step_size", bounds
        )
        if self.noise is not None:
            self.noise.check_sizes(bounds)

    def scalars(self, dtype: tf.DType) -> tuple[tf.Tensor, ...]:
        """Step size and budget as tensors, so that one compiled iteration serves all values."""
        return tf.constant(self.step_size, dtype), *super().scalars(dtype)

    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """See `IterativeAttack.iteration`; arithmetic as in `aad_tf.attacks.loop.iteration`."""
        return iteration(classifier, self.objective, state, examples, *scalars)

    def _reach(self, num_steps: int, width: float) -> float:
        begins = 0.0
        if self.random_start:
            begins = self.noise.reach if self.noise is not None else self.epsilon or 0.0
        reach = begins + num_steps * self.step_size
        # A start is projected by the first step only.
        return min(reach, width if self.epsilon is None or num_steps == 0 else self.epsilon)
