"""FAB: the nearest misclassified image, found by steps onto the linearised decision boundary.

Source: F. Croce and M. Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary
Attack, ICML 2020; in the targeted form of the AutoAttack code.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.loop import (
    Examples,
    State,
    objective_gradient,
    where,
)
from aad_tf.attacks.margins import TargetedMargin, with_target
from aad_tf.attacks.serialization import register_kind
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count
from aad_tf.utils.ops import at_least_float32, linf_distance

# Values of the original code (Croce and Hein 2020b).
_LARGEST_BIAS = 0.1
_OVERSHOOT = 1.05
_BACKWARD = 0.9


def step_to_hyperplane(
    points: tf.Tensor, weights: tf.Tensor, gaps: tf.Tensor, bounds: Bounds
) -> tf.Tensor:
    """The step of least l-inf norm that takes each point onto a hyperplane, within the bounds.

    All coordinates move by the same amount against the sign of their weight times that of the
    gap, but for those that reach a bound before. Where the hyperplane is out of reach, all
    of them go to their bounds.

    Args:
        points: `[batch, dimensions]`, within the bounds.
        weights: `[batch, dimensions]`, normal vectors.
        gaps: `[batch]`, by how much `weights @ point` is above its value on the hyperplane.
        bounds: pixel range.

    Returns:
        `[batch, dimensions]`.

    Example:
        >>> points, weights = tf.constant([[0.5, 0.9]]), tf.constant([[1.0, -1.0]])
        >>> step_to_hyperplane(points, weights, tf.constant([0.4]), Bounds()).numpy()
        array([[-0.3,  0.1]], dtype=float32)
    """
    down = tf.where(gaps < 0, -tf.ones_like(gaps), tf.ones_like(gaps))[:, tf.newaxis]
    direction = -down * tf.sign(weights)
    bound = tf.where(direction > 0, *(tf.cast(each, points.dtype) for each in bounds[::-1]))
    room = tf.where(direction == 0, tf.zeros_like(points), tf.abs(bound - points))
    size = tf.abs(weights)
    needed = tf.abs(gaps)[:, tf.newaxis]
    farthest = tf.reduce_max(room, axis=1, keepdims=True)

    def body(free: tf.Tensor, pace: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, ...]:
        del pace, found
        used = tf.reduce_sum(
            tf.where(free, tf.zeros_like(room), size * room), axis=1, keepdims=True
        )
        left = tf.reduce_sum(tf.where(free, size, tf.zeros_like(size)), axis=1, keepdims=True)
        pace = tf.where(left > 0, tf.math.divide_no_nan(needed - used, left), farthest)
        following = free & (room > pace)
        return following, pace, tf.reduce_all(following == free)

    # The pace that the free coordinates need grows as some of them reach their bounds, so that in
    # the end, after a few rounds, those are free whose room is larger: no need to sort.
    _, pace, _ = tf.while_loop(
        lambda free, pace, found: ~found,
        body,
        (room > 0, farthest, False),
        parallel_iterations=1,
    )
    return direction * tf.minimum(pace, room)


class Memory(NamedTuple):
    """What FAB carries of each example from one iteration to the next.

    Attributes:
        step: int32 `[batch]`, iterations done.
        best: `[batch, H, W, C]`, the nearest misclassified image so far, within the budget if there
            is one; the original without one.
        distance: `[batch]`, l-inf distance of it from the original image; infinity without one.
    """

    step: Any
    best: Any
    distance: Any


@register_kind("fab")
@dataclass(frozen=True)
class FastAdaptiveBoundary(IterativeAttack):
    """Targeted FAB of Croce and Hein (2020b), l-inf: looks for the nearest misclassified image.

    Each iteration linearises the boundary between the true class and a target, steps a little
    beyond it with a bias towards the original image, and once the image is misclassified goes back
    a tenth of the way. It takes the targets one after the other. With a budget, only images within
    it count.

    Attributes:
        epsilon: l-inf budget; None looks for the nearest image, however far.
        num_steps: iterations towards all targets together, and one to judge the last image.
        steps_per_target: iterations towards one target.

    Example:
        >>> nearest = fab(None)(classifier, images, labels)
    """

    objective: TargetedMargin
    num_steps: int
    epsilon: float | None = None
    # It begins at the original images, so that starting again would repeat it.
    random_start: bool = dataclasses.field(default=False, init=False)
    restarts: int = dataclasses.field(default=1, init=False)
    name: str = dataclasses.field(default="fab", compare=False)
    steps_per_target: int = 100

    keeps_best: ClassVar[bool] = True
    compiled_with: ClassVar[tuple[str, ...]] = ("objective", "steps_per_target")
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.steps_per_target, "steps_per_target")
        if not isinstance(self.objective, TargetedMargin):
            raise TypeError(
                f"FAB steps onto the boundary between two classes, so its objective must be a "
                f"TargetedMargin, got {self.objective.name!r}. Take apgd for other objectives."
            )

    def for_classes(self, num_classes: int) -> FastAdaptiveBoundary:
        """The attack on a network of so many classes: with `num_classes - 1` targets at most."""
        if self.objective.num_targets < num_classes:
            return self
        fewer = dataclasses.replace(self.objective, num_targets=num_classes - 1)
        steps = (num_classes - 1) * self.steps_per_target + 1
        return dataclasses.replace(self, objective=fewer, num_steps=steps)

    def result(self, state: State) -> tf.Tensor:
        """The nearest misclassified images; the original ones without any."""
        return state.memory.best

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """The state before the first iteration: the original images."""
        images = tf.convert_to_tensor(examples.images)
        count = tf.shape(images)[0]
        distance = tf.fill((count,), tf.cast(math.inf, images.dtype))
        return State(images, Memory(tf.zeros((count,), tf.int32), images, distance))

    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """See `IterativeAttack.iteration`: judges the images, then steps towards the boundary."""
        (epsilon,) = scalars
        images, memory = state.images, state.memory
        origin = examples.images
        logits = classifier(images, training=False).logits
        misclassified = tf.argmax(logits, -1, tf.int32) != examples.labels
        distance = linf_distance(images, origin)
        nearer = misclassified & (distance < memory.distance) & (distance <= epsilon)
        best = where(nearer, images, memory.best)
        least = tf.where(nearer, distance, memory.distance)

        back = origin + tf.cast(_BACKWARD, images.dtype) * (images - origin)
        images = where(misclassified, back, images)
        images = where(memory.step % self.steps_per_target == 0, origin, images)
        following = self._towards_boundary(
            classifier,
            images,
            with_target(self.objective, examples, memory.step // self.steps_per_target),
        )
        memory = Memory(memory.step + 1, best, least)
        stopped = tf.nest.map_structure(tf.stop_gradient, State(following, memory))
        return stopped, logits

    def noteworthy(
        self, state: State, logits: tf.Tensor, examples: Examples, *scalars: tf.Tensor
    ) -> tf.Tensor:
        """Which images are misclassified within the budget, bool `[batch]`; or logits not finite.

        Without a budget the misclassified ones are not among them: the attack looks on for nearer
        ones.
        """
        (epsilon,) = scalars
        within = linf_distance(state.images, examples.images) <= epsilon
        within &= tf.math.is_finite(epsilon)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return super().noteworthy(state, logits, examples) & (within | ~finite)

    def _towards_boundary(
        self, classifier: Classifier, images: tf.Tensor, examples: Examples
    ) -> tf.Tensor:
        """A step a little beyond the linearised boundary, biased towards the original image."""
        origin, bounds = examples.images, classifier.bounds
        values, gradient, _ = objective_gradient(classifier, self.objective, images, examples)
        # Sums over all pixels of an image need more than half precision.
        dtype, static = images.dtype, images.shape
        images, origin, gradient = map(at_least_float32, (images, origin, gradient))
        gap = values + tf.reduce_sum(gradient * (origin - images), axis=(1, 2, 3))
        shape = tf.shape(images)
        flat = (shape[0], tf.reduce_prod(shape[1:]))
        normal = tf.reshape(gradient, flat)
        both = (
            tf.reshape(tf.concat([images, origin], axis=0), (2 * shape[0], flat[1])),
            tf.tile(normal, (2, 1)),
            tf.concat([values, gap], axis=0),
        )
        steps = tf.split(step_to_hyperplane(*both, bounds), 2)
        steps = [tf.reshape(each, shape) for each in steps]
        step, biased = (
            tf.maximum(tf.reduce_max(tf.abs(each), (1, 2, 3), keepdims=True), 1e-8)
            for each in steps
        )
        bias = tf.minimum(step / (step + biased), tf.cast(_LARGEST_BIAS, images.dtype))
        overshoot = tf.cast(_OVERSHOOT, images.dtype)
        moved = (1 - bias) * (images + overshoot * steps[0]) + bias * (
            origin + overshoot * steps[1]
        )
        return tf.ensure_shape(tf.cast(tf.clip_by_value(moved, *bounds), dtype), static)


def fab(epsilon: float | None, num_steps: int = 100, num_targets: int = 9) -> FastAdaptiveBoundary:
    """Targeted fast adaptive boundary attack (Croce and Hein 2020b), l-inf.

    Called directly it returns the nearest misclassified image that it found, or the original one.

    Args:
        epsilon: l-inf budget in the unit of the images; None looks for the nearest misclassified
            image, however far, whose distance the records of an evaluation tell.
        num_steps: iterations towards each target.
        num_targets: how many of the classes that are nearest to the original image are tried.

    Raises:
        ValueError: a size or count out of range.

    Example:
        >>> report = aad_tf.evaluate_robustness(model, (images, labels), fab(None))
        >>> distances = [record["linf"] for record in report.records()]
    """
    check_count(num_steps, "num_steps")
    objective = TargetedMargin(num_targets)
    return FastAdaptiveBoundary(
        objective, num_steps * num_targets + 1, epsilon, steps_per_target=num_steps
    )
