"""What the paper's Table 5 says of its defences, confirmed or contradicted by the records."""

from __future__ import annotations

import math
from dataclasses import dataclass

from aad_tf.metrics import Interval, wilson_interval
from analysis.table_5 import Row, Table5

CONFIRMED, CONTRADICTED, UNDECIDED = "confirmed", "contradicted", "undecided"
ABOVE, BELOW = "above", "below"

# (preset, preset it is compared with, columns by the paper's names)
CLAIMS = (
    ("aad_step_ll", "step_ll", ("FGSM", "IFGSM", "PGD30", "PGD100", "PGD5", "PGD20")),
    ("aad_pgd", "madry", ("FGSM", "IFGSM", "PGD30", "PGD100", "PGD5", "PGD20")),
    ("aad_pgd_short", "madry_short", ("FGSM", "IFGSM", "PGD30", "PGD100", "PGD5", "PGD20")),
)


@dataclass(frozen=True)
class Finding:
    """One comparison of two defences under one attack.

    Attributes:
        name: of the row.
        other: name of the row it is compared with.
        column: heading of the column.
        difference: ours, in [-1, 1].
        interval: its 95 % interval over the examples.
        paired: True if the records pair the examples, False if only counts were there.
        paper_difference: the paper's, in points, or None if it has no such cells.
    """

    name: str
    other: str
    column: str
    difference: float
    interval: Interval
    paired: bool
    paper_difference: float | None

    @property
    def verdict(self) -> str:
        """On which side of 0 the interval lies: the paper's, the other, neither.

        Where the paper has no values, `above` or `below`.
        """
        if self.interval.low <= 0 <= self.interval.high:
            return UNDECIDED
        if not self.paper_difference:
            return ABOVE if self.difference > 0 else BELOW
        same_side = (self.difference > 0) == (self.paper_difference > 0)
        return CONFIRMED if same_side else CONTRADICTED

    def sentence(self) -> str:
        """The finding in one line, in points."""
        low, high = (100 * bound for bound in self.interval)
        text = f"{self.column}: {100 * self.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
        if self.paper_difference is not None:
            text += f", paper {self.paper_difference:+.1f}"
        return f"{text}, {self.verdict}"


def findings(table: Table5) -> list[Finding]:
    """All claims that the records of a table can speak to, in the order of `CLAIMS`.

    Args:
        table: of one data set.

    Returns:
        One finding for each pair of rows and each attack that both were run under.
    """
    found = []
    for preset, other, columns in CLAIMS:
        first, second = table.row(preset), table.row(other)
        if first is None or second is None:
            continue
        for place, column in enumerate(table.columns):
            if column.name in columns:
                finding = _compare(first, second, place, column.heading)
                found += [finding] if finding is not None else []
    return found


def _compare(first: Row, second: Row, place: int, heading: str) -> Finding | None:
    one, other = first.cells[place], second.cells[place]
    if one.entry is None or other.entry is None or first.run is None or second.run is None:
        return None
    paper = None
    if one.paper is not None and other.paper is not None:
        paper = one.paper - other.paper
    pairs = None
    if first.run.records is not None and second.run.records is not None:
        pairs = pair_counts(
            first.run.robust[one.entry["attack"]], second.run.robust[other.entry["attack"]]
        )
    difference, interval = difference_interval(
        (one.entry["robust"], one.entry["count"]),
        (other.entry["robust"], other.entry["count"]),
        pairs,
    )
    return Finding(first.name, second.name, heading, difference, interval, pairs is not None, paper)


def pair_counts(first: dict[int, bool], second: dict[int, bool]) -> tuple[int, int, int, int]:
    """How many examples both, only the first, only the second, and neither withstood.

    Args:
        first: whether each example withstood, by its place in the data set.
        second: the same of another network.

    Raises:
        ValueError: not the same examples.
    """
    if first.keys() != second.keys():
        raise ValueError(
            f"The two networks were not evaluated on the same examples ({len(first)} and "
            f"{len(second)}). Evaluate both on the whole test set."
        )
    pairs = [(first[index], second[index]) for index in first]
    return (
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        pairs.count((False, False)),
    )


def difference_interval(
    first: tuple[int, int],
    second: tuple[int, int],
    pairs: tuple[int, int, int, int] | None = None,
) -> tuple[float, Interval]:
    """Difference of two proportions with Newcombe's score interval (1998), 95 %.

    Args:
        first: successes and trials.
        second: successes and trials.
        pairs: from `pair_counts` where both speak of the same examples; this narrows the
            interval (Newcombe's method 10). None takes them as independent.

    Returns:
        The difference in [-1, 1], and its interval.

    Example:
        >>> difference_interval((56, 70), (48, 80))[1]  # independent; Newcombe: 0.0524, 0.3339
        Interval(low=0.0524..., high=0.3338...)
    """
    share, other = first[0] / first[1], second[0] / second[1]
    low, high = wilson_interval(*first)
    other_low, other_high = wilson_interval(*second)
    correlation = 0.0 if pairs is None else _correlation(*pairs)
    difference = share - other
    below = _spread(share - low, other_high - other, correlation)
    above = _spread(high - share, other - other_low, correlation)
    return difference, Interval(max(-1.0, difference - below), min(1.0, difference + above))


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
