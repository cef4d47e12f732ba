"""Numbers with 95 % intervals: bootstrap over images, Wilson's, Newcombe's; t over seeds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats

from aad_tf import metrics
from aad_tf.metrics import Interval, wilson_interval

RESAMPLES = 1000
# Trainings of each defence below which their difference decides nothing: an interval from two has
# one degree of freedom and is 13 standard errors wide on either side.
SEEDS = 3
DASH = "–"
# Indices drawn at once; more images are drawn in several batches.
_AT_ONCE = 20_000_000


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
        numbers = (self.value, *(self.interval or ()))
        value, *bounds = (format(scale * number, form) for number in numbers)
        return f"{value} [{', '.join(bounds)}]" if bounds else value

    def percent(self, sign: bool = False) -> str:
        """As `text`, in percent with one decimal."""
        return self.text(1, 100.0, sign)


NOTHING = Estimate(None, None, 0)


@dataclass(frozen=True)
class Groups:
    """Means of two groups and the difference first - second."""

    first: Estimate
    second: Estimate
    difference: Estimate

    def texts(self) -> tuple[str, str, str]:
        """Both means and their difference."""
        return self.first.text(), self.second.text(), self.difference.text(sign=True)

    @property
    def counts(self) -> str:
        """Images of both groups, e.g. `2,318 / 1,044`."""
        return f"{self.first.count:,} / {self.second.count:,}"


def resample(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    *,
    seed: int = 0,
    paired: bool = False,
    batch: int | None = None,
) -> np.ndarray:
    """A statistic over samples drawn with replacement, by `scipy.stats.bootstrap`.

    Args:
        samples: each `[images]`, at least one image; each is drawn separately.
        statistic: takes the samples, `[draws, images]` each, and `axis=-1`.
        seed: the same seed gives the same draws.
        paired: True draws the images of all samples together.
        batch: draws at once; None takes what fits in memory.

    Returns:
        `[..., RESAMPLES]`.
    """
    # SciPy refuses single observations; drawn twice over they are as certain.
    samples = [np.repeat(s, 2) if len(s) == 1 else s for s in samples]
    with warnings.catch_warnings():
        # It warns of draws that are NaN; `estimate` deals with them.
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        found = scipy.stats.bootstrap(
            samples,
            statistic,
            n_resamples=RESAMPLES,
            batch=batch or max(1, _AT_ONCE // max(map(len, samples))),
            vectorized=True,
            paired=paired,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return found.bootstrap_distribution


def estimate(value: float, draws: np.ndarray, count: int) -> Estimate:
    """A statistic with the middle 95 % of its draws.

    Args:
        value: the statistic; NaN if the records do not settle it.
        draws: `[RESAMPLES]`; NaN where a draw does not settle it. More than 2.5 % of those leave
            the estimate without an interval.
        count: images behind it.
    """
    if math.isnan(value):
        return Estimate(None, None, count)
    known = draws[~np.isnan(draws)]
    if len(known) < 0.975 * len(draws):
        return Estimate(float(value), None, count)
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(float(value), Interval(float(low), float(high)), count)


def fraction(successes: int, count: int) -> Estimate:
    """A fraction with Wilson's interval.

    Args:
        successes: at most `count`.
        count: of images; 0 gives a dash.
    """
    if count == 0:
        return NOTHING
    return Estimate(successes / count, wilson_interval(successes, count), count)


def mean(values: Any, *, seed: int = 0, skip_nan: bool = False) -> Estimate:
    """A mean with its bootstrap interval.

    Args:
        values: `[images]`; none gives a dash. Paired differences give that of their mean.
        seed: the same seed gives the same interval.
        skip_nan: True leaves out what is NaN.

    Raises:
        ValueError: NaN among the values, and not `skip_nan`.

    Example:
        >>> mean([0.5, 0.5]).text()
        '0.500 [0.500, 0.500]'
    """
    values = _checked(values, skip_nan)
    if not len(values):
        return NOTHING
    return estimate(values.mean(), resample([values], np.mean, seed=seed), len(values))


def compare(first: Any, second: Any, *, seed: int = 0, skip_nan: bool = False) -> Groups:
    """Means of two groups of different images; each group is resampled separately.

    Args:
        first: `[images]`.
        second: `[images]`.
        seed: the same seed gives the same intervals.
        skip_nan: True leaves out what is NaN.

    Raises:
        ValueError: NaN among the values, and not `skip_nan`.
    """
    first, second = _checked(first, skip_nan), _checked(second, skip_nan)
    if not (len(first) and len(second)):
        return Groups(mean(first, seed=seed), mean(second, seed=seed), NOTHING)
    one, two = resample([first, second], _both_means, seed=seed)
    smaller = min(len(first), len(second))
    return Groups(
        estimate(first.mean(), one, len(first)),
        estimate(second.mean(), two, len(second)),
        estimate(first.mean() - second.mean(), one - two, smaller),
    )


def _both_means(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    return np.stack([first.mean(axis), second.mean(axis)])


def paired_difference(first: Any, second: Any, *, seed: int = 0) -> Groups:
    """Mean of the differences of pairs; whole pairs are drawn, one with a NaN is left out.

    Args:
        first: `[pairs]`.
        second: `[pairs]`.
        seed: the same seed gives the same intervals.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = ~np.isnan(first - second)
    columns = (first[known], second[known], (first - second)[known])
    return Groups(*(mean(column, seed=seed) for column in columns))


def overlapping_difference(first: Any, in_first: Any, second: Any, in_second: Any) -> Estimate:
    """Difference of two means whose groups may hold the same images; the images are resampled.

    Args:
        first: `[images]`, values of the first group where `in_first`.
        in_first: bool `[images]`.
        second: `[images]`, values of the second group where `in_second`.
        in_second: bool `[images]`.

    Returns:
        first - second. Draws that leave a group empty are left out.
    """
    masks = np.stack([in_first, in_second]).astype(np.float64)
    if not masks.any(1).all():
        return NOTHING
    values = np.where(masks > 0, np.stack([first, second]), 0.0)
    if np.isnan(values).any():
        raise ValueError("Expected values without NaN in both groups.")
    samples = [*values, *masks]
    draws = resample(samples, _difference_of_groups, paired=True)
    value = float(_difference_of_groups(*samples))
    return estimate(value, draws[~np.isnan(draws)], int(masks.sum(1).min()))


def _difference_of_groups(
    first: np.ndarray,
    second: np.ndarray,
    in_first: np.ndarray,
    in_second: np.ndarray,
    axis: int = -1,
) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return first.sum(axis) / in_first.sum(axis) - second.sum(axis) / in_second.sum(axis)


def area_under_curve(positive: Any, negative: Any) -> Estimate:
    """Chance that a positive scores above a negative, ties counting half (Mann and Whitney 1947).

    Args:
        positive: scores `[images]`.
        negative: scores `[images]` of other images; each group is resampled separately.

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
        return NOTHING
    levels, codes = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    groups = [codes[: len(positive)], codes[len(positive) :]]

    def ranked_above(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        above, below = (multiplicities(g, len(levels)) for g in (first, second))
        up_to = np.cumsum(below, axis=1) - below / 2
        return (above * up_to).sum(1) / (above.sum(1) * below.sum(1))

    wins = scipy.stats.mannwhitneyu(positive, negative).statistic
    value = wins / (len(positive) * len(negative))
    return estimate(value, resample(groups, ranked_above), min(map(len, groups)))


def multiplicities(drawn: np.ndarray, count: int) -> np.ndarray:
    """How often each of `count` indices comes in each row: `[rows, count]`, float64."""
    rows = np.arange(len(drawn))[:, np.newaxis] * count
    found = np.bincount((drawn.astype(np.int64) + rows).ravel(), minlength=len(drawn) * count)
    return found.reshape(len(drawn), count).astype(np.float64)


def standardized_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Difference of means over the root of the mean variance, Cohen's d; NaN if it has none."""
    if min(len(first), len(second)) < 2:
        return math.nan
    spread = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    gap = float(first.mean() - second.mean())
    return gap / spread if spread > 0 else (0.0 if gap == 0 else math.nan)


def expected_random_iou(total: int, first: int, second: int) -> float:
    """Expected IoU of two random areas: the sum over overlaps k of P(k) k / (a + b - k).

    The overlap is hypergeometric: which `second` of the cells are drawn does not depend on the
    `first` that are.

    Args:
        total: cells there are.
        first: a, cells of the first area.
        second: b, cells of the second.

    Returns:
        A number in [0, 1]; 1 for two empty areas.

    Raises:
        ValueError: an area that does not fit.

    Example:
        >>> expected_random_iou(4, 1, 1)  # the same cell once in four
        0.25
    """
    if not (0 <= first <= total and 0 <= second <= total):
        raise ValueError(f"Areas must be in [0, {total}] cells, got {first} and {second}.")
    if first + second == 0:
        return 1.0
    overlap = np.arange(max(0, first + second - total), min(first, second) + 1)
    chance = scipy.stats.hypergeom.pmf(overlap, total, first, second)
    return float(np.sum(chance * overlap / (first + second - overlap)))


def difference_interval(
    first: tuple[int, int],
    second: tuple[int, int],
    pairs: tuple[int, int, int, int] | None = None,
) -> Estimate:
    """Difference of two proportions with Newcombe's score interval (1998), 95 %.

    Args:
        first: successes and trials.
        second: successes and trials.
        pairs: where both speak of the same examples, how many succeed in both, in the first alone,
            in the second alone, in neither; this narrows the interval (Newcombe's method 10). None
            takes them as independent.

    Returns:
        The difference in [-1, 1], and its interval.

    Example:
        >>> difference_interval((56, 70), (48, 80)).text(4)  # independent; as in Newcombe
        '0.2000 [0.0524, 0.3339]'
    """
    difference = first[0] / first[1] - second[0] / second[1]
    interval = metrics.difference_interval(first, second, pairs)
    return Estimate(difference, interval, min(first[1], second[1]))


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """A mean over trainings with the lowest and the highest of them.

    Args:
        values: one for each seed; none gives a dash.

    Returns:
        The mean; its interval is the range, its count the number of seeds.
    """
    if not values:
        return NOTHING
    return Estimate(float(np.mean(values)), Interval(min(values), max(values)), len(values))


def seed_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Estimate:
    """Difference of two means over trainings, first - second, with a t interval over seeds, 95 %.

    Networks of one seed begin with the same weights and see the same batches, so where seeds are
    shared their differences are taken seed by seed: over the shared seeds alone if these are at
    least `SEEDS`, or all that there are. Else the two are independent samples of unequal variance
    (Welch 1947).

    Args:
        first: a number for each seed, e.g. the accuracy of one defence.
        second: the same of the other.

    Returns:
        The difference, and its interval where both have at least two seeds; its count is the
        number of seeds behind it, of the side with fewer.

    Example:
        >>> seed_difference({0: 0.5, 1: 0.7, 2: 0.6}, {0: 0.3, 1: 0.4, 2: 0.5}).text(2)
        '0.20 [-0.05, 0.45]'
    """
    if not (first and second):
        return NOTHING
    shared = sorted(first.keys() & second.keys())
    if len(shared) >= SEEDS or first.keys() == second.keys():
        gaps = np.array([first[seed] - second[seed] for seed in shared])
        return _with_t_interval(gaps.mean(), [gaps], len(shared))
    samples = [np.array(list(each.values())) for each in (first, second)]
    value = samples[0].mean() - samples[1].mean()
    return _with_t_interval(value, samples, min(map(len, samples)))


def _with_t_interval(value: float, samples: Sequence[np.ndarray], count: int) -> Estimate:
    """A sum or difference of the means of independent samples; no interval of single values."""
    if min(map(len, samples)) < 2:
        return Estimate(float(value), None, count)
    squares = [sample.var(ddof=1) / len(sample) for sample in samples]
    freedom = [square**2 / (len(s) - 1) for square, s in zip(squares, samples, strict=True)]
    half = 0.0
    if sum(squares) > 0:
        degrees = sum(squares) ** 2 / sum(freedom)
        half = float(scipy.stats.t.ppf(0.975, degrees)) * math.sqrt(sum(squares))
    return Estimate(float(value), Interval(float(value) - half, float(value) + half), count)


def _checked(values: Any, skip_nan: bool = False) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if skip_nan:
        values = values[~np.isnan(values)]
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(f"Expected values [images] without NaN, got shape {values.shape}.")
    return values
