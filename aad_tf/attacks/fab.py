"""FAB: searches for the nearest misclassified image by steps to the linearised decision boundary.

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
from aad_tf.attacks.margins import TargetedMargin, norm_of_targets, with_target
from aad_tf.attacks.serialization import LEFT_OUT_AT_DEFAULT, register_kind
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count
from aad_tf.utils.norms import distance
from aad_tf.utils.ops import at_least_float32

# Values of the original code (Croce and Hein 2020b).
_LARGEST_BIAS = 0.1
_OVERSHOOT = 1.05
_BACKWARD = 0.9
# Weights below this part of the largest one do not count in l2, where steps are divided by them.
_SMALLEST_WEIGHT = 1e-20


def step_to_hyperplane(
    points: tf.Tensor, weights: tf.Tensor, gaps: tf.Tensor, bounds: Bounds, norm: str = "linf"
) -> tf.Tensor:
    """Computes the step of least norm from each point to a hyperplane, within the bounds.

    In l-inf all coordinates move by the same amount, in l2 in proportion to their weights, except
    for those that reach a bound before, so that `weights @ point` approaches its value on the
    hyperplane. If no point within the bounds lies on the hyperplane, every coordinate moves to its
    bound.

    Args:
        points: `[batch, dimensions]`, within the bounds.
        weights: `[batch, dimensions]`, normal vectors of the hyperplanes.
        gaps: `[batch]`, `weights @ point` minus its value on the hyperplane.
        bounds: lowest and highest value of a coordinate.
        norm: `"linf"` or `"l2"`.

    Returns:
        The steps `[batch, dimensions]`, to be added to the points.

    Example:
        >>> points, weights = tf.constant([[0.5, 0.9]]), tf.constant([[1.0, -1.0]])
        >>> step_to_hyperplane(points, weights, tf.constant([0.4]), Bounds()).numpy().round(3)
        array([[-0.3,  0.1]], dtype=float32)
    """
    down = tf.where(gaps < 0, -tf.ones_like(gaps), tf.ones_like(gaps))[:, tf.newaxis]
    size = tf.abs(weights)
    rate = tf.ones_like(size)
    if norm == "l2":
        rate = tf.math.divide_no_nan(size, tf.reduce_max(size, axis=1, keepdims=True))
        weights = tf.where(rate < _SMALLEST_WEIGHT, tf.zeros_like(weights), weights)
    direction = -down * tf.sign(weights)
    bound = tf.where(direction > 0, *(tf.cast(each, points.dtype) for each in bounds[::-1]))
    room = tf.where(direction == 0, tf.zeros_like(points), tf.abs(bound - points))
    needed = tf.abs(gaps)[:, tf.newaxis]
    # At this pace every coordinate reaches its bound.
    farthest = tf.reduce_max(tf.math.divide_no_nan(room, rate), axis=1, keepdims=True)

    def body(free: tf.Tensor, pace: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, ...]:
        del pace, found
        used = tf.reduce_sum(
            tf.where(free, tf.zeros_like(room), size * room), axis=1, keepdims=True
        )
        left = tf.reduce_sum(tf.where(free, size * rate, tf.zeros_like(size)), 1, keepdims=True)
        pace = tf.where(left > 0, tf.math.divide_no_nan(needed - used, left), farthest)
        following = free & (room > pace * rate)
        return following, pace, tf.reduce_all(following == free)

    # The pace that the free coordinates need grows as some of them reach their bounds, so that in
    # the end, after a few rounds, those are free whose room is larger: no need to sort.
    _, pace, _ = tf.while_loop(
        lambda free, pace, found: ~found,
        body,
        (room > 0, farthest, False),
        parallel_iterations=1,
    )
    return direction * tf.minimum(pace * rate, room)


class Memory(NamedTuple):
    """The variables that FAB keeps for each example from one iteration to the next.

    Attributes:
        step: int32 `[batch]`, number of iterations done.
        best: `[batch, H, W, C]`, the nearest misclassified image so far (if the attack has a
            budget, among those within it); the original image if there is none.
        distance: `[batch]`, distance of `best` from the original image in the attack's norm;
            infinity if there is no misclassified image.
    """

    step: Any
    best: Any
    distance: Any


@register_kind("fab")
@dataclass(frozen=True)
class FastAdaptiveBoundary(IterativeAttack):
    """Targeted FAB of Croce and Hein (2020b): searches for the nearest misclassified image.

    Each iteration linearises the decision boundary between the true class and a target class, and
    steps a little beyond it with a bias towards the original image. If the image is misclassified,
    it first moves back by a tenth of its distance from the original image. The target classes are
    used one after the other, each from the original image.

    Attributes:
        objective: a `TargetedMargin`, whose `num_targets` is the number of target classes.
        num_steps: iterations for all targets together, plus one that evaluates the last image.
        epsilon: budget in the unit of the images; images beyond it do not count as found. None for
            no budget.
        random_start: always False: the attack starts at the original image.
        restarts: always 1.
        name: label in records and tables.
        steps_per_target: iterations for one target.
        norm: norm of budget and distances, `"linf"` or `"l2"`.

    Raises:
        TypeError: another objective, a size that is not a number, a count that is not an integer.
        ValueError: a size or count out of range, or an unknown norm.

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
    norm: str = dataclasses.field(default="linf", metadata=LEFT_OUT_AT_DEFAULT)

    keeps_best: ClassVar[bool] = True
    compiled_with: ClassVar[tuple[str, ...]] = ("objective", "steps_per_target", "norm")
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
        """Returns the attack that is run on a network with `num_classes` classes.

        An attack with more than `num_classes - 1` target classes is returned with `num_classes - 1`
        of them, and with as many iterations for each as before. Every other attack is returned as
        it is.

        Args:
            num_classes: number of classes of the network, at least 2.

        Returns:
            The attack for such a network.
        """
        if self.objective.num_targets < num_classes:
            return self
        fewer = dataclasses.replace(self.objective, num_targets=num_classes - 1)
        steps = (num_classes - 1) * self.steps_per_target + 1
        return dataclasses.replace(self, objective=fewer, num_steps=steps)

    def result(self, state: State) -> tf.Tensor:
        """Returns the adversarial images of a batch after the last iteration.

        Args:
            state: the state after the last iteration, with the attack's `Memory`.

        Returns:
            `[batch, H, W, C]`: for each example the nearest misclassified image that was found (if
            the attack has a budget, within it), or the original image if there is none.
        """
        return state.memory.best

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """Makes the state of a batch before the first iteration.

        Args:
            classifier: the network under attack.
            examples: of which the original images `[batch, H, W, C]` are used.
            seed: not used, as the attack starts at the original images.
            indices: not used.
            restart: not used.

        Returns:
            A `State`: the original images, and a `Memory` with no misclassified image found yet.
        """
        images = tf.convert_to_tensor(examples.images)
        count = tf.shape(images)[0]
        infinite = tf.fill((count,), tf.cast(math.inf, self._distances(images, images).dtype))
        return State(images, Memory(tf.zeros((count,), tf.int32), images, infinite))

    def _distances(self, images: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        return distance(images, origin, self.norm)

    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Makes one iteration: notes misclassified images, then steps towards the boundary.

        Args:
            classifier: the network under attack.
            state: the current images `[batch, H, W, C]` and FAB's `Memory`: number of iterations
                done, nearest misclassified images and their distances.
            examples: original images `[batch, H, W, C]`, labels int32 `[batch]`, and the target
                classes, int32 `[batch, targets]`, chosen from the original images.
            *scalars: epsilon, a scalar tensor in the unit of the images; infinity for no budget.

        Returns:
            The state after the step, and the logits `[batch, classes]` of the images before it.
        """
        (epsilon,) = scalars
        images, memory = state.images, state.memory
        origin = examples.images
        logits = classifier(images, training=False).logits
        misclassified = tf.argmax(logits, -1, tf.int32) != examples.labels
        found = self._distances(images, origin)
        nearer = misclassified & (found < memory.distance)
        nearer &= found <= tf.cast(epsilon, found.dtype)
        best = where(nearer, images, memory.best)
        least = tf.where(nearer, found, memory.distance)

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
        """Says for which images an evaluation should stop between two iterations.

        The loop of `compiled_iterations` calls it for the images before each iteration.

        Args:
            state: of which the current images `[batch, H, W, C]` are used.
            logits: `[batch, classes]` of these images.
            examples: of which original images `[batch, H, W, C]` and labels int32 `[batch]` are
                used.
            *scalars: epsilon, a scalar tensor in the unit of the images; infinity for no budget.

        Returns:
            bool `[batch]`: True where the image is misclassified within the budget, or a logit is
            NaN or infinite. Without a budget a misclassified image gives False, because the attack
            continues to search for a nearer one.
        """
        (epsilon,) = scalars
        found = self._distances(state.images, examples.images)
        within = found <= tf.cast(epsilon, found.dtype)
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
        steps = tf.split(step_to_hyperplane(*both, bounds, self.norm), 2)
        steps = [tf.reshape(each, shape) for each in steps]
        lengths = (self._distances(each, tf.zeros_like(each)) for each in steps)
        step, biased = (
            tf.maximum(length, 1e-8)[:, tf.newaxis, tf.newaxis, tf.newaxis] for length in lengths
        )
        bias = tf.minimum(step / (step + biased), tf.cast(_LARGEST_BIAS, images.dtype))
        overshoot = tf.cast(_OVERSHOOT, images.dtype)
        moved = (1 - bias) * (images + overshoot * steps[0]) + bias * (
            origin + overshoot * steps[1]
        )
        return tf.ensure_shape(tf.cast(tf.clip_by_value(moved, *bounds), dtype), static)


def fab(
    epsilon: float | None,
    num_steps: int = 100,
    num_targets: int = 9,
    *,
    nearest_by: str = "logit",
    norm: str = "linf",
) -> FastAdaptiveBoundary:
    """Targeted fast adaptive boundary attack (Croce and Hein 2020b), in l-inf or l2.

    Called directly, the attack returns for each example the nearest misclassified image that it
    found, or the original image if it found none.

    Args:
        epsilon: budget in the norm, in the unit of the images; only images within it count as
            found. None for the nearest misclassified image at any distance; the records of an
            evaluation hold the distance as `linf`, in l2 as `l2`.
        num_steps: number of iterations for each target class.
        num_targets: number of target classes, those nearest to the original image; all other
            classes if the network has fewer.
        nearest_by: which classes are nearest: `"logit"`, those of the largest logits, as published;
            or `"distance"`, those of the nearest linearised decision boundary, as in MALT, worth
            trying with more than ten classes (see `TargetedLogitsRatio`).
        norm: `"linf"` or `"l2"`.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: a size or count out of range, or an unknown `nearest_by` or norm.

    Example:
        >>> report = aad_tf.evaluate_robustness(model, (images, labels), fab(None))
        >>> distances = [record["linf"] for record in report.records()]
    """
    check_count(num_steps, "num_steps")
    objective = TargetedMargin(num_targets, nearest_by, norm_of_targets(nearest_by, norm))
    return FastAdaptiveBoundary(
        objective, num_steps * num_targets + 1, epsilon, steps_per_target=num_steps, norm=norm
    )
