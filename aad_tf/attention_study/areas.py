"""Areas and their overlap for many maps at once, in NumPy: what `aad_tf.attention` does in graphs.

Maps are ranked by what Grad-CAM weighs before its ReLU, so that the many cells it sets to zero
keep an order: an area as large as the object can be cut out of any map.
"""

from __future__ import annotations

import functools

import numpy as np

from aad_tf.utils.ops import bilinear_weights


def ranked_pixels(signed: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps resized to the image, in an order that goes on where the map is zero.

    Args:
        signed: `[maps, h, w]` before the ReLU, of either sign.
        size: height and width in pixels.

    Returns:
        float32 `[maps, height, width]`: the resized map where it is positive; elsewhere, where
        every cell around is at most zero, the resized map before the ReLU, at most zero too.
    """
    maps = resized(np.maximum(signed, 0.0), size)
    if signed.min() >= 0:
        return maps
    return np.where(maps > 0, maps, np.minimum(resized(signed, size), 0.0))


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of maps `[maps, h, w]`, as `aad_tf.utils.ops.resize_maps`; float32."""
    rows = _weights(maps.shape[1], size[0])
    columns = _weights(maps.shape[2], size[1])
    return (rows @ maps.astype(np.float32)) @ columns.T


@functools.lru_cache(maxsize=16)
def _weights(source: int, target: int) -> np.ndarray:
    return bilinear_weights(source, target).numpy()


def highest(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Marks the highest entries of each row; ties go to the earlier entry.

    Args:
        values: `[rows, entries]`.
        counts: int `[rows]`, how many to mark in each row.

    Returns:
        bool `[rows, entries]`.
    """
    entries = values.shape[1]
    marked = np.zeros(values.shape, bool)
    for row, count in enumerate(counts):
        if count <= 0:
            continue
        if count >= entries:
            marked[row] = True
            continue
        threshold = np.partition(values[row], entries - count)[entries - count]
        above = values[row] > threshold
        equal = np.flatnonzero(values[row] == threshold)
        above[equal[: count - int(above.sum())]] = True
        marked[row] = above
    return marked


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each entry in its row, highest first: 0 for the highest; ties to the earlier.

    Args:
        values: `[..., entries]`.

    Returns:
        int of the same shape.
    """
    order = np.argsort(-values, axis=-1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(values.shape[-1]), axis=-1)
    return ranks


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of masks `[..., entries]` over the last axis, [AAD Eqs. 4, 5]; two empty masks give 1."""
    intersection = (first & second).sum(-1)
    union = (first | second).sum(-1)
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def cell_means(pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Means of pixels over the cells of a grid.

    Args:
        pixels: `[maps, height, width]`.
        grid: rows and columns of cells; sizes that do not divide give cells that differ by one.

    Returns:
        float64 `[maps, rows, columns]`.
    """
    height, width = pixels.shape[1:]
    rows, columns = (
        np.arange(cells) * size // cells for cells, size in zip(grid, (height, width), strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=1), columns, axis=2)
    heights, widths = np.diff([*rows, height]), np.diff([*columns, width])
    return sums / np.outer(heights, widths)
