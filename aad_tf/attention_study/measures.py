"""Measures of attention maps in NumPy: overlaps of areas, concentration, agreement of methods.

Cells are ranked by the Grad-CAM map before its ReLU. The many cells that the ReLU sets to zero then
have an order, so that an area of any size, such as that of the object, can be taken from a map.

The first functions measure single masks and maps. The last ones compute the *columns* of a batch:
arrays `[rounds, batch, ...]` by name, which become the entries of its records. Round 0 is the
original image, round n the image after n iterations of the attack.
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
    """Resizes maps to the image, with different values also where the ReLU makes them zero.

    Args:
        signed: `[maps, h, w]`, maps before the ReLU, of either sign.
        size: height and width in pixels.

    Returns:
        float32 `[maps, height, width]`: the ReLU of the map, resized bilinearly, where that is
        positive; elsewhere the map before the ReLU, resized bilinearly and at most 0.
    """
    maps = resized(np.maximum(signed, 0.0), size)
    if signed.min() >= 0:
        return maps
    return np.where(maps > 0, maps, np.minimum(resized(signed, size), 0.0))


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes maps bilinearly in NumPy, with the values of `tf.image.resize`.

    Args:
        maps: `[maps, h, w]`.
        size: height and width in pixels.

    Returns:
        float32 `[maps, height, width]`.
    """
    rows = _weights(maps.shape[1], size[0])
    columns = _weights(maps.shape[2], size[1])
    return (rows @ maps.astype(np.float32)) @ columns.T


@functools.lru_cache(maxsize=16)
def _weights(source: int, target: int) -> np.ndarray:
    return bilinear_weights(source, target).numpy()


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks the entries along the last axis: 0 for the highest; of equal entries the earlier first.

    Args:
        values: `[..., entries]`.

    Returns:
        int array of the same shape, in [0, entries).
    """
    order = np.argsort(-values, axis=-1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(values.shape[-1]), axis=-1)
    return ranks


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of masks over the last axis, [AAD Eqs. 4, 5].

    Args:
        first: bool `[..., entries]`.
        second: bool, of a shape that broadcasts with that of `first`.

    Returns:
        float64 `[...]` in [0, 1]; two empty masks give 1.
    """
    intersection = (first & second).sum(-1)
    union = (first | second).sum(-1)
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def cell_means(pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Averages pixels over the cells of a grid.

    Args:
        pixels: `[maps, height, width]`.
        grid: rows and columns of cells. If they do not divide height or width, the sides of cells
            differ by one pixel.

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
    """Shannon entropy of maps as distributions over cells, divided by the largest possible entropy.

    Args:
        maps: `[maps, h, w]`, not negative; each is divided by its sum.

    Returns:
        float64 `[maps]` in [0, 1]: 0 if one cell has all attention, 1 if all cells have the same;
        NaN for a map of zeros or of a single cell.

    Example:
        >>> entropy(np.array([[[1.0, 1.0], [0.0, 0.0]]]))  # 2 of 4 cells: log 2 / log 4
        array([0.5])
    """
    fractions = _fractions(maps).reshape(len(maps), -1)
    logs = np.log(fractions, out=np.zeros_like(fractions), where=fractions > 0)
    return -(fractions * logs).sum(-1) / np.log(fractions.shape[1])


def centroid(maps: np.ndarray) -> np.ndarray:
    """Centre of mass of maps, in fractions of height and width.

    Args:
        maps: `[maps, h, w]`, not negative.

    Returns:
        float64 `[maps, 2]`, (y, x) in (0, 1); the mass of a cell is at its centre. NaN for a map of
        zeros.

    Example:
        >>> centroid(np.array([[[1.0, 1.0], [0.0, 0.0]]]))
        array([[0.25, 0.5 ]])
    """
    fractions = _fractions(maps)
    heights, widths = ((np.arange(size) + 0.5) / size for size in maps.shape[1:])
    return np.stack([fractions.sum(2) @ heights, fractions.sum(1) @ widths], axis=-1)


def components(areas: np.ndarray) -> np.ndarray:
    """Number of connected components of areas; cells are connected if they share a side.

    Args:
        areas: bool `[maps, h, w]`.

    Returns:
        int `[maps]`; 0 for an empty area.

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
    """Fraction of each image that lies inside the boxes of its label's class.

    Args:
        masks: bool `[batch, H, W]`, True inside the boxes; all False for an image without a box.

    Returns:
        float64 `[batch]` in (0, 1]; NaN for an image without a box.
    """
    return np.where(masks.any((1, 2)), masks.mean((1, 2)), np.nan)


def gradient_columns(signed: np.ndarray, masks: np.ndarray, cells: Sequence[int]) -> dict[str, Any]:
    """Measures maps of Grad-CAM or Grad-CAM++: their concentration, and overlaps of their areas.

    Args:
        signed: `[rounds, batch, h, w]`, maps of Grad-CAM before the ReLU, or maps of Grad-CAM++,
            which are not negative; round 0 has the original images, round n the images after n
            iterations of the attack.
        masks: bool `[batch, H, W]`, True inside the boxes of the label's class.
        cells: numbers of highest cells that make an area, [AAD Table 3].

    Returns:
        A dictionary of
        `map` (as text), `peak` (highest value), `entropy` (in [0, 1]), `centroid` (centre of mass),
            `components` (number of connected parts above the mean) and `positive` (fraction of
            cells above 0): arrays `[rounds, batch]`, of `centroid` `[rounds, batch, 2]`;
        `iou_box`: `{"equal_area": values}`, the IoU in [0, 1] of the mask with the area of the
            highest pixels of the same size, `[rounds, batch]`; NaN for an image without a box;
        `iou_clean`: a dictionary from each number in `cells`, as text, to the IoU in [0, 1] of the
            area with that of the original image, `[rounds - 1, batch]`, from round 1 on.
    """
    columns = map_columns(signed)
    columns["iou_box"] = {"equal_area": _equal_area_iou(signed, masks)}
    order = ranks(_flat(signed))
    columns["iou_clean"] = {
        str(count): overlap(order[1:] < count, order[:1] < count) for count in cells
    }
    return columns


def lime_maps(explanations: Sequence[Any], grid: tuple[int, int]) -> np.ndarray:
    """Averages LIME's weights over the cells of a grid.

    Args:
        explanations: one `LimeExplanation` of the batch per round: of the original images, then of
            the images after each iteration of the attack.
        grid: rows and columns of cells.

    Returns:
        float64 `[rounds, batch, rows, columns]`, of either sign.
    """
    return np.stack([cell_means(found.map(), grid) for found in explanations])


def lime_columns(
    explanations: Sequence[Any], signed: np.ndarray, masks: np.ndarray, features: Sequence[int]
) -> dict[str, Any]:
    """Measures maps of LIME; areas are its superpixels of highest weight, [AAD Tables 7 and 8].

    Args:
        explanations: one `LimeExplanation` of the batch per round; round 0 has the original images,
            round n the images after n iterations of the attack.
        signed: `[rounds, batch, h, w]`, their weights averaged over a grid by `lime_maps`.
        masks: bool `[batch, H, W]`, True inside the boxes of the label's class.
        features: numbers of superpixels that make an area.

    Returns:
        A dictionary of
        `map` (as text), `peak` (highest value), `entropy` (in [0, 1]), `centroid` (centre of mass),
            `components` (number of connected parts above the mean) and `positive` (fraction of
            cells above 0) of the maps: `[rounds, batch]`, of `centroid` `[rounds, batch, 2]`;
        `iou_box`: a dictionary from each number in `features`, as text, to the IoU in [0, 1] of the
            area with the mask, `[rounds, batch]`; NaN for an image without a box;
        `iou_clean`: likewise the IoU with the area of the original image, `[rounds - 1, batch]`;
        `segments`: number of superpixels, `[rounds, batch]`;
        `score`: R^2 of the local models, `[rounds, batch]`.
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
    """IoU of LIME's superpixels of highest weight with those of the first explanation.

    Args:
        explanations: one `LimeExplanation` of the batch per round: of the original images, then of
            the images after each iteration of the attack.
        features: numbers of superpixels that make an area.

    Returns:
        A dictionary from each number in `features`, as text, to the IoU in [0, 1],
        `[rounds - 1, batch]`, of the second and later explanations.
    """
    overlaps = {}
    for count in features:
        kept = np.stack([_flat(found.top_features(count)) for found in explanations])
        overlaps[str(count)] = overlap(kept[1:], kept[:1])
    return overlaps


def map_columns(signed: np.ndarray) -> dict[str, Any]:
    """Measures what maps of every method have: the map itself, and how concentrated it is.

    Args:
        signed: `[rounds, batch, h, w]`, of either sign; negative values are set to 0 first.

    Returns:
        Arrays `[rounds, batch]` by name:
        `map`: text, the map with 8 bits per cell, row by row, in base64; its highest cell is 255.
        `peak`: highest value.
        `entropy`: Shannon entropy over the cells divided by the largest possible one, in [0, 1];
            NaN for a map of zeros.
        `centroid`: centre of mass, `[rounds, batch, 2]`, (y, x) in fractions of the image; NaN for
            a map of zeros.
        `components`: number of connected components of the cells above the mean of their map.
        `positive`: fraction of cells above 0.
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
    """Measures the agreement of the maps of two methods.

    Args:
        first: `[rounds, batch, h, w]`, maps of one method, of either sign, of the original images
            and of those after each iteration of the attack.
        second: maps of the other method, of the same shape.

    Returns:
        Arrays `[rounds, batch]` by name: `rank_correlation`, Spearman's over the cells, in [-1, 1],
        NaN where a map is constant; and `iou`, that of the 10 highest cells, in [0, 1].
    """
    correlations = [rank_correlation(one, two) for one, two in zip(first, second, strict=True)]
    kept = [ranks(_flat(maps)) < AGREEMENT_CELLS for maps in (first, second)]
    return {"rank_correlation": np.stack(correlations), "iou": overlap(*kept)}


def encoded(maps: np.ndarray) -> np.ndarray:
    """Writes maps as text: 8 bits per cell, row by row, in base64.

    Args:
        maps: `[maps, h, w]`, not negative; each is scaled so that its highest cell is 255.

    Returns:
        An object array `[maps]` of str.

    Example:
        >>> base64.b64decode(encoded(np.array([[[0.0, 2.0]]]))[0])
        b'\\x00\\xff'
    """
    peaks = maps.max((1, 2), keepdims=True)
    return as_text(maps / np.where(peaks > 0, peaks, 1.0) * 255)


def as_text(values: np.ndarray) -> np.ndarray:
    """Writes numbers as text: rounded to 8 bits, in base64.

    Args:
        values: `[rows, ...]`, in [0, 255].

    Returns:
        An object array `[rows]` of str, one text for each entry of the first axis.
    """
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
