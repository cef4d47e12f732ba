"""A finding: one plain sentence with its number, interval, count, the paper's claim, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.attention.claims import NO_COMPARISON, Claim
from analysis.attention.intervals import DASH, Estimate, Groups
from analysis.findings import UNDECIDED
from analysis.tables import TextTable

NOT_SEEN = "not seen"


@dataclass(frozen=True)
class Finding:
    """One sentence and the evidence for it.

    Attributes:
        sentence: in plain words, made from the numbers.
        says: what the paper says of it; empty if nothing.
        estimate: the number.
        claim: the number with its verdict; None for a number that nothing is compared with.
        counts: images behind it; of two groups both.
    """

    sentence: str
    says: str
    estimate: Estimate
    claim: Claim | None = None
    counts: str = ""

    @property
    def verdict(self) -> str:
        """`confirmed`, `contradicted`, `undecided`, `not seen`, or a dash."""
        if self.claim is None:
            return DASH
        return NOT_SEEN if self.claim.verdict == NO_COMPARISON else self.claim.verdict

    def verdict_text(self) -> str:
        """The verdict, with how ours stands to the paper's number."""
        known = self.claim is not None and self.verdict != NOT_SEEN
        return self.claim.verdict_text() if known and self.claim else self.verdict


def of_number(
    estimate: Estimate,
    sentence: str,
    words: tuple[str, str, str],
    says: str,
    direction: int,
    paper: float | None = None,
    counts: str = "",
) -> Finding:
    """A finding on one number.

    Args:
        estimate: the number.
        sentence: with {} for one of the words.
        words: for below 0, above 0, and undecided.
        says: what the paper says.
        direction: the sign that the paper gives the number.
        paper: the paper's number, if it prints one.
        counts: images behind it, where they are more than the estimate's count.
    """
    claim = Claim(says, estimate, direction, paper)
    if claim.verdict == NO_COMPARISON or estimate.value is None:
        return Finding(f"Nothing to compare: {sentence.format('…')}.", says, estimate, claim)
    place = 2 if claim.verdict == UNDECIDED else int(estimate.value > 0)
    return Finding(f"{sentence.format(words[place])}.", says, estimate, claim, counts)


def of_groups(
    groups: Groups,
    sentence: str,
    words: tuple[str, str, str],
    says: str,
    direction: int = -1,
    paper: float | None = None,
) -> Finding:
    """A finding on two groups; both means stand at the end of the sentence.

    Args:
        groups: their difference is the number.
        sentence: as for `of_number`, and so on.
    """
    found = of_number(groups.difference, sentence, words, says, direction, paper)
    if groups.first.value is None or groups.second.value is None:
        return found
    means = f"{groups.first.value:.3f} against {groups.second.value:.3f}"
    counts = f"{groups.first.count:,} / {groups.second.count:,}"
    sentence = f"{found.sentence[:-1]}: {means}."
    return Finding(sentence, says, found.estimate, found.claim, counts)


def findings_table(found: Sequence[Finding], start: int = 1) -> TextTable:
    """Findings under each other, numbered from `start`."""
    rows = tuple(
        (
            str(number),
            f.sentence,
            f.estimate.text(sign=f.claim is not None),
            f.counts or f"{f.estimate.count:,}",
            f.says or DASH,
            DASH if f.claim is None else f.claim.paper_text(),
            f.verdict_text(),
        )
        for number, f in enumerate(found, start)
    )
    heads = ("", "finding", "ours", "n", "the paper says", "paper", "verdict")
    return TextTable(heads, rows, left=2)
