"""Rules that choose the examples of figures from records."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Choice(NamedTuple):
    """Examples that a rule chose.

    Attributes:
        rows: int `[chosen]`, positions of the examples in the records, the nearest to the median
            first.
        group: number of images in the group that the examples represent.
        candidates: number of images of the group that could be chosen.
        median: median of the group's values; NaN for an empty group.
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
    """Chooses the images of a group whose values are nearest to its median, one per class.

    Args:
        group: bool `[n]`, the images that the examples are to represent.
        allowed: bool `[n]`, the images that may be chosen; the median is over the whole group.
        values: float `[n]`; images whose value is NaN do not count to the group.
        labels: int `[n]`, true classes.
        indices: int `[n]`; of equally near images, the one with the lower index is chosen.
        count: how many images are chosen at most; there are fewer if there are fewer classes.

    Returns:
        The choice, without rows if no image of the group may be chosen.

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
    """Tells which values lie between the first and third quartile of some of them.

    Args:
        values: float `[n]`.
        among: bool `[n]`, the values whose quartiles are taken.

    Returns:
        bool `[n]`, quartiles included; all False if `among` is all False.
    """
    if not among.any():
        return np.zeros(len(values), bool)
    low, high = np.quantile(values[among], [0.25, 0.75])
    return (values >= low) & (values <= high)
