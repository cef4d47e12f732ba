"""Comparisons that leave out what was not measured, and comparisons of pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aad_tf.metrics import Interval
from analysis.attention import intervals
from analysis.attention.intervals import Estimate, Groups

NOTHING = Estimate(None, None, 0)


def mean_estimate(values: Any, *, seed: int = 0) -> Estimate:
    """Mean of values with its interval; NaN values are left out.

    Example:
        >>> mean_estimate([1.0, 1.0, float("nan")])
        Estimate(value=1.0, interval=Interval(low=1.0, high=1.0), count=2)
    """
    return intervals.mean(_measured(values), seed)


def mean_difference(first: Any, second: Any, *, seed: int = 0) -> Groups:
    """Difference of the means of two independent groups, `intervals.compare` without NaN values.

    Args:
        first: `[n]`.
        second: `[m]`.
        seed: of the draws.
    """
    return intervals.compare(_measured(first), _measured(second), seed)


def paired_difference(first: Any, second: Any, *, seed: int = 0) -> Groups:
    """Mean of the differences of pairs; whole pairs are drawn.

    Args:
        first: `[pairs]`; a pair with a NaN is left out.
        second: `[pairs]`.
        seed: of the draws.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = ~np.isnan(first - second)
    columns = (first[known], second[known], (first - second)[known])
    return Groups(*(intervals.mean(column, seed) for column in columns))


def drawn_estimate(value: float, draws: np.ndarray, count: int) -> Estimate:
    """A statistic with the middle 95 % of its bootstrap draws.

    Args:
        value: the statistic; NaN if the records do not settle it.
        draws: `[resamples]`; NaN where a draw does not settle it. More than 2.5 % of those leave
            the estimate without an interval.
        count: images behind it.
    """
    finite = draws[~np.isnan(draws)]
    if math.isnan(value):
        return Estimate(None, None, count)
    if len(finite) < 0.975 * len(draws) or len(finite) == 0:
        return Estimate(float(value), None, count)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Estimate(float(value), Interval(float(low), float(high)), count)


def standardized_difference(first: Any, second: Any) -> float:
    """Difference of means over the root of the mean variance, Cohen's d; NaN if it has none."""
    first, second = _measured(first), _measured(second)
    if min(len(first), len(second)) < 2:
        return math.nan
    spread = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    gap = float(first.mean() - second.mean())
    return gap / spread if spread > 0 else (0.0 if gap == 0 else math.nan)


def _measured(values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[~np.isnan(values)]
