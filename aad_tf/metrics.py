"""Measures of maps and of accuracy: IoU, rank correlation, robust accuracy, confidence intervals.

Also McNemar's test, and robust accuracy as a function of the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.stats import binom, binomtest, rankdata, t


class Interval(NamedTuple):
    """A confidence interval of a quantity.

    Its level is the argument `confidence` of the function that returns it.

    Attributes:
        low: lower bound, in the unit of the quantity.
        high: upper bound, in the same unit.
    """

    low: float
    high: float


def iou(first: Any, second: Any) -> tf.Tensor:
    """Intersection over union of binary masks, [AAD Eqs. 4, 5].

    Eq. 4 compares an attention area with the object's box, Eq. 5 the areas of the clean and the
    adversarial image; the measure is the same.

    Args:
        first: masks `[..., height, width]`, numeric or boolean; cells other than 0 belong to the
            mask.
        second: masks of the same shape.

    Returns:
        float32 `[...]` in [0, 1], one number per mask. The IoU of two empty masks is 1, that of an
        empty and a non-empty mask 0.

    Raises:
        ValueError: the shapes differ, or have no height and width.

    Example:
        >>> iou([[1, 1], [0, 0]], [[1, 0], [1, 0]]).numpy()  # one cell of three
        np.float32(0.33333334)
    """
    first, second = (tf.cast(tf.convert_to_tensor(mask), tf.bool) for mask in (first, second))
    rank = first.shape.rank
    if not first.shape.is_compatible_with(second.shape) or (rank is not None and rank < 2):
        raise ValueError(
            f"iou compares two masks of one shape [..., height, width], got {first.shape} and "
            f"{second.shape}. Resize the maps before thresholding them."
        )
    intersection = _cells(first & second)
    union = _cells(first | second)
    return tf.where(union > 0, tf.math.divide_no_nan(intersection, union), tf.ones_like(union))


def _cells(masks: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(masks, tf.float32), axis=(-2, -1))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of pairs of maps over their cells; ties take mean ranks.

    Args:
        first: numbers `[maps, h, w]`; each map has `h * w` cells.
        second: the same shape; map i is compared with map i of `first`.

    Returns:
        float64 `[maps]` in [-1, 1]; NaN where one of the two maps is constant.
    """
    one, two = (
        rankdata(maps.reshape(len(maps), -1), axis=1).astype(np.float64) for maps in (first, second)
    )
    one -= one.mean(1, keepdims=True)
    two -= two.mean(1, keepdims=True)
    spread = np.sqrt((one**2).sum(1) * (two**2).sum(1))
    with np.errstate(invalid="ignore"):
        return np.where(spread > 0, (one * two).sum(1) / spread, np.nan)


def robust_accuracy(labels: Any, clean_predictions: Any, adversarial_predictions: Any) -> float:
    """Fraction of examples that are classified correctly both without and under attack.

    An example that is misclassified without attack does not count as robust, even if the attack
    turns its prediction into the correct one.

    Args:
        labels: int `[examples]`, true labels.
        clean_predictions: int `[examples]`, predicted classes of the original images.
        adversarial_predictions: int `[examples]`, predicted classes of the attacked images.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: no examples, or arrays of different lengths.

    Example:
        >>> robust_accuracy([0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 0, 3])
        0.5
    """
    arrays = [np.asarray(a) for a in (labels, clean_predictions, adversarial_predictions)]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise ValueError(f"Expected three arrays of shape [examples], at least one; got {shapes}.")
    correct = (arrays[1] == arrays[0]) & (arrays[2] == arrays[0])
    return float(correct.mean())


def median_interval(values: Any, confidence: float = 0.95) -> Interval | None:
    """Confidence interval of a median that makes no assumption on the distribution.

    Its bounds are two of the values (order statistics), chosen by the binomial distribution of the
    number of values below the median. Values may be infinite.

    Args:
        values: `[examples]`.
        confidence: least probability that the interval covers the median, in (0, 1).

    Returns:
        The interval; None if there are too few values for one (fewer than 6 at 95%).

    Raises:
        ValueError: values that are not one-dimensional or contain NaN, or a confidence out of
            range.

    Example:
        >>> median_interval([1, 2, 3, 4, 5, 6, 7, 8])
        Interval(low=1.0, high=8.0)
    """
    values = np.sort(np.asarray(values, np.float64))
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(f"values must be [examples] without NaN, got shape {values.shape}.")
    _check_confidence(confidence)
    rank = int(binom.ppf((1 - confidence) / 2, len(values), 0.5)) if len(values) else 0
    return Interval(float(values[rank - 1]), float(values[-rank])) if rank else None


def mean_interval(values: Any, confidence: float = 0.95) -> Interval | None:
    """Confidence interval of a mean by Student's t distribution.

    Args:
        values: `[samples]`, such as one number per example or one per training seed.
        confidence: probability that the interval covers the mean, in (0, 1).

    Returns:
        The interval; None for fewer than two values.

    Raises:
        ValueError: values that are not one-dimensional or contain NaN, or a confidence out of
            range.

    Example:
        >>> mean_interval([1.0, 2.0, 3.0])
        Interval(low=-0.484..., high=4.484...)
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(f"values must be [examples] without NaN, got shape {values.shape}.")
    _check_confidence(confidence)
    if len(values) < 2:
        return None
    error = values.std(ddof=1) / math.sqrt(len(values))
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1) * error)
    return Interval(float(values.mean()) - reach, float(values.mean()) + reach)


@dataclass(frozen=True, eq=False)
class SecurityCurve:
    """Robust accuracy as a function of the budget, from distances to misclassified images.

    An image counts as robust at a budget if its distance is larger than the budget.

    Attributes:
        distances: `[examples]`, distance, in any norm, from each image to the nearest misclassified
            image that an attack found: 0 where the image itself is misclassified, infinite where
            none was found.
        epsilons: budgets (largest allowed distances), in the unit of the distances.
        norm: norm of distances and budgets, `"linf"` or `"l2"`.

    Raises:
        ValueError: no distances or no epsilons, NaN, negative numbers, or an infinite epsilon.

    Example:
        >>> SecurityCurve([0.0, 0.1, 0.3, np.inf], [0.0, 0.2]).robust_accuracies
        (0.75, 0.5)
    """

    distances: np.ndarray
    epsilons: tuple[float, ...]
    norm: str = "linf"

    def __post_init__(self) -> None:
        distances = np.asarray(self.distances, np.float64)
        if distances.ndim != 1 or not len(distances) or not (distances >= 0).all():
            raise ValueError(
                f"distances must be [examples], none negative or NaN and at least one, got "
                f"{self.distances}."
            )
        epsilons = np.asarray(self.epsilons, np.float64)
        finite = np.isfinite(epsilons) & (epsilons >= 0)
        if epsilons.ndim != 1 or not len(epsilons) or not finite.all():
            raise ValueError(
                f"epsilons must be a sequence of budgets, finite and not negative, got "
                f"{self.epsilons}."
            )
        object.__setattr__(self, "distances", distances)
        object.__setattr__(self, "epsilons", tuple(map(float, epsilons)))

    @property
    def _robust(self) -> list[int]:
        return [int(np.count_nonzero(self.distances > epsilon)) for epsilon in self.epsilons]

    @property
    def robust_accuracies(self) -> tuple[float, ...]:
        """The robust accuracy at each budget, in [0, 1], in the order of `epsilons`.

        It is the fraction of examples whose distance to the nearest misclassified image that an
        attack found is larger than the budget. The distance, in the norm of the budget, is infinite
        where no attack found such an image.
        """
        return tuple(robust / len(self.distances) for robust in self._robust)

    def intervals(self, confidence: float = 0.95) -> tuple[Interval, ...]:
        """Computes Wilson's confidence interval of the robust accuracy at each budget.

        Args:
            confidence: confidence level of each single interval, in (0, 1).

        Returns:
            One interval per budget, in the order of `epsilons`.

        Raises:
            ValueError: a confidence out of range.
        """
        count = len(self.distances)
        return tuple(wilson_interval(robust, count, confidence) for robust in self._robust)

    @property
    def median_distance(self) -> float:
        """Median of the distances from images to the nearest misclassified image that was found.

        Only images that are classified correctly without attack count; NaN if there is none. It is
        infinite if the attack failed on at least half of them.
        """
        correct = self.distances[self.distances > 0]
        return float(np.median(correct)) if len(correct) else float("nan")

    def median_interval(self, confidence: float = 0.95) -> Interval | None:
        """Computes a confidence interval of the median distance to a misclassified image.

        Only images that are classified correctly without attack count. The bounds are two of their
        distances, so no distribution is assumed.

        Args:
            confidence: least probability that the interval covers the median, in (0, 1).

        Returns:
            The interval; None if there are too few images for one (fewer than 6 at 95%).

        Raises:
            ValueError: a confidence out of range.
        """
        return median_interval(self.distances[self.distances > 0], confidence)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), e.g. 0.95, got {confidence}.")


def wilson_interval(successes: int, count: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927), valid near 0 and 1 too.

    Args:
        successes: number of successes, in [0, count].
        count: number of trials, at least 1.
        confidence: confidence level, in (0, 1).

    Returns:
        The interval, within [0, 1].

    Raises:
        ValueError: a number out of range.

    Example:
        >>> wilson_interval(0, 10).high
        0.277532...
    """
    _check_confidence(confidence)
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"Expected 0 <= successes <= count, count >= 1; got {successes}, {count}.")
    low, high = binomtest(successes, count).proportion_ci(confidence, "wilson")
    return Interval(float(low), float(high))


def difference_interval(
    first: tuple[int, int],
    second: tuple[int, int],
    pairs: tuple[int, int, int, int] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Newcombe's score interval (1998) of the difference of two proportions, first minus second.

    Args:
        first: number of successes and number of trials, at least 1, of the first proportion.
        second: number of successes and number of trials, at least 1, of the second proportion.
        pairs: if both proportions are of the same examples: the numbers of examples that succeed in
            both, in the first alone, in the second alone, and in neither. They make the interval
            narrower (Newcombe's method 10 for paired proportions). None for independent samples.
        confidence: confidence level, in (0, 1).

    Returns:
        The interval, within [-1, 1].

    Raises:
        ValueError: more successes than trials, a negative number of either, or a confidence out of
            range.
        ZeroDivisionError: a proportion without trials.

    Example:
        >>> difference_interval((48, 50), (38, 50), (36, 12, 2, 0))
        Interval(low=0.0569..., high=0.3404...)
    """
    one, other = first[0] / first[1], second[0] / second[1]
    low, high = wilson_interval(*first, confidence)
    other_low, other_high = wilson_interval(*second, confidence)
    correlation = 0.0 if pairs is None else _correlation(*pairs)
    difference = one - other
    below = _spread(one - low, other_high - other, correlation)
    above = _spread(high - one, other - other_low, correlation)
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def _spread(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))


def _correlation(both: int, first: int, second: int, neither: int) -> float:
    """Newcombe's phi, with his continuity correction where it is positive."""
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    if product == 0:
        return 0.0
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(excess - (both + first + second + neither) / 2, 0.0)
    return excess / math.sqrt(product)


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact test (1947) that two proportions over the same examples are equal.

    It is two-sided and uses only the examples that succeed in one of the two and not in the other.
    If the proportions are equal, such an example succeeds in the first with probability 1/2.

    Args:
        only_first: number of examples that succeed in the first alone, at least 0.
        only_second: number of examples that succeed in the second alone, at least 0.

    Returns:
        The p-value in [0, 1], by the binomial distribution; 1 if both numbers are 0.

    Raises:
        ValueError: a negative count.

    Example:
        >>> mcnemar(0, 5)  # 2 / 2**5
        0.0625
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"Counts cannot be negative, got {only_first} and {only_second}.")
    trials = only_first + only_second
    return float(binomtest(only_first, trials, 0.5).pvalue) if trials else 1.0
