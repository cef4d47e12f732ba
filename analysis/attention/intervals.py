"""Bootstrap intervals over images: means, differences, areas under the curve, all vectorised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aad_tf.metrics import Interval, wilson_interval

RESAMPLES = 1000
DASH = "–"
# Drawn places held in memory at once.
_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval over images.

    Attributes:
        value: None where there were no images.
        interval: None where the images do not settle one.
        count: images it speaks of; for a difference, those of the smaller group.
    """

    value: float | None
    interval: Interval | None
    count: int

    def text(self, digits: int = 3, scale: float = 1.0, sign: bool = False) -> str:
        """`0.647 [0.640, 0.655]`, or a dash; `sign` writes the plus."""
        if self.value is None:
            return DASH
        form = f"{'+' if sign else ''}.{digits}f"
        if self.interval is None:
            return format(scale * self.value, form)
        low, high = (format(scale * bound, form) for bound in self.interval)
        return f"{format(scale * self.value, form)} [{low}, {high}]"

    def percent(self, sign: bool = False) -> str:
        """As `text`, in percent with one decimal."""
        return self.text(1, 100.0, sign)


@dataclass(frozen=True)
class Groups:
    """Means of two groups and the difference first - second."""

    first: Estimate
    second: Estimate
    difference: Estimate


def share(successes: int, count: int) -> Estimate:
    """A share with Wilson's interval.

    Args:
        successes: at most `count`.
        count: of images; 0 gives a dash.
    """
    if count == 0:
        return _nothing()
    return Estimate(successes / count, wilson_interval(successes, count), count)


def mean(values: Any, seed: int = 0) -> Estimate:
    """A mean with the interval of `aad_tf.metrics.bootstrap_interval`.

    Args:
        values: `[images]`; none gives a dash. Paired differences give that of their mean.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: NaN among the values.

    Example:
        >>> mean([0.5, 0.5]).text()
        '0.500 [0.500, 0.500]'
    """
    values = _checked(values)
    if not len(values):
        return _nothing()
    return _estimate(values.mean(), _means(values, np.random.default_rng(seed)), len(values))


def compare(first: Any, second: Any, seed: int = 0) -> Groups:
    """Means of two groups of different images; each group is resampled on its own.

    Args:
        first: `[images]`.
        second: `[images]`.
        seed: the same seed gives the same intervals.

    Raises:
        ValueError: NaN among the values.
    """
    first, second = _checked(first), _checked(second)
    if not (len(first) and len(second)):
        return Groups(mean(first, seed), mean(second, seed), _nothing())
    generator = np.random.default_rng(seed)
    draws = [_means(values, generator) for values in (first, second)]
    smaller = min(len(first), len(second))
    return Groups(
        _estimate(first.mean(), draws[0], len(first)),
        _estimate(second.mean(), draws[1], len(second)),
        _estimate(first.mean() - second.mean(), draws[0] - draws[1], smaller),
    )


def overlapping_difference(
    first: Any, in_first: Any, second: Any, in_second: Any, seed: int = 0
) -> Estimate:
    """Difference of two means whose groups may share images; the images are resampled.

    Args:
        first: `[images]`, values of the first group where `in_first`.
        in_first: bool `[images]`.
        second: `[images]`, values of the second group where `in_second`.
        in_second: bool `[images]`.
        seed: the same seed gives the same interval.

    Returns:
        first - second. Draws that leave a group empty are left out.
    """
    masks = np.stack([in_first, in_second]).astype(bool)
    if not masks.any(1).all():
        return _nothing()
    values = np.where(masks, np.stack([first, second]), 0.0)
    if np.isnan(values).any():
        raise ValueError("Expected values without NaN in both groups.")
    columns = np.concatenate([values, masks]).T
    drawn = []
    for places in _places(len(columns), np.random.default_rng(seed)):
        one, two, *counts = (_histograms(places, len(columns)) @ columns).T
        both = np.minimum(*counts) > 0
        drawn.append((one[both] / counts[0][both]) - (two[both] / counts[1][both]))
    one, two = values.sum(1) / masks.sum(1)
    return _estimate(one - two, np.concatenate(drawn), int(masks.sum(1).min()))


def area_under_curve(positive: Any, negative: Any, seed: int = 0) -> Estimate:
    """Chance that a positive scores above a negative, ties counting half (Mann and Whitney 1947).

    Args:
        positive: scores `[images]`.
        negative: scores `[images]` of other images; each group is resampled on its own.
        seed: the same seed gives the same interval.

    Returns:
        0.5 tells nothing, 1 tells all apart.

    Raises:
        ValueError: NaN among the scores.

    Example:
        >>> area_under_curve([2.0, 1.0], [1.0, 0.0]).value
        0.875
    """
    positive, negative = _checked(positive), _checked(negative)
    if not (len(positive) and len(negative)):
        return _nothing()
    levels, codes = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    codes = codes.reshape(-1)
    groups = codes[: len(positive)], codes[len(positive) :]
    generator = np.random.default_rng(seed)
    draws = [
        np.concatenate([_histograms(g[p], len(levels)) for p in _places(len(g), generator)])
        for g in groups
    ]
    value = _ranked_above(*(_histograms(group[np.newaxis], len(levels)) for group in groups))
    return _estimate(value[0], _ranked_above(*draws), min(map(len, groups)))


def _histograms(codes: np.ndarray, levels: int) -> np.ndarray:
    """Counts of each code in each row, `[rows, levels]`."""
    rows = np.arange(len(codes))[:, np.newaxis] * levels
    counts = np.bincount((codes + rows).ravel(), minlength=len(codes) * levels)
    return counts.reshape(len(codes), levels).astype(np.float64)


def _ranked_above(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    below = np.cumsum(negative, axis=1) - negative / 2
    return (positive * below).sum(1) / (positive.sum(1) * negative.sum(1))


def _means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.concatenate([values[p].mean(1) for p in _places(len(values), generator)])


def _places(count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Places drawn with replacement, `[some of RESAMPLES, count]` at a time."""
    rows = max(1, _AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        yield generator.integers(count, size=(min(rows, RESAMPLES - start), count))


def _estimate(value: float, drawn: np.ndarray, count: int) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), Interval(float(low), float(high)), count)


def _checked(values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(f"Expected values [images] without NaN, got shape {values.shape}.")
    return values


def _nothing() -> Estimate:
    return Estimate(None, None, 0)
