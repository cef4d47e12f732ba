"""How scattered a map is: entropy, centre of mass, connected components, rank correlation."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, stats

# Cells touch by their sides within a map, and never across the stack of maps.
_SIDES = ndimage.generate_binary_structure(3, 1)
_SIDES[[0, 2]] = False


def entropy(maps: np.ndarray) -> np.ndarray:
    """Shannon entropy of maps taken as distributions over cells, as a fraction of the highest.

    Args:
        maps: `[maps, h, w]`, not negative.

    Returns:
        float64 `[maps]`: 0 for attention on one cell, 1 for the same on all; NaN for a map of
        zeros.

    Example:
        >>> entropy(np.array([[[1.0, 1.0], [0.0, 0.0]]]))  # 2 of 4 cells: log 2 / log 4
        array([0.5])
    """
    fractions = _fractions(maps).reshape(len(maps), -1)
    logs = np.log(fractions, out=np.zeros_like(fractions), where=fractions > 0)
    return -(fractions * logs).sum(-1) / np.log(fractions.shape[1])


def centroid(maps: np.ndarray) -> np.ndarray:
    """Centre of mass of maps as fractions of height and width.

    Args:
        maps: `[maps, h, w]`, not negative.

    Returns:
        float64 `[maps, 2]`, (y, x) in (0, 1), a cell's mass at its centre; NaN for a map of zeros.

    Example:
        >>> centroid(np.array([[[1.0, 1.0], [0.0, 0.0]]]))
        array([[0.25, 0.5 ]])
    """
    fractions = _fractions(maps)
    heights, widths = ((np.arange(size) + 0.5) / size for size in maps.shape[1:])
    return np.stack([fractions.sum(2) @ heights, fractions.sum(1) @ widths], axis=-1)


def components(areas: np.ndarray) -> np.ndarray:
    """Number of connected pieces of areas; cells are connected by their sides.

    Args:
        areas: bool `[maps, h, w]`.

    Returns:
        int `[maps]`.

    Example:
        >>> components(np.array([[[True, False], [False, True]]]))
        array([2])
    """
    labels, count = ndimage.label(areas, _SIDES)
    if not count:
        return np.zeros(len(areas), int)
    found, first = np.unique(labels.ravel(), return_index=True)
    pieces = first[found > 0] // labels[0].size
    return np.bincount(pieces, minlength=len(areas))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of maps over their cells; ties take mean ranks.

    Args:
        first: `[maps, h, w]`.
        second: the same shape.

    Returns:
        float64 `[maps]` in [-1, 1]; NaN where a map is constant.
    """
    one, two = (
        stats.rankdata(maps.reshape(len(maps), -1), axis=1).astype(np.float64)
        for maps in (first, second)
    )
    one -= one.mean(1, keepdims=True)
    two -= two.mean(1, keepdims=True)
    spread = np.sqrt((one**2).sum(1) * (two**2).sum(1))
    with np.errstate(invalid="ignore"):
        return np.where(spread > 0, (one * two).sum(1) / spread, np.nan)


def _fractions(maps: np.ndarray) -> np.ndarray:
    """Maps that sum to 1; NaN where a map is all zero."""
    maps = maps.astype(np.float64)
    sums = maps.sum((1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):
        return maps / sums
