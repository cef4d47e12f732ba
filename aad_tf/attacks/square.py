"""Square attack: random search that uses the logits of the network and no gradients.

Source: M. Andriushchenko et al., Square Attack: a query-efficient black-box adversarial attack via
random search, ECCV 2020; with the schedule and the margin loss of the AutoAttack code.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from aad_tf.attacks.iterative import IterativeAttack, check_budget
from aad_tf.attacks.loop import (
    Examples,
    State,
    value_dtype,
    where,
)
from aad_tf.attacks.margins import Margin
from aad_tf.attacks.objectives import LogitsObjective
from aad_tf.attacks.serialization import register_kind
from aad_tf.attacks.starts import noise_keys, unit_draws
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count
from aad_tf.utils.ops import project_linf, spatial_size

# Queries after which the fraction of pixels that a square changes is halved once more.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class Memory(NamedTuple):
    """The variables that the square attack keeps for each example from one query to the next.

    Attributes:
        step: int32 `[batch]`, number of squares tried.
        keys: int32 `[batch, 2]`, keys of the pseudorandom generator.
        best: `[batch, H, W, C]`, the image of the lowest objective so far.
        best_value: `[batch]`, the objective of that image.
    """

    step: Any
    keys: Any
    best: Any
    best_value: Any


def side_of_squares(step: int, height: int, width: int, fraction: float = 0.8) -> int:
    """Side of the square that the square attack tries at a given step.

    Args:
        step: number of squares tried before, from 0.
        height: height of the image in pixels.
        width: width of the image in pixels.
        fraction: fraction of the image's pixels that the first squares cover, in (0, 1]. It is
            halved when `step` exceeds 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000.

    Returns:
        The side in pixels, at least 1, at most the shorter side of the image.

    Example:
        >>> [side_of_squares(step, 32, 32) for step in (0, 11, 51, 201, 501, 1001, 2001, 4001)]
        [29, 20, 14, 10, 7, 5, 4, 3]
    """
    halvings = sum(step > bound for bound in _HALVINGS)
    side = round(math.sqrt(fraction / 2**halvings * height * width))
    return min(max(side, 1), height, width)


@register_kind("square")
@dataclass(frozen=True)
class SquareAttack(IterativeAttack):
    """The square attack of Andriushchenko et al. (2020), l-inf.

    It starts from the image plus vertical stripes of plus or minus the budget. Each step adds plus
    or minus twice the budget, one random sign per channel, on a random square of the best image so
    far, projects the result onto the budget, and keeps it if the objective is lower. The area of
    the squares is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 steps. As the
    attack uses no gradients, it can succeed where gradients are masked.

    Attributes:
        objective: objective that is computed from the logits, such as `Margin()`.
        num_steps: number of squares that are tried; the network runs once more than that.
        epsilon: l-inf budget, in the unit of the images; must be given.
        random_start: always True.
        restarts: number of runs with different random numbers. For each example the result of the
            first run that succeeds is kept, else that of the last run.
        name: label in records and tables.
        fraction: fraction of the image's pixels that the first squares cover, in (0, 1].

    Raises:
        TypeError: an objective without `from_logits`, a size that is not a number, or a count that
            is not an integer.
        ValueError: no epsilon, or a number out of range.

    Example:
        >>> adversarial = square(8 / 255, num_queries=1000)(classifier, images, labels, seed=0)
    """

    objective: LogitsObjective
    num_steps: int = 5000
    epsilon: float | None = None
    # Its first stripes are drawn.
    random_start: bool = dataclasses.field(default=True, init=False)
    restarts: int = 1
    name: str = dataclasses.field(default="square", compare=False)
    fraction: float = 0.8

    keeps_best: ClassVar[bool] = True
    compiled_with: ClassVar[tuple[str, ...]] = ("objective", "fraction")

    def __post_init__(self) -> None:
        check_budget(self)
        super().__post_init__()
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be in (0, 1], got {self.fraction}.")
        if not isinstance(self.objective, LogitsObjective):
            raise TypeError(
                f"The square attack needs an objective with from_logits(logits, labels), "
                f"{type(self.objective).__name__} has none."
            )

    def result(self, state: State) -> tf.Tensor:
        """Returns the adversarial images of a batch after the last iteration.

        Args:
            state: the state after the last iteration, with the attack's `Memory`.

        Returns:
            `[batch, H, W, C]`: for each example the image of the lowest objective so far.
        """
        return state.memory.best

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """Makes the state of a batch before the first square is tried.

        Args:
            classifier: its bounds are the pixel range.
            examples: of which the original images `[batch, H, W, C]` are used.
            seed: an integer, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set.
            restart: number of the restart, from 0; int or int `[batch]`.

        Returns:
            A `State`: the images with vertical stripes of plus or minus the budget at random,
            clipped to the pixel range, and a `Memory` with the keys of the random numbers.
        """
        images = tf.convert_to_tensor(examples.images)
        count = tf.shape(images)[0]
        keys = noise_keys(seed, indices, restart)
        _, width = spatial_size(images)
        channels = images.shape[3]
        draws = unit_draws(keys, tf.fill((count,), -1), width * channels)
        signs = tf.reshape(_signs(draws, images.dtype), (count, 1, width, channels))
        (epsilon,) = self.scalars(images.dtype)
        stripes = project_linf(images + epsilon * signs, images, epsilon, classifier.bounds)
        values = tf.zeros((count,), value_dtype(classifier))
        memory = Memory(tf.zeros((count,), tf.int32), keys, images, values + values.dtype.max)
        return State(tf.ensure_shape(stripes, images.shape), memory)

    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Makes one iteration: evaluates the objective, then adds a random square.

        Args:
            classifier: the network under attack.
            state: the images to be judged, `[batch, H, W, C]`, and the attack's `Memory`: number of
                squares tried, keys of the random numbers, best images and their objective.
            examples: original images `[batch, H, W, C]`, labels int32 `[batch]`, and what the
                objective computed once from the original images.
            *scalars: epsilon, a scalar tensor in the unit of the images.

        Returns:
            The state with the best images so far, changed by one random square each, and the logits
            `[batch, classes]` of the images that were judged.
        """
        (epsilon,) = scalars
        images, memory = state.images, state.memory
        logits = classifier(images, training=False).logits
        values = self.objective.from_logits(logits, examples.labels, *examples.context)
        better = values < memory.best_value
        best = where(better, images, memory.best)
        following = self._with_square(best, memory, examples.images, epsilon, classifier.bounds)
        best_value = tf.where(better, values, memory.best_value)
        memory = Memory(memory.step + 1, memory.keys, best, best_value)
        return tf.nest.map_structure(tf.stop_gradient, State(following, memory)), logits

    def _with_square(
        self,
        images: tf.Tensor,
        memory: Memory,
        origin: tf.Tensor,
        epsilon: tf.Tensor,
        bounds: Bounds,
    ) -> tf.Tensor:
        """Images with one more random square each, projected."""
        height, width = spatial_size(images)
        channels = images.shape[3]
        side = _sides(memory.step, height, width, self.fraction)
        draws = unit_draws(memory.keys, memory.step, 2 + channels)
        rows = _window(draws[:, 0], side, height)
        columns = _window(draws[:, 1], side, width)
        window = tf.cast(rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :], images.dtype)
        signs = _signs(draws[:, 2:], images.dtype)
        added = 2 * epsilon * window[..., tf.newaxis] * signs[:, tf.newaxis, tf.newaxis, :]
        return tf.ensure_shape(project_linf(images + added, origin, epsilon, bounds), images.shape)


def _sides(step: tf.Tensor, height: Any, width: Any, fraction: float) -> tf.Tensor:
    """`side_of_squares` of each example, int32 `[batch]`."""
    halvings = tf.reduce_sum(tf.cast(step[:, tf.newaxis] > tf.constant(_HALVINGS), tf.int32), 1)
    area = fraction * tf.cast(height * width, tf.float64)
    side = tf.cast(tf.round(tf.sqrt(area / 2.0 ** tf.cast(halvings, tf.float64))), tf.int32)
    return tf.clip_by_value(side, 1, tf.minimum(height, width))


def _window(draws: tf.Tensor, side: tf.Tensor, length: Any) -> tf.Tensor:
    """Which of `length` pixels lie in a window whose first pixel is drawn, bool `[batch, length]`.

    As in the original code, the last place that a window could take is left out unless it is the
    only one.
    """
    places = tf.maximum(length - side, 1)
    unit = (tf.cast(draws, tf.float64) + 1) / 2
    first = tf.cast(tf.floor(unit * tf.cast(places, tf.float64)), tf.int32)[:, tf.newaxis]
    pixels = tf.range(length)[tf.newaxis]
    return (pixels >= first) & (pixels < first + side[:, tf.newaxis])


def _signs(draws: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.where(draws < 0, -1.0, 1.0), dtype)


def square(
    epsilon: float, num_queries: int = 5000, restarts: int = 1, fraction: float = 0.8
) -> SquareAttack:
    """Square attack (Andriushchenko et al. 2020) on the margin of logits, l-inf.

    Called directly, the attack returns for each example the image of the smallest margin (the
    label's logit minus the largest other logit). It is misclassified if any image that was tried
    was.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_queries: number of random squares that are tried; the network runs once more than that.
        restarts: number of runs with different random numbers. For each example the result of the
            first run that succeeds is kept, else that of the last run.
        fraction: fraction of the image's pixels that the first squares cover, in (0, 1].

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: a size or count out of range, or epsilon None.

    Example:
        >>> report = aad_tf.evaluate_robustness(model, (images, labels), square(8 / 255))
    """
    check_count(num_queries, "num_queries")
    return SquareAttack(Margin(), num_queries, epsilon, restarts=restarts, fraction=fraction)
