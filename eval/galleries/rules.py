"""Rules by which examples are chosen from records, so that nobody picks them by eye."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Choice(NamedTuple):
    """Examples that a rule chose.

    Attributes:
        rows: int `[chosen]`, of the study, the most typical first.
        group: images in the group they stand for.
        candidates: images of it that could be chosen.
        median: of the group's values.
    """

    rows: np.ndarray
    group: int
    candidates: int
    median: float


def typical(
    group: np.ndarray,
    allowed: np.ndarray,
    values: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    count: int,
) -> Choice:
    """Chooses the images nearest to their group's median, one per class.

    Args:
        group: bool `[n]`, the images examples shall stand for.
        allowed: bool `[n]`; only these are chosen, the median is over the whole group.
        values: float `[n]`; images whose value is NaN are not in the group.
        labels: int `[n]`.
        indices: int `[n]`; of images as near, the one of the lower index is chosen.
        count: how many at most; fewer where there are fewer classes.

    Returns:
        The choice; without rows where the group or what is allowed of it is empty.

    Example:
        >>> values = np.array([0.1, 0.4, 0.5])
        >>> typical(values > 0, values > 0, values, np.arange(3), np.arange(3), 1).rows
        array([1])
    """
    group = group & ~np.isnan(values)
    candidates = np.flatnonzero(group & allowed)
    median = float(np.median(values[group])) if group.any() else float("nan")
    # Rounded, so that IoU as far above the median as others below tie.
    distance = np.round(np.abs(values[candidates] - median), 9)
    order = candidates[np.lexsort((indices[candidates], distance))]
    _, first = np.unique(labels[order], return_index=True)
    return Choice(order[np.sort(first)][:count], int(group.sum()), len(candidates), median)


def middle_half(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Which values lie between the quartiles of some of them, bool `[n]`.

    Args:
        values: float `[n]`.
        among: bool `[n]`, whose quartiles count.
    """
    if not among.any():
        return np.zeros(len(values), bool)
    low, high = np.quantile(values[among], [0.25, 0.75])
    return (values >= low) & (values <= high)
