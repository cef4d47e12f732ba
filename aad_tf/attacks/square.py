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
from aad_tf.attacks.serialization import LEFT_OUT_AT_DEFAULT, register_kind
from aad_tf.attacks.starts import noise_keys, unit_draws
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count
from aad_tf.utils.norms import direction, l2_norm
from aad_tf.utils.ops import at_least_float32, project_linf, spatial_size

# Queries after which the fraction of pixels that a square changes is halved once more.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# In l2: sides of squares are at least this, and the first image has so many tiles along its side.
_SMALLEST_SIDE, _TILES = 3, 5


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


def side_of_squares(
    step: int, height: int, width: int, fraction: float = 0.8, norm: str = "linf"
) -> int:
    """Side of the square that the square attack tries at a given step.

    Args:
        step: number of squares tried before, from 0.
        height: height of the image in pixels.
        width: width of the image in pixels.
        fraction: fraction of the image's pixels that the first squares cover, in (0, 1]. It is
            halved when `step` exceeds 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000.
        norm: `"linf"` or `"l2"`.

    Returns:
        The side in pixels, at least 1, at most the shorter side of the image. In l2 it is at least
        3 and odd, unless the image is too small for that.

    Example:
        >>> [side_of_squares(step, 32, 32) for step in (0, 11, 51, 201, 501, 1001, 2001, 4001)]
        [29, 20, 14, 10, 7, 5, 4, 3]
    """
    halvings = sum(step > bound for bound in _HALVINGS)
    side = round(math.sqrt(fraction / 2**halvings * height * width))
    if norm == "l2":
        side = max(side, _SMALLEST_SIDE)
        side += 1 - side % 2
    return min(max(side, 1), height, width)


@register_kind("square")
@dataclass(frozen=True)
class SquareAttack(IterativeAttack):
    """The square attack of Andriushchenko et al. (2020), in l-inf or l2.

    In l-inf it starts from the image plus vertical stripes of plus or minus the budget. Each step
    adds plus or minus twice the budget, one random sign per channel, on a random square of the best
    image so far, projects the result onto the budget, and keeps it if the objective is lower.

    In l2 it starts from the image plus a tiling of the pattern `two_pyramids`, with one random sign
    per tile and channel. Each step draws two windows. It removes the perturbation of the second
    window, and adds the pattern, with one random sign per channel, to that of the first, whose norm
    grows by what the second gave up and by what the budget has left. The whole perturbation is then
    scaled to the budget and the image clipped to the pixel range.

    The area of the squares is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 steps.
    As the attack uses no gradients, it can succeed where gradients are masked.

    Attributes:
        objective: objective that is computed from the logits, such as `Margin()`.
        num_steps: number of squares that are tried; the network runs once more than that.
        epsilon: budget, in the unit of the images; must be given.
        random_start: always True.
        restarts: number of runs with different random numbers. For each example the result of the
            first run that succeeds is kept, else that of the last run.
        name: label in records and tables.
        fraction: fraction of the image's pixels that the first squares cover, in (0, 1].
        norm: norm of the budget, `"linf"` or `"l2"`.

    Raises:
        TypeError: an objective without `from_logits`, a size that is not a number, or a count that
            is not an integer.
        ValueError: no epsilon, a number out of range, or an unknown norm.

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
    norm: str = dataclasses.field(default="linf", metadata=LEFT_OUT_AT_DEFAULT)

    keeps_best: ClassVar[bool] = True
    compiled_with: ClassVar[tuple[str, ...]] = ("objective", "fraction", "norm")

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
            A `State`: the images with vertical stripes of plus or minus the budget at random, or in
            l2 with random tiles, clipped to the pixel range, and a `Memory` with the keys of the
            random numbers.
        """
        images = tf.convert_to_tensor(examples.images)
        count = tf.shape(images)[0]
        keys = noise_keys(seed, indices, restart)
        first = _tiles if self.norm == "l2" else _stripes
        (epsilon,) = self.scalars(images.dtype)
        started = first(images, keys, epsilon, classifier.bounds)
        values = tf.zeros((count,), value_dtype(classifier))
        memory = Memory(tf.zeros((count,), tf.int32), keys, images, values + values.dtype.max)
        return State(tf.ensure_shape(started, images.shape), memory)

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
        changed = self._with_windows if self.norm == "l2" else self._with_square
        following = changed(best, memory, examples.images, epsilon, classifier.bounds)
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

    def _with_windows(
        self,
        images: tf.Tensor,
        memory: Memory,
        origin: tf.Tensor,
        epsilon: tf.Tensor,
        bounds: Bounds,
    ) -> tf.Tensor:
        """Images whose perturbation has gone over from one window to another, in l2."""
        height, width = spatial_size(images)
        channels = images.shape[3]
        side = _sides(memory.step, height, width, self.fraction, self.norm)
        draws = unit_draws(memory.keys, memory.step, 5 + channels)
        row, column, other_row, other_column = (
            _first_pixel(draws[:, n], side, length)
            for n, length in enumerate((height, width, height, width))
        )
        window, other = (
            (
                _inside(top, side, height)[:, :, tf.newaxis]
                & _inside(left, side, width)[:, tf.newaxis]
            )
            for top, left in ((row, column), (other_row, other_column))
        )
        pattern = two_pyramids(row, column, side, draws[:, 4] < 0, height, width)
        change = at_least_float32(images) - at_least_float32(origin)
        dtype = change.dtype
        here, there = (tf.cast(each, dtype)[..., tf.newaxis] for each in (window, other))
        signs = _signs(draws[:, 5:], dtype)[:, tf.newaxis, tf.newaxis, :]
        old = tf.math.divide_no_nan(change * here, _channel_norms(change * here))
        new = tf.cast(pattern, dtype)[..., tf.newaxis] * signs + old
        unspent = tf.nn.relu(tf.square(tf.cast(epsilon, dtype)) - tf.square(l2_norm(change)))
        both = tf.square(_channel_norms(change * tf.maximum(here, there)))
        length = tf.sqrt(unspent / channels + both)
        new = length * tf.math.divide_no_nan(new, _channel_norms(new))
        return _scaled(new + change * (1 - here) * (1 - there), origin, epsilon, bounds)


def _stripes(images: tf.Tensor, keys: tf.Tensor, epsilon: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """Images with vertical stripes of plus or minus the budget, where l-inf starts."""
    count, (_, width), channels = tf.shape(images)[0], spatial_size(images), images.shape[3]
    draws = unit_draws(keys, tf.fill((count,), -1), width * channels)
    signs = tf.reshape(_signs(draws, images.dtype), (count, 1, width, channels))
    return project_linf(images + epsilon * signs, images, epsilon, bounds)


def _tiles(images: tf.Tensor, keys: tf.Tensor, epsilon: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """Images with tiles of the pattern, some of them transposed, where l2 starts."""
    count, size, channels = tf.shape(images)[0], spatial_size(images), images.shape[3]
    side = tf.maximum(tf.minimum(*size) // _TILES, 1)
    # As many whole tiles as there is room for, in the middle of the image.
    along = [length // side for length in size]
    places = [
        tf.range(length) - (length - side * tiles) // 2
        for length, tiles in zip(size, along, strict=True)
    ]
    rows, columns = (
        (place >= 0) & (place < side * tiles) for place, tiles in zip(places, along, strict=True)
    )
    covered = tf.cast(rows[:, tf.newaxis] & columns[tf.newaxis], tf.float64)
    upright, lying = (
        covered * _pyramids_at(places[0] % side, places[1] % side, side, transposed)
        for transposed in (False, True)
    )
    row, column = (
        tf.clip_by_value(place // side, 0, tiles - 1)
        for place, tiles in zip(places, along, strict=True)
    )
    tile = row[:, tf.newaxis] * along[1] + column[tf.newaxis]
    draws = unit_draws(keys, tf.fill((count,), -1), along[0] * along[1] * (1 + channels))
    draws = tf.reshape(draws, (count, along[0] * along[1], 1 + channels))
    draws = tf.gather(draws, tile, axis=1)
    pattern = tf.where(draws[..., 0] < 0, upright, lying)
    change = tf.cast(pattern[..., tf.newaxis], images.dtype) * _signs(draws[..., 1:], images.dtype)
    return _scaled(change, images, epsilon, bounds)


def _scaled(change: tf.Tensor, origin: tf.Tensor, epsilon: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """Images with a perturbation that is scaled to the budget, clipped to the pixel range."""
    moved = tf.cast(tf.cast(epsilon, change.dtype) * direction(change, "l2"), origin.dtype)
    return tf.ensure_shape(tf.clip_by_value(origin + moved, *bounds), origin.shape)


def _channel_norms(values: tf.Tensor) -> tf.Tensor:
    """The l2-norm of each channel of `[batch, H, W, C]`, `[batch, 1, 1, C]`."""
    return tf.sqrt(tf.reduce_sum(tf.square(values), axis=(1, 2), keepdims=True))


def two_pyramids(
    row: tf.Tensor,
    column: tf.Tensor,
    side: tf.Tensor,
    transposed: tf.Tensor,
    height: Any,
    width: Any,
) -> tf.Tensor:
    """Makes the pattern of the square attack in l2: a positive pyramid above a negative one.

    The value of a pixel of a pyramid is the sum of 1 / (k + 1)^2 from k = m to half the side, where
    m is its distance from the centre of the pyramid, the larger one of rows and columns.

    Args:
        row: int32 `[batch]`, first row of the window that holds both pyramids.
        column: int32 `[batch]`, first column of it.
        side: int32 `[batch]`, side of the window.
        transposed: bool `[batch]`, whether the pyramids stand side by side instead.
        height: height of the images, an integer or scalar tensor.
        width: their width.

    Returns:
        float64 `[batch, height, width]`, of l2-norm 1, zero outside of the window.

    Example:
        >>> first, side, no = tf.constant([0]), tf.constant([3]), tf.constant([False])
        >>> two_pyramids(first, first, side, no, 3, 3).numpy().round(3)[0].tolist()
        [[0.136, 0.68, 0.136], [-0.129, -0.129, -0.129], [-0.129, -0.645, -0.129]]
    """
    rows, columns = (
        tf.range(length)[tf.newaxis] - first[:, tf.newaxis]
        for length, first in ((height, row), (width, column))
    )
    inside = [(place >= 0) & (place < side[:, tf.newaxis]) for place in (rows, columns)]
    window = tf.cast(inside[0][:, :, tf.newaxis] & inside[1][:, tf.newaxis], tf.float64)
    # Places outside of the window, where the pattern is zero, are those of some pixel within.
    rows, columns = (
        tf.clip_by_value(place, 0, side[:, tf.newaxis] - 1) for place in (rows, columns)
    )
    side, transposed = (each[:, tf.newaxis, tf.newaxis] for each in (side, transposed))
    pattern = window * _pyramids_at(rows, columns, side, transposed)
    halves = [tf.nn.relu(pattern), tf.nn.relu(-pattern)]
    upper, lower = (
        tf.math.divide_no_nan(half, tf.norm(half, axis=(1, 2), keepdims=True)) for half in halves
    )
    return tf.math.divide_no_nan(upper - lower, tf.norm(upper - lower, axis=(1, 2), keepdims=True))


def _pyramids_at(rows: tf.Tensor, columns: tf.Tensor, side: Any, transposed: Any) -> tf.Tensor:
    """The pattern at places `[..., H]` and `[..., W]` within windows, before halves are scaled."""
    rows, columns = rows[..., :, tf.newaxis], columns[..., tf.newaxis, :]
    down, across = tf.where(transposed, columns, rows), tf.where(transposed, rows, columns)
    half = side // 2
    above = down < half
    depth = tf.where(above, half, side - half)
    within = tf.where(above, down, down - half)
    apart = tf.maximum(tf.abs(within - depth // 2), tf.abs(across - half))
    largest = tf.reduce_max(half) + 2
    terms = 1 / tf.square(tf.cast(tf.range(1, largest), tf.float64))
    sums = tf.concat([[0.0], tf.cumsum(terms)], axis=0)
    heights = tf.gather(sums, half + 1) - tf.gather(sums, apart)
    return tf.where(above, heights, -heights)


def _sides(
    step: tf.Tensor, height: Any, width: Any, fraction: float, norm: str = "linf"
) -> tf.Tensor:
    """`side_of_squares` of each example, int32 `[batch]`."""
    halvings = tf.reduce_sum(tf.cast(step[:, tf.newaxis] > tf.constant(_HALVINGS), tf.int32), 1)
    area = fraction * tf.cast(height * width, tf.float64)
    side = tf.cast(tf.round(tf.sqrt(area / 2.0 ** tf.cast(halvings, tf.float64))), tf.int32)
    if norm == "l2":
        side = tf.maximum(side, _SMALLEST_SIDE)
        side += 1 - side % 2
    return tf.clip_by_value(side, 1, tf.minimum(height, width))


def _window(draws: tf.Tensor, side: tf.Tensor, length: Any) -> tf.Tensor:
    """Which of `length` pixels lie in a window that is drawn at random, bool `[batch, length]`."""
    return _inside(_first_pixel(draws, side, length), side, length)


def _first_pixel(draws: tf.Tensor, side: tf.Tensor, length: Any) -> tf.Tensor:
    """The first of `length` pixels that lies in a window, drawn at random, int32 `[batch]`.

    As in the original code, the last place that a window could take is left out unless it is the
    only one.
    """
    places = tf.maximum(length - side, 1)
    unit = (tf.cast(draws, tf.float64) + 1) / 2
    return tf.cast(tf.floor(unit * tf.cast(places, tf.float64)), tf.int32)


def _inside(first: tf.Tensor, side: tf.Tensor, length: Any) -> tf.Tensor:
    """Which of `length` pixels lie in a window of known first pixel, bool `[batch, length]`."""
    first, pixels = first[:, tf.newaxis], tf.range(length)[tf.newaxis]
    return (pixels >= first) & (pixels < first + side[:, tf.newaxis])


def _signs(draws: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.where(draws < 0, -1.0, 1.0), dtype)


def square(
    epsilon: float,
    num_queries: int = 5000,
    restarts: int = 1,
    fraction: float = 0.8,
    *,
    norm: str = "linf",
) -> SquareAttack:
    """Square attack (Andriushchenko et al. 2020) on the margin of logits, in l-inf or l2.

    Called directly, the attack returns for each example the image of the smallest margin (the
    label's logit minus the largest other logit). It is misclassified if any image that was tried
    was.

    Args:
        epsilon: budget in the norm, in the unit of the images.
        num_queries: number of random squares that are tried; the network runs once more than that.
        restarts: number of runs with different random numbers. For each example the result of the
            first run that succeeds is kept, else that of the last run.
        fraction: fraction of the image's pixels that the first squares cover, in (0, 1].
        norm: `"linf"` or `"l2"`.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: a size or count out of range, epsilon None, or an unknown norm.

    Example:
        >>> report = aad_tf.evaluate_robustness(model, (images, labels), square(8 / 255))
    """
    check_count(num_queries, "num_queries")
    return SquareAttack(
        Margin(), num_queries, epsilon, restarts=restarts, fraction=fraction, norm=norm
    )
