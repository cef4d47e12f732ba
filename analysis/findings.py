"""Statements of a paper, confirmed or contradicted by the records according to a stated rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.statistics import DASH, Estimate
from analysis.tables import Table

CONFIRMED, CONTRADICTED, UNDECIDED = "confirmed", "contradicted", "undecided"
ABOVE, BELOW = "above", "below"
NO_COMPARISON = "nothing to compare"
# An interval from fewer images than this decides nothing.
SMALLEST_GROUP = 10

READING = (
    "*Confirmed*: the 95 % interval of the difference lies on the paper's side of 0; "
    "*contradicted*: on the other side; *undecided*: it contains 0, or a group has fewer than "
    f"{SMALLEST_GROUP} images. Where the interval does not hold the number that the paper prints, "
    "the verdict says so: an undecided difference may be 0 but is not the paper's, a confirmed one "
    "is smaller or larger than it. Where the paper says nothing the words are *above* and *below* "
    "0. Intervals are over images of one network, each on its own: they are not widened for the "
    "number of comparisons."
)


@dataclass(frozen=True)
class Finding:
    """One measured number, and what the paper says about it.

    Attributes:
        statement: what is compared, e.g. `IoU with the box, succeeded - failed`, or a sentence.
        estimate: the measured number; a difference unless `direction` is None.
        direction: the sign that the paper gives the difference, 1 or -1; 0 if the paper says
            nothing; None for a number that is not compared with anything.
        paper: the paper's number in the same unit, or None if it prints none.
        percent: True for fractions, which are then shown in percent or percentage points.
        headline: True for findings that the README shows.
        says: the paper's statement, in short.
        counts: numbers of images behind the estimate, as text, if its `count` does not say all.
    """

    statement: str
    estimate: Estimate
    direction: int | None
    paper: float | None = None
    percent: bool = False
    headline: bool = False
    says: str = ""
    counts: str = ""

    @property
    def side(self) -> str:
        """On which side of 0 the 95 % interval lies: `above`, `below`, or `undecided`.

        It is `undecided` also for fewer than `SMALLEST_GROUP` images, and `NO_COMPARISON` without
        an interval.
        """
        value, interval = self.estimate.value, self.estimate.interval
        if value is None or interval is None:
            return NO_COMPARISON
        if interval.low <= 0 <= interval.high or self.estimate.count < SMALLEST_GROUP:
            return UNDECIDED
        return ABOVE if value > 0 else BELOW

    @property
    def verdict(self) -> str:
        """Whether the measured sign is the paper's: confirmed, contradicted, or as `side` says.

        It is a dash if nothing is compared, and `side` if the paper says nothing or the interval
        contains 0.
        """
        if self.direction is None:
            return DASH
        if self.side not in (ABOVE, BELOW) or self.direction == 0:
            return self.side
        return CONFIRMED if (self.side == ABOVE) == (self.direction > 0) else CONTRADICTED

    def verdict_text(self) -> str:
        """The verdict, with a remark if the interval does not contain the paper's number."""
        verdict, value, interval = self.verdict, self.estimate.value, self.estimate.interval
        if self.paper is None or value is None or interval is None:
            return verdict
        if self.estimate.count < SMALLEST_GROUP or interval.low <= self.paper <= interval.high:
            return verdict
        if verdict == UNDECIDED:
            return f"{verdict}; the paper's {self.paper_text()} lies outside"
        if verdict == CONFIRMED:
            size = "smaller" if abs(value) < abs(self.paper) else "larger"
            return f"{verdict}; {size} than the paper's"
        return verdict

    def ours_text(self) -> str:
        """The measured number with its interval; fractions in percent."""
        if self.percent:
            return self.estimate.percent(sign=True)
        return self.estimate.text(sign=self.direction is not None)

    def paper_text(self) -> str:
        """The paper's number; or the side of 0 on which the paper says that it lies; or a dash."""
        if self.paper is not None:
            return f"{100 * self.paper:+.1f}" if self.percent else f"{self.paper:+.3f}"
        return {1: "above 0", -1: "below 0"}.get(self.direction or 0, DASH)


def findings_table(findings: Iterable[tuple[str, Finding]]) -> Table:
    """Makes a table of findings: measured number, the paper's number, and verdict.

    Args:
        findings: for each row the text of the first column, the number of the AAD table, and the
            finding.

    Returns:
        One row per finding.
    """
    rows = [
        (name, found.statement, found.ours_text(), found.paper_text(), found.verdict_text())
        for name, found in findings
    ]
    return Table(("AAD table", "compared", "ours", "paper", "verdict"), rows, left=2)
