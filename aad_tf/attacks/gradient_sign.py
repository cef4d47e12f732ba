"""GradientSignAttack: FGSM, PGD and other attacks that step along the sign of a gradient.

With the norm l2 they step along the gradient itself, divided by its l2-norm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
    """Gradient descent of an objective within a budget, in one step or several.

    In l-inf a step is along the sign of the gradient. In l2 it is along the gradient of each
    example divided by its l2-norm, so that each step has the l2-norm `step_size`; an example whose
    gradient is zero stays where it is. The image is then projected onto the ball around the
    original one and clipped to the pixel range, which leaves it within the ball.

    Step sizes and budgets are in the unit of the images: 8 / 255 for a classifier of images in
    [0, 1] corresponds to 8 for one with bounds (0, 255). They are compared with the classifier's
    bounds when the attack is run.

    Attributes:
        objective: function of one value per image, which the attack lowers, such as
            `AwayFromLabel()`.
        step_size: size of a step, in the unit of the images.
        num_steps: number of iterations (rounds) per restart.
        epsilon: budget around the original image, onto which every step is projected; None for no
            projection, so that perturbations grow up to `num_steps * step_size`, as in the AAD
            paper.
        random_start: whether to start from a random point: a uniform point of the budget, or the
            original image plus `noise`.
        restarts: number of runs with different random starts. For each example the result of the
            first run that succeeds is kept (the image is misclassified, or predicted as the target
            of a targeted attack), else that of the last run.
        name: label in records and tables; attacks that differ in their names alone are equal.
        noise: `UniformNoise` or `GaussianNoise`, which a random start adds to the image; it may
            exceed the budget, and is projected by the first step. None for a uniform point of the
            budget.
        norm: norm of steps and budget, `"linf"` or `"l2"`.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: a size negative or not finite, a count below 1, several restarts without a
            random start, a random start with neither budget nor noise, noise without a random
            start or in l2, or an unknown norm.

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
    norm: str = dataclasses.field(default="linf", metadata=LEFT_OUT_AT_DEFAULT)

    def __post_init__(self) -> None:
        check_epsilon(self.step_size, "step_size")
        if self.noise is not None and not self.random_start:
            raise ValueError("noise is that of a random start: set random_start=True, or leave it.")
        super().__post_init__()

    def check_sizes(
        self, bounds: Bounds, image_shape: Sequence[int | None] = (None, None, None)
    ) -> None:
        """Checks that budget, step size and noise fit the pixel range.

        Args:
            bounds: pixel range of the images.
            image_shape: `(H, W, C)` of the images, on which the largest sizes in l2 depend; with an
                entry None, sizes in l2 may be any.

        Raises:
            ValueError: one of them is larger than the largest distance between two images: the
                width of the pixel range, in l2 times the root of the number of values of an image.

        Example:
            >>> fgsm(8).check_sizes(Bounds(0, 255))
        """
        super().check_sizes(bounds, image_shape)
        name = "epsilon of each step" if self.epsilon is None else "step_size"
        self._check_size(self.step_size, name, bounds, image_shape)
        if self.noise is not None:
            self.noise.check_sizes(bounds)

    def scalars(self, dtype: tf.DType) -> tuple[tf.Tensor, ...]:
        """Returns the sizes that one iteration takes: step size and epsilon.

        Args:
            dtype: dtype of the tensors.

        Returns:
            Two scalar tensors in the unit of the images. Without a budget, epsilon is infinity.
        """
        return tf.constant(self.step_size, dtype), *super().scalars(dtype)

    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Makes one gradient step on a batch, projected onto the budget.

        Args:
            classifier: the network under attack.
            state: the current images `[batch, H, W, C]`.
            examples: original images, labels, and what the objective computed once from the
                original images, of the same batch.
            *scalars: step size and epsilon, scalar tensors in the unit of the images.

        Returns:
            The state after a step against the objective's gradient, in l-inf against its sign, and
            the logits `[batch, classes]` of the images before the step.
        """
        step_size, epsilon = scalars
        return iteration(classifier, self.objective, state, examples, step_size, epsilon, self.norm)

    def _reach(self, num_steps: int, width: float) -> float:
        begins = 0.0
        if self.random_start:
            begins = self.noise.reach if self.noise is not None else self.epsilon or 0.0
        reach = begins + num_steps * self.step_size
        # A start is projected by the first step only.
        bounded = self.epsilon is not None and num_steps > 0
        return min(reach, super()._reach(num_steps, width) if bounded else self._farthest(width))
