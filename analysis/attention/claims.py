"""What the paper says of attention, confirmed or contradicted by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.attention.intervals import Estimate
from analysis.findings import ABOVE, BELOW, CONFIRMED, CONTRADICTED, UNDECIDED
from analysis.tables import TextTable

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
class Claim:
    """One difference and what the paper says of it.

    Attributes:
        statement: what is compared, e.g. `IoU with the box, succeeded - failed`.
        difference: ours.
        direction: sign the paper gives it, 1 or -1; 0 where it says nothing.
        paper: the paper's difference in our unit, or None if it prints none.
        percent: True for shares, which are then shown in points.
        headline: True for the few that the README shows.
    """

    statement: str
    difference: Estimate
    direction: int
    paper: float | None = None
    percent: bool = False
    headline: bool = False

    @property
    def verdict(self) -> str:
        """The word that `READING` explains."""
        value, interval = self.difference.value, self.difference.interval
        if value is None or interval is None:
            return NO_COMPARISON
        if interval.low <= 0 <= interval.high or self.difference.count < SMALLEST_GROUP:
            return UNDECIDED
        if self.direction == 0:
            return ABOVE if value > 0 else BELOW
        return CONFIRMED if (value > 0) == (self.direction > 0) else CONTRADICTED

    def verdict_text(self) -> str:
        """The verdict, and how ours stands to the paper's number where they differ for certain."""
        verdict, interval = self.verdict, self.difference.interval
        if self.paper is None or interval is None or self.difference.count < SMALLEST_GROUP:
            return verdict
        if interval.low <= self.paper <= interval.high:
            return verdict
        if verdict == UNDECIDED:
            return f"{verdict}; the paper's {self.paper_text()} lies outside"
        if verdict == CONFIRMED and self.difference.value is not None:
            size = "smaller" if abs(self.difference.value) < abs(self.paper) else "larger"
            return f"{verdict}; {size} than the paper's"
        return verdict

    def ours_text(self) -> str:
        """The difference with its interval; shares in points."""
        if self.percent:
            return self.difference.percent(sign=True)
        return self.difference.text(sign=True)

    def paper_text(self) -> str:
        """The paper's difference, or in which direction it says it lies, or a dash."""
        if self.paper is not None:
            return f"{100 * self.paper:+.1f}" if self.percent else f"{self.paper:+.3f}"
        return {1: "above 0", -1: "below 0", 0: "–"}[self.direction]


def claims_table(claims: list[tuple[str, Claim]]) -> TextTable:
    """Claims under each other.

    Args:
        claims: what stands in the first column, e.g. the number of the table, and the claim.
    """
    rows = tuple(
        (name, claim.statement, claim.ours_text(), claim.paper_text(), claim.verdict_text())
        for name, claim in claims
    )
    return TextTable(("AAD table", "compared", "ours", "paper", "verdict"), rows, left=2)
