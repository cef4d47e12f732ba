"""Differences of two defences, judged by their trainings with several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.statistics import DASH, SEEDS, Estimate, seed_difference

# As far as 1,000 images tell an accuracy of 50 % from another (3.1 points either way), and a fifth
# of what the paper claims for AAD with StepLL under IFGSM (15.0 and 16.6 points).
MARGIN = 0.03
HIGHER, LOWER, EQUIVALENT, UNDECIDED = "higher", "lower", "equivalent", "undecided"
NO_VERDICT = "no verdict"

READING = (
    "Differences in points, of means over seeds, with a 95 % t interval over seeds; where both "
    "rows were trained with the same seeds, seed by seed. *Higher*, *lower*: the interval lies on "
    f"that side of 0; *equivalent*: it contains 0 and lies within {100 * MARGIN:.0f} points of it; "
    "*undecided*: it contains 0 and reaches further. *Smaller* or *larger than the paper's*: the "
    "interval leaves out the paper's difference, on that side. *No verdict*: fewer than "
    f"{SEEDS} seeds of either row, or one of them trained on a smaller part of its epochs or "
    "images than the other. *A sketch*: both rows were trained for fewer epochs or on fewer "
    "images than the paper's; the verdict is on these two alone. "
    "Intervals stand each on its own: they are not widened for the number of comparisons."
)


@dataclass(frozen=True)
class SeedDifference:
    """Accuracy of one defence minus that of another.

    Attributes:
        statement: what is compared, e.g. `FGSM (ε 0.15)`.
        first: accuracies in [0, 1] of the first defence, by seed.
        second: accuracies of the other defence, by seed.
        paper: the paper's difference, in [-1, 1], or None if it prints none.
        sketch: such as `2 of 200 epochs` if the first was trained for fewer epochs or on fewer
            images than the network it stands for; else empty. Where both are the same sketch, their
            difference is not held against the paper's.
        other_sketch: the same of the other defence. Where it differs, there is no verdict.

    Example:
        >>> SeedDifference("FGSM", {0: 0.9}, {0: 0.8}, 0.2).line()
        'FGSM: +10.0, paper +20.0: one run each, no verdict'
    """

    statement: str
    first: Mapping[int, float]
    second: Mapping[int, float]
    paper: float | None = None
    sketch: str = ""
    other_sketch: str = ""

    @property
    def estimate(self) -> Estimate:
        """The difference of the means over seeds, with a 95 % t interval over seeds."""
        return seed_difference(self.first, self.second)

    @property
    def doubts(self) -> str:
        """Reasons why there is no verdict, such as `one run each`; empty if there are none."""
        counts = (len(self.first), len(self.second))
        trained = (self.sketch or "all", self.other_sketch or "all")
        reasons = [f"not trained alike ({' against '.join(trained)})"] * (trained[0] != trained[1])
        if not min(counts):
            reasons.append("not run")
        elif max(counts) == 1:
            reasons.append("one run each")
        elif min(counts) < SEEDS:
            reasons.append(f"{counts[0]} and {counts[1]} seeds")
        return ", ".join(reasons)

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `equivalent`, `undecided` or `no verdict`, by the 95 % interval.

        `higher` and `lower`: the interval lies above or below 0. `equivalent`: the interval
        contains 0 and lies within `MARGIN` of it. `undecided`: it contains 0 and reaches further.
        `no verdict`: there are `doubts`, such as too few seeds.
        """
        interval = self.estimate.interval
        if self.doubts or interval is None:
            return NO_VERDICT
        if interval.low > 0 or interval.high < 0:
            return HIGHER if interval.low > 0 else LOWER
        return EQUIVALENT if max(-interval.low, interval.high) < MARGIN else UNDECIDED

    def verdict_text(self) -> str:
        """The verdict, and how ours stands to the paper's difference or why that is not said."""
        verdict, interval, paper = self.verdict, self.estimate.interval, self.paper
        if verdict == NO_VERDICT:
            verdict = ", ".join(filter(None, (self.doubts, verdict)))
        if self.sketch and self.sketch == self.other_sketch:
            return f"{verdict}; a sketch ({self.sketch}), not held against the paper"
        if self.verdict == NO_VERDICT:
            return verdict
        if paper is None or interval is None or interval.low <= paper <= interval.high:
            return verdict
        if paper == 0:
            return f"{verdict}; the paper's is 0"
        if (verdict, paper > 0) in ((HIGHER, False), (LOWER, True)):
            return f"{verdict}, against the paper's"
        smaller = interval.high < paper if paper > 0 else interval.low > paper
        return f"{verdict}; {'smaller' if smaller else 'larger'} than the paper's"

    def seeds_text(self) -> str:
        """The seeds compared, such as `0, 1, 2`, or `0, 1 against 0` where they are not paired."""
        first, second = (sorted(each) for each in (self.first, self.second))
        shared = [seed for seed in first if seed in second]
        paired = first == second or len(shared) >= SEEDS
        return " against ".join(
            ", ".join(map(str, seeds)) for seeds in ([shared] if paired else [first, second])
        )

    def _points(self) -> str:
        ours = self.estimate
        if self.verdict == NO_VERDICT:  # An interval from one or two seeds would mislead.
            ours = Estimate(ours.value, None, ours.count)
        return ours.percent(sign=True)

    def cell_text(self) -> str:
        """The difference in points, and the verdict if there is one, as the text of a cell."""
        return self._points() if self.verdict == NO_VERDICT else f"{self._points()}, {self.verdict}"

    def line(self) -> str:
        """Statement, difference in points, the paper's difference and the verdict in one line.

        Seeds follow the statement if the two were not trained with the same ones.
        """
        printed = DASH if self.paper is None else f"{100 * self.paper:+.1f}"
        unlike = self.first and self.second and self.first.keys() != self.second.keys()
        seeds = f" (seeds {self.seeds_text()})" if unlike else ""
        return f"{self.statement}{seeds}: {self._points()}, paper {printed}: {self.verdict_text()}"
