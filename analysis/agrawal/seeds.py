"""Numbers measured once per seed: intervals over the images of a seed, and over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aad_tf.metrics import Interval, mean_interval
from analysis.findings import (
    CONFIRMED,
    CONTRADICTED,
    NO_COMPARISON,
    SMALLEST_GROUP,
    UNDECIDED,
)
from analysis.statistics import DASH, Estimate

# Fewer trainings than this decide nothing about a network.
ENOUGH_SEEDS = 3
# Accuracies that differ by no more are called equal.
EQUAL = 0.03
NOT_RUN, AT_CHANCE = "not run", "at or under chance"
_COUNTS = {1: "one seed", 2: "two seeds"}

READING = (
    f"A verdict needs {ENOUGH_SEEDS} seeds and is one over seeds: *confirmed* if Student's 95 % "
    "interval of the mean over seeds lies on the paper's side of 0, *contradicted* if on the "
    "other side, else *undecided*. Where the paper says *equal*, within "
    f"{100 * EQUAL:.0f} points of each other is equal: confirmed if the interval lies within, "
    "contradicted if outside. Brackets behind a single seed are 95 % intervals over its images, "
    "paired where networks are compared: they tell two files of weights apart, not two "
    "architectures. Nothing is corrected for the number of comparisons."
)


@dataclass(frozen=True)
class OverSeeds:
    """A number that was measured once for each seed.

    Attributes:
        seeds: the number of each seed with its interval over images; seeds without a value are
            left out.
    """

    seeds: tuple[Estimate, ...]

    def __post_init__(self) -> None:
        known = tuple(each for each in self.seeds if each.value is not None)
        object.__setattr__(self, "seeds", known)

    @property
    def values(self) -> list[float]:
        """The numbers, one per seed."""
        return [each.value for each in self.seeds if each.value is not None]

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None without any."""
        return float(np.mean(self.values)) if self.seeds else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None for fewer than two."""
        return float(np.std(self.values, ddof=1)) if len(self.seeds) > 1 else None

    @property
    def interval(self) -> Interval | None:
        """Student's 95 % interval of the mean over seeds; None for fewer than `ENOUGH_SEEDS`."""
        return mean_interval(self.values) if len(self.seeds) >= ENOUGH_SEEDS else None

    def percent(self, sign: bool = False) -> str:
        """The number in percent as text.

        One seed gives `13.6 [12.1, 15.2]`, with its interval over images; several give
        `13.6 ± 0.8`, mean and standard deviation; none a dash.

        Args:
            sign: whether positive numbers have a plus.

        Returns:
            The text.
        """
        if self.mean is None:
            return DASH
        if self.spread is None:
            return self.seeds[0].percent(sign)
        return f"{100 * self.mean:{'+' if sign else ''}.1f} ± {100 * self.spread:.1f}"

    def of_each(self) -> str:
        """The number of each seed with its interval over images, in percentage points, as text."""
        return "; ".join(each.percent(sign=True) for each in self.seeds) or DASH

    def over_seeds(self) -> str:
        """The mean with its interval over seeds, in percentage points, as text; or a dash."""
        if self.mean is None or self.interval is None:
            return DASH
        return Estimate(self.mean, self.interval, len(self.seeds)).percent(sign=True)

    def mean_percent(self) -> str:
        """The mean over seeds in percent, without an interval, as text; or a dash."""
        return DASH if self.mean is None else f"{100 * self.mean:.1f}"

    def complement(self) -> OverSeeds:
        """1 minus each number, which turns accuracies into errors."""
        return OverSeeds(tuple(map(_complement, self.seeds)))


def verdict(found: OverSeeds, direction: int, margin: float = EQUAL) -> str:
    """Judges what the paper says of a difference by its interval over seeds.

    Args:
        found: the difference.
        direction: 1 if the paper says that it is above 0, -1 if below, 0 if it says that it is 0.
        margin: with direction 0, the largest absolute value that counts as 0.

    Returns:
        Confirmed, contradicted or undecided, as `READING` explains; undecided for too few seeds or
        images; `NO_COMPARISON` without seeds.
    """
    if not found.seeds:
        return NO_COMPARISON
    if found.interval is None:
        return f"{UNDECIDED}: {_COUNTS[len(found.seeds)]}"
    if min(each.count for each in found.seeds) < SMALLEST_GROUP:
        return f"{UNDECIDED}: fewer than {SMALLEST_GROUP} images"
    low, high = found.interval
    if direction == 0:
        low, high = low / margin, high / margin
        if low >= -1 and high <= 1:
            return CONFIRMED
        return CONTRADICTED if low > 1 or high < -1 else UNDECIDED
    if low <= 0 <= high:
        return UNDECIDED
    return CONFIRMED if (low > 0) == (direction > 0) else CONTRADICTED


def side(found: OverSeeds) -> str:
    """On which side of 0 a difference lies, `above` or `below`, or that it is undecided."""
    words = {CONFIRMED: "above", CONTRADICTED: "below"}
    word = verdict(found, 1)
    return words.get(word, word)


def not_run(study: str) -> str:
    """The cell of a claim without records, which names the study that makes them.

    Args:
        study: name that `train.study --study` takes.

    Returns:
        The text.
    """
    return f"{NOT_RUN}: `{study}`"


def mean_over_images(values: Sequence[float] | np.ndarray) -> Estimate:
    """A mean over images with Student's 95 % interval; without a value if there are no images."""
    values = np.asarray(values, np.float64)
    if not len(values):
        return Estimate(None, None, 0)
    return Estimate(float(values.mean()), mean_interval(values), len(values))


def _complement(one: Estimate) -> Estimate:
    interval = one.interval and Interval(1 - one.interval.high, 1 - one.interval.low)
    return Estimate(None if one.value is None else 1 - one.value, interval, one.count)
