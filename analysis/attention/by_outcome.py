"""Compares images whose attack succeeded with those whose attack failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.attention.study_table import StudyTable
from analysis.statistics import DASH, Estimate, Groups, compare, fraction

# The paper's percent and mean of I_succeed, then of I_fail.
Printed = Sequence[float]


@dataclass(frozen=True)
class OutcomeSplit:
    """A measure of images, divided by the outcome of the attack.

    Attributes:
        succeeded_fraction: fraction of images whose attack succeeded.
        failed_fraction: fraction of images whose attack failed; both add up to 1.
        means: means of the measure over images whose attack succeeded (first) and failed (second),
            and their difference.
    """

    succeeded_fraction: Estimate
    failed_fraction: Estimate
    means: Groups

    @property
    def count(self) -> int:
        """Number of images of both groups together."""
        return self.means.first.count + self.means.second.count

    def texts(self) -> tuple[str, ...]:
        """Percentage and mean of each group, then the difference of the means, as text."""
        first, second, difference = self.means.texts()
        return (
            *(self.succeeded_fraction.percent(), first),
            *(self.failed_fraction.percent(), second, difference),
        )

    def note_fractions(
        self, table: StudyTable, split: str, row: str, printed: Printed | None = None
    ) -> None:
        """Adds both percentages to the table's CSV.

        Args:
            table: the table.
            split: split of the data.
            row: what distinguishes the row, e.g. `10 cells`.
            printed: the paper's percentage and mean for succeeded, then for failed; or None.
        """
        first, second = (None, None) if printed is None else printed[::2]
        table.note(split, row, "percent", "succeeded", self.succeeded_fraction, first)
        table.note(split, row, "percent", "failed", self.failed_fraction, second)

    def note_means(
        self, table: StudyTable, split: str, row: str, quantity: str, printed: Printed | None = None
    ) -> None:
        """Adds the means and their difference to the table's CSV.

        Args:
            table: the table.
            split: split of the data.
            row: what distinguishes the row, e.g. `10 cells`.
            quantity: name of the measure.
            printed: the paper's two means, or None.
        """
        groups = zip(
            ("succeeded", "failed", "difference"),
            (self.means.first, self.means.second, self.means.difference),
            with_difference(printed),
            strict=True,
        )
        for group, estimate, value in groups:
            table.note(split, row, quantity, group, estimate, value)

    def remark(self, table: StudyTable, where: str) -> None:
        """Adds a remark to the table if a group has no image.

        Args:
            table: the table.
            where: how the remark begins: the row that it is about.
        """
        if self.count == 0:
            table.remarks.append(f"{where}: no image to compare.")
        elif not (self.means.first.count and self.means.second.count):
            missing = "failed" if self.means.first.count else "succeeded"
            text = f"no attack {missing}, so there is nothing to compare ({DASH})."
            table.remarks.append(f"{where}: {text}")


def by_outcome(values: np.ndarray, succeeded: np.ndarray, failed: np.ndarray) -> OutcomeSplit:
    """Divides a measure by the outcome of the attack.

    Args:
        values: the measure, `[images]`; it may be NaN only for images in neither group.
        succeeded: bool `[images]`, images whose attack succeeded.
        failed: bool `[images]`, images whose attack failed.

    Returns:
        Fractions and means of both groups.
    """
    count = int(succeeded.sum() + failed.sum())
    return OutcomeSplit(
        fraction(int(succeeded.sum()), count),
        fraction(int(failed.sum()), count),
        compare(values[succeeded], values[failed]),
    )


def with_difference(printed: Printed | None) -> tuple[float | None, ...]:
    """The paper's two means and their difference; three Nones if `printed` is None."""
    if printed is None:
        return (None, None, None)
    return (*printed, round(printed[0] - printed[1], 4))


def printed_texts(printed: Printed, digits: int = 3) -> tuple[str, ...]:
    """The paper's numbers as text, in the order of `OutcomeSplit.texts`.

    Args:
        printed: percentage and mean for succeeded, then for failed.
        digits: number of decimals of means.

    Returns:
        Percentage and mean of each group, then the difference of the means.
    """
    first, second, gap = printed_means(printed[1::2], digits)
    return f"{printed[0]:.1f}", first, f"{printed[2]:.1f}", second, gap


def printed_means(printed: Printed, digits: int = 3) -> tuple[str, str, str]:
    """The paper's two means and their difference, as text."""
    gap = printed[0] - printed[1]
    return f"{printed[0]:.{digits}f}", f"{printed[1]:.{digits}f}", f"{gap:+.{digits}f}"
