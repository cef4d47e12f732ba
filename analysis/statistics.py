"""Numbers with 95 % intervals: bootstrap, Wilson's and Newcombe's over images, t over seeds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
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
    """A number with its 95 % interval.

    Attributes:
        value: the number; None without images.
        interval: its 95 % interval; None if there are too few images for one.
        count: number of images, or of seeds, behind it; for a difference, of the smaller group.
    """

    value: float | None
    interval: Interval | None
    count: int

    def text(self, digits: int = 3, scale: float = 1.0, sign: bool = False) -> str:
        """The number and its interval as text, e.g. `0.647 [0.640, 0.655]`; a dash without one.

        Args:
            digits: number of decimals.
            scale: factor of all numbers.
            sign: whether positive numbers have a plus.

        Returns:
            The text.
        """
        if self.value is None:
            return DASH
        form = f"{'+' if sign else ''}.{digits}f"
        numbers = (self.value, *(self.interval or ()))
        value, *bounds = (format(scale * number, form) for number in numbers)
        return f"{value} [{', '.join(bounds)}]" if bounds else value

    def percent(self, sign: bool = False) -> str:
        """The number and its interval in percent with one decimal, e.g. `64.7 [64.0, 65.5]`."""
        return self.text(1, 100.0, sign)


NOTHING = Estimate(None, None, 0)


@dataclass(frozen=True)
class Groups:
    """Means of two groups, and the difference first - second, each with its interval."""

    first: Estimate
    second: Estimate
    difference: Estimate

    def texts(self) -> tuple[str, str, str]:
        """Both means and their difference as text, with intervals."""
        return self.first.text(), self.second.text(), self.difference.text(sign=True)

    @property
    def counts(self) -> str:
        """Numbers of images of both groups as text, e.g. `2,318 / 1,044`."""
        return f"{self.first.count:,} / {self.second.count:,}"


def resample(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    *,
    seed: int = 0,
    paired: bool = False,
    batch: int | None = None,
) -> np.ndarray:
    """Computes a statistic of bootstrap resamples, by `scipy.stats.bootstrap`.

    Args:
        samples: arrays `[images]` of at least one image; each is resampled separately.
        statistic: a function of resampled samples, `[draws, images]` each, and of `axis=-1`.
        seed: seed of the draws.
        paired: True draws the same images of all samples, which then have equal lengths.
        batch: number of draws that are computed at once; None chooses it by the size of samples.

    Returns:
        `[..., RESAMPLES]`: the statistic of each resample.
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
    """Makes an estimate of a statistic and its bootstrap draws, by their middle 95 %.

    Args:
        value: the statistic; NaN if it is not defined.
        draws: `[RESAMPLES]`, the statistic of each resample; NaN where it is not defined. If more
            than 2.5 % of them are NaN, the estimate has no interval.
        count: number of images behind it.

    Returns:
        The estimate.
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
        successes: number of successes, at most `count`.
        count: number of images; 0 gives an estimate without a value.

    Returns:
        The estimate.
    """
    if count == 0:
        return NOTHING
    return Estimate(successes / count, wilson_interval(successes, count), count)


def mean(values: Any, *, seed: int = 0, skip_nan: bool = False) -> Estimate:
    """A mean with its bootstrap interval over images.

    Args:
        values: `[images]`; an empty array gives an estimate without a value.
        seed: seed of the draws.
        skip_nan: True leaves out values that are NaN.

    Returns:
        The estimate.

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
        first: `[images]`, values of the first group.
        second: `[images]`, values of the second group.
        seed: seed of the draws.
        skip_nan: True leaves out values that are NaN.

    Returns:
        Both means and their difference, with bootstrap intervals.

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
    """Mean of the differences of pairs; whole pairs are resampled.

    Args:
        first: `[pairs]`, first value of each pair.
        second: `[pairs]`, second value; pairs with a NaN are left out.
        seed: seed of the draws.

    Returns:
        Means of the first and the second values and of their differences, with bootstrap
        intervals.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = ~np.isnan(first - second)
    columns = (first[known], second[known], (first - second)[known])
    return Groups(*(mean(column, seed=seed) for column in columns))


def overlapping_difference(first: Any, in_first: Any, second: Any, in_second: Any) -> Estimate:
    """Difference of the means of two groups that may share images; the images are resampled.

    Args:
        first: `[images]`, values of the first group where `in_first`.
        in_first: bool `[images]`.
        second: `[images]`, values of the second group where `in_second`.
        in_second: bool `[images]`.

    Returns:
        Mean of the first group minus that of the second, with a bootstrap interval. Resamples in
        which a group is empty are left out.
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
    """Area under the ROC curve (Mann and Whitney 1947).

    It is the probability that a positive has a higher score than a negative, ties counting half.

    Args:
        positive: scores of positives, `[images]`.
        negative: scores of negatives, `[images]`; each group is resampled separately.

    Returns:
        The area with its bootstrap interval; 0.5 for scores without information, 1 for scores that
        separate the groups.

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
    """Counts how often each index was drawn.

    Args:
        drawn: int `[rows, n]`, indices in [0, count).
        count: number of indices.

    Returns:
        float64 `[rows, count]`.
    """
    rows = np.arange(len(drawn))[:, np.newaxis] * count
    found = np.bincount((drawn.astype(np.int64) + rows).ravel(), minlength=len(drawn) * count)
    return found.reshape(len(drawn), count).astype(np.float64)


def standardized_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's d: difference of means divided by the root of the mean variance of both groups.

    Args:
        first: `[n]`.
        second: `[m]`.

    Returns:
        first - second, in standard deviations; NaN if there is no variance.
    """
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
        total: number of all cells.
        first: a, number of cells of the first area.
        second: b, number of cells of the second area.

    Returns:
        A number in [0, 1]; 1 for two empty areas.

    Raises:
        ValueError: an area of more than `total` or fewer than 0 cells.

    Example:
        >>> expected_random_iou(4, 1, 1)  # the same cell once in four
        0.25
    """
    if not (0 <= first <= total and 0 <= second <= total):
        raise ValueError(f"Areas must be in [0, {total}] cells, got {first} and {second}.")
    if first + second == 0:
        return 1.0
    overlap = np.arange(max(0, first + second - total), min(first, second) + 1)
    # By scipy.stats.hypergeom, areas of thousands of cells take far longer.
    chance = np.exp(
        _log_choices(first, overlap)
        + _log_choices(total - first, second - overlap)
        - _log_choices(total, second)
    )
    return float(np.sum(chance * overlap / (first + second - overlap)))


def _log_choices(of: Any, taken: Any) -> np.ndarray:
    """Logarithm of the binomial coefficient."""
    return -np.log1p(of) - scipy.special.betaln(of - taken + 1, taken + 1)


def difference_interval(
    first: tuple[int, int],
    second: tuple[int, int],
    pairs: tuple[int, int, int, int] | None = None,
) -> Estimate:
    """Difference of two proportions with Newcombe's score interval (1998), 95 %.

    Args:
        first: successes and trials.
        second: successes and trials.
        pairs: if both proportions are over the same examples, how many examples succeed in both,
            in the first alone, in the second alone, and in neither; this narrows the interval
            (Newcombe's method 10). None takes the proportions as independent.

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
    """A mean over trainings with different seeds, and their range.

    Args:
        values: one for each seed; an empty sequence gives an estimate without a value.

    Returns:
        The mean. Its `interval` is the lowest and highest value, not a confidence interval; its
        `count` is the number of seeds.
    """
    if not values:
        return NOTHING
    return Estimate(float(np.mean(values)), Interval(min(values), max(values)), len(values))


def seed_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Estimate:
    """Difference of two means over trainings, first - second, with a t interval over seeds, 95 %.

    Networks of the same seed begin with the same weights and see the same batches. So differences
    are taken seed by seed over the shared seeds, if there are at least `SEEDS` of them or no
    others. Else the two are treated as independent samples of unequal variance (Welch 1947).

    Args:
        first: a number for each seed, e.g. the accuracy of one defence.
        second: the same for the other defence.

    Returns:
        The difference; its interval, if both have at least two seeds; and as `count` the number of
        seeds behind it, that of the side with fewer.

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
