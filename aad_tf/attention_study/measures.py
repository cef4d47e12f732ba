"""What is measured of attention maps, in NumPy: areas, overlaps, scatter, agreement of methods.

Maps are ranked by what Grad-CAM weighs before its ReLU, so that the many cells it sets to zero
keep an order: an area as large as the object can be cut out of any map. The functions on masks
and maps come first; those that give the columns of the records of a batch, arrays
`[rounds, batch, ...]` by name, come last.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from aad_tf.metrics import rank_correlation
from aad_tf.utils.ops import bilinear_weights

# Cells whose overlap says how far two methods agree: the second size of [AAD Table 3].
AGREEMENT_CELLS = 10
# Cells touch by their sides within a map, and never across the stack of maps.
_SIDES = ndimage.generate_binary_structure(3, 1)
_SIDES[[0, 2]] = False


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


def _fractions(maps: np.ndarray) -> np.ndarray:
    """Maps that sum to 1; NaN where a map is all zero."""
    maps = maps.astype(np.float64)
    sums = maps.sum((1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):
        return maps / sums


def object_area(masks: np.ndarray) -> np.ndarray:
    """Fraction of each image inside the boxes of its class, `[batch]`; NaN where there is none.

    Args:
        masks: bool `[batch, H, W]`, where the labelled objects are; all False without a box.
    """
    return np.where(masks.any((1, 2)), masks.mean((1, 2)), np.nan)


def gradient_columns(signed: np.ndarray, masks: np.ndarray, cells: Sequence[int]) -> dict[str, Any]:
    """Columns of a method whose maps lie on the grid of the attention layer.

    Args:
        signed: `[rounds, batch, h, w]` before the ReLU; the clean images first.
        masks: bool `[batch, H, W]`, where the labelled objects are.
        cells: numbers of cells to compare clean and adversarial areas by, [AAD Table 3].

    Returns:
        What `map_columns` gives, and in [0, 1] `iou_box`, under `"equal_area"` the IoU with the
        object of an area of its size, `[rounds, batch]`, NaN without an object; and `iou_clean`, by
        number of cells the IoU with the clean image's area, `[rounds - 1, batch]`.
    """
    columns = map_columns(signed)
    columns["iou_box"] = {"equal_area": _equal_area_iou(signed, masks)}
    order = ranks(_flat(signed))
    columns["iou_clean"] = {
        str(count): overlap(order[1:] < count, order[:1] < count) for count in cells
    }
    return columns


def lime_maps(explanations: Sequence[Any], grid: tuple[int, int]) -> np.ndarray:
    """LIME's weights averaged over the cells of a grid, float64 `[rounds, batch, h, w]`."""
    return np.stack([cell_means(found.map(), grid) for found in explanations])


def lime_columns(
    explanations: Sequence[Any], signed: np.ndarray, masks: np.ndarray, features: Sequence[int]
) -> dict[str, Any]:
    """Columns of LIME, whose areas are its best superpixels, [AAD Tables 7 and 8].

    Args:
        explanations: a `LimeExplanation` of the batch for each round.
        signed: their `lime_maps`, for the measures shared with other methods.
        masks: bool `[batch, H, W]`, where the labelled objects are.
        features: numbers of superpixels to keep.

    Returns:
        Columns by name.
    """
    columns = map_columns(signed)
    columns["iou_box"] = {}
    inside = _flat(masks)
    for count in features:
        kept = np.stack([_flat(found.top_features(count)) for found in explanations])
        columns["iou_box"][str(count)] = _where_known(overlap(kept, inside), masks)
    columns["iou_clean"] = lime_overlaps(explanations, features)
    columns["segments"] = np.stack([found.segment_counts for found in explanations])
    columns["score"] = np.stack([found.scores for found in explanations])
    return columns


def lime_overlaps(explanations: Sequence[Any], features: Sequence[int]) -> dict[str, np.ndarray]:
    """IoU of LIME's best superpixels with those of the first explanation.

    Args:
        explanations: a `LimeExplanation` of the batch for each round.
        features: numbers of superpixels to keep.

    Returns:
        `[rounds - 1, batch]` by number of superpixels.
    """
    overlaps = {}
    for count in features:
        kept = np.stack([_flat(found.top_features(count)) for found in explanations])
        overlaps[str(count)] = overlap(kept[1:], kept[:1])
    return overlaps


def map_columns(signed: np.ndarray) -> dict[str, Any]:
    """Columns every method has: the map itself, and how scattered it is.

    Args:
        signed: `[rounds, batch, h, w]`, of either sign; what is negative is cut off.

    Returns:
        `map`, `peak`, `entropy`, `centroid`, `components` and `positive`.
    """
    rounds, batch = signed.shape[:2]
    maps = np.maximum(signed, 0.0).reshape(rounds * batch, *signed.shape[2:])
    above = maps > maps.mean((1, 2), keepdims=True)

    def column(values: np.ndarray) -> np.ndarray:
        return values.reshape(rounds, batch, *values.shape[1:])

    return {
        "map": column(encoded(maps)),
        "peak": column(maps.max((1, 2))),
        "entropy": column(entropy(maps)),
        "centroid": column(centroid(maps)),
        "components": column(components(above)),
        "positive": column((maps > 0).mean((1, 2))),
    }


def agreement_columns(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """How far two methods agree on where a network looks.

    Args:
        first: `[rounds, batch, h, w]` signed maps.
        second: the same shape.

    Returns:
        `rank_correlation` over the cells, and `iou` of the 10 highest cells, `[rounds, batch]`.
    """
    correlations = [rank_correlation(one, two) for one, two in zip(first, second, strict=True)]
    kept = [ranks(_flat(maps)) < AGREEMENT_CELLS for maps in (first, second)]
    return {"rank_correlation": np.stack(correlations), "iou": overlap(*kept)}


def encoded(maps: np.ndarray) -> np.ndarray:
    """Maps as text: 8 bits per cell, row by row, in base64; the highest cell of each map is 255.

    Args:
        maps: `[maps, h, w]`, not negative.

    Returns:
        `[maps]` of str.

    Example:
        >>> base64.b64decode(encoded(np.array([[[0.0, 2.0]]]))[0])
        b'\x00\xff'
    """
    peaks = maps.max((1, 2), keepdims=True)
    return as_text(maps / np.where(peaks > 0, peaks, 1.0) * 255)


def as_text(values: np.ndarray) -> np.ndarray:
    """Numbers `[rows, ...]` in [0, 255] as one text a row: rounded to 8 bits, in base64."""
    levels = np.round(values).astype(np.uint8)
    texts = np.empty(len(levels), object)
    texts[:] = [base64.b64encode(level.tobytes()).decode() for level in levels]
    return texts


def _equal_area_iou(signed: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """IoU with the object, of an area as large as it, [AAD Eq. 4, Table 1]."""
    size = masks.shape[1:]
    inside = _flat(masks)
    counts = inside.sum(1, keepdims=True)
    found = [overlap(ranks(_flat(ranked_pixels(maps, size))) < counts, inside) for maps in signed]
    return _where_known(np.stack(found), masks)


def _where_known(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.where(masks.any((1, 2)), values, np.nan)


def _flat(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(*maps.shape[:-2], -1)
