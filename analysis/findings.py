"""What a paper says, confirmed or contradicted by records according to a stated rule."""

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
    """One number and what the paper says of it.

    Attributes:
        statement: what is compared, e.g. `IoU with the box, succeeded - failed`, or a sentence.
        estimate: ours; a difference unless `direction` is None.
        direction: sign the paper gives it, 1 or -1; 0 where it says nothing; None for a number
            that nothing is compared with.
        paper: the paper's number in our unit, or None if it prints none.
        percent: True for fractions, which are then shown in points.
        headline: True for the few that the README shows.
        says: the paper's words.
        counts: images behind it, where they are more than the estimate's count.
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
        """`above` or `below` 0 where the interval lies there, `undecided`, or `NO_COMPARISON`."""
        value, interval = self.estimate.value, self.estimate.interval
        if value is None or interval is None:
            return NO_COMPARISON
        if interval.low <= 0 <= interval.high or self.estimate.count < SMALLEST_GROUP:
            return UNDECIDED
        return ABOVE if value > 0 else BELOW

    @property
    def verdict(self) -> str:
        """The word that `READING` explains; a dash if nothing is compared."""
        if self.direction is None:
            return DASH
        if self.side not in (ABOVE, BELOW) or self.direction == 0:
            return self.side
        return CONFIRMED if (self.side == ABOVE) == (self.direction > 0) else CONTRADICTED

    def verdict_text(self) -> str:
        """The verdict, and how ours stands to the paper's number where they differ for certain."""
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
        """The number with its interval; fractions in points."""
        if self.percent:
            return self.estimate.percent(sign=True)
        return self.estimate.text(sign=self.direction is not None)

    def paper_text(self) -> str:
        """The paper's number, or in which direction it says it lies, or a dash."""
        if self.paper is not None:
            return f"{100 * self.paper:+.1f}" if self.percent else f"{self.paper:+.3f}"
        return {1: "above 0", -1: "below 0"}.get(self.direction or 0, DASH)


def findings_table(findings: Iterable[tuple[str, Finding]]) -> Table:
    """Ours, the paper's and the verdict under each other.

    Args:
        findings: what stands in the first column, e.g. the number of the table, and the finding.
    """
    rows = [
        (name, found.statement, found.ours_text(), found.paper_text(), found.verdict_text())
        for name, found in findings
    ]
    return Table(("AAD table", "compared", "ours", "paper", "verdict"), rows, left=2)
