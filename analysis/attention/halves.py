"""Images whose attack succeeded beside those whose attack failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.attention import intervals
from analysis.attention.intervals import DASH, Estimate
from analysis.attention.table import Cell

# The paper's percent and mean of I_succeed, then of I_fail.
Printed = Sequence[float]


@dataclass(frozen=True)
class Halves:
    """Shares and means of both groups.

    Attributes:
        succeeded_share: of the images of both groups.
        failed_share: of the images of both groups.
        succeeded: mean over I_succeed.
        failed: mean over I_fail.
        difference: succeeded - failed.
    """

    succeeded_share: Estimate
    failed_share: Estimate
    succeeded: Estimate
    failed: Estimate
    difference: Estimate

    @property
    def count(self) -> int:
        """Images of both groups."""
        return self.succeeded.count + self.failed.count

    def texts(self) -> tuple[str, ...]:
        """Percent and mean of each group, then the difference of the means."""
        return (
            *(self.succeeded_share.percent(), self.succeeded.text()),
            *(self.failed_share.percent(), self.failed.text()),
            self.difference.text(sign=True),
        )

    def means(self) -> tuple[str, ...]:
        """`texts` without the percentages."""
        return (self.succeeded.text(), self.failed.text(), self.difference.text(sign=True))

    def cells(
        self, split: str, row: str, quantity: str, printed: Printed | None = None
    ) -> list[Cell]:
        """All five numbers for the CSV, beside the printed ones."""
        shares: Sequence[float | None] = (None, None)
        means: Sequence[float | None] = (None, None, None)
        if printed is not None:
            shares, means = printed[::2], with_difference(printed[1::2])
        return [
            Cell(split, row, "percent", "succeeded", self.succeeded_share, shares[0]),
            Cell(split, row, "percent", "failed", self.failed_share, shares[1]),
            *self.mean_cells(split, row, quantity, means),
        ]

    def mean_cells(
        self, split: str, row: str, quantity: str, printed: Sequence[float | None]
    ) -> list[Cell]:
        """The means and their difference for the CSV."""
        groups = {
            "succeeded": self.succeeded,
            "failed": self.failed,
            "difference": self.difference,
        }
        return [
            Cell(split, row, quantity, group, estimate, value)
            for (group, estimate), value in zip(groups.items(), printed, strict=True)
        ]


def halves(values: np.ndarray, succeeded: np.ndarray, failed: np.ndarray) -> Halves:
    """Splits values by whether the attack succeeded.

    Args:
        values: `[images]`; NaN only outside both groups.
        succeeded: bool `[images]`.
        failed: bool `[images]`.
    """
    groups = intervals.compare(values[succeeded], values[failed])
    count = int(succeeded.sum() + failed.sum())
    return Halves(
        intervals.share(int(succeeded.sum()), count),
        intervals.share(int(failed.sum()), count),
        groups.first,
        groups.second,
        groups.difference,
    )


def with_difference(printed: Printed | None) -> tuple[float | None, ...]:
    """Two printed means and their difference; three Nones where nothing is printed."""
    if printed is None:
        return (None, None, None)
    return (*printed, round(printed[0] - printed[1], 4))


def printed_texts(printed: Printed, digits: int = 3) -> tuple[str, ...]:
    """The paper's four numbers and the difference of its means, as `Halves.texts`."""
    gap = printed[1] - printed[3]
    return (
        *(f"{printed[0]:.1f}", f"{printed[1]:.{digits}f}"),
        *(f"{printed[2]:.1f}", f"{printed[3]:.{digits}f}", f"{gap:+.{digits}f}"),
    )


def printed_means(printed: Sequence[float]) -> tuple[str, ...]:
    """The paper's two means and their difference, as `Halves.means`."""
    return (f"{printed[0]:.3f}", f"{printed[1]:.3f}", f"{printed[0] - printed[1]:+.3f}")


def empty_notes(found: Halves, where: str) -> list[str]:
    """What to say where a group has no image."""
    if found.count == 0:
        return [f"{where}: no image to compare."]
    missing = "succeeded" if found.succeeded.count == 0 else "failed"
    if found.succeeded.count and found.failed.count:
        return []
    return [f"{where}: no attack {missing}, so there is nothing to compare ({DASH})."]
