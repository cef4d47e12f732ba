"""What is measured of the maps of a batch, as columns: arrays `[rounds, batch, ...]` by name."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from aad_tf.attention_study import areas, scatter

# Cells whose overlap says how far two methods agree: the second size of [AAD Table 3].
AGREEMENT_CELLS = 10


class Objects(NamedTuple):
    """Where the labelled objects of a batch are.

    Attributes:
        masks: bool `[batch, H, W]`; all False where there is no box of the label's class.
    """

    masks: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Which examples have a box, bool `[batch]`."""
        return np.asarray(self.masks.any((1, 2)))

    @property
    def area(self) -> np.ndarray:
        """Fraction of the image inside the boxes, `[batch]`; NaN where there is none."""
        return np.where(self.known, self.masks.mean((1, 2)), np.nan)


def gradient_columns(signed: np.ndarray, objects: Objects, cells: Sequence[int]) -> dict[str, Any]:
    """Columns of a method whose maps lie on the grid of the attention layer.

    Args:
        signed: `[rounds, batch, h, w]` before the ReLU; the clean images first.
        objects: of the batch.
        cells: numbers of cells to compare clean and adversarial areas by, [AAD Table 3].

    Returns:
        Columns by name; see `aad_tf.attention_study.records`.
    """
    columns = map_columns(signed)
    columns["iou_box"] = {"equal_area": _equal_area_iou(signed, objects)}
    ranks = areas.ranks(_flat(signed))
    columns["iou_clean"] = {
        str(count): areas.overlap(ranks[1:] < count, ranks[:1] < count) for count in cells
    }
    return columns


def lime_maps(explanations: Sequence[Any], grid: tuple[int, int]) -> np.ndarray:
    """LIME's weights averaged over the cells of a grid, float64 `[rounds, batch, h, w]`."""
    return np.stack([areas.cell_means(found.map(), grid) for found in explanations])


def lime_columns(
    explanations: Sequence[Any], signed: np.ndarray, objects: Objects, features: Sequence[int]
) -> dict[str, Any]:
    """Columns of LIME, whose areas are its best superpixels, [AAD Tables 7 and 8].

    Args:
        explanations: a `LimeExplanation` of the batch for each round.
        signed: their `lime_maps`, for the measures shared with other methods.
        objects: of the batch.
        features: numbers of superpixels to keep.

    Returns:
        Columns by name.
    """
    columns = map_columns(signed)
    columns["iou_box"] = {}
    inside = _flat(objects.masks)
    for count in features:
        kept = np.stack([_flat(found.top_features(count)) for found in explanations])
        columns["iou_box"][str(count)] = _where_known(areas.overlap(kept, inside), objects)
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
        overlaps[str(count)] = areas.overlap(kept[1:], kept[:1])
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
        "entropy": column(scatter.entropy(maps)),
        "centroid": column(scatter.centroid(maps)),
        "components": column(scatter.components(above)),
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
    rounds, batch = first.shape[:2]
    one, two = (maps.reshape(rounds * batch, *maps.shape[2:]) for maps in (first, second))
    kept = [areas.ranks(_flat(maps)) < AGREEMENT_CELLS for maps in (one, two)]
    return {
        "rank_correlation": scatter.rank_correlation(one, two).reshape(rounds, batch),
        "iou": areas.overlap(*kept).reshape(rounds, batch),
    }


def encoded(maps: np.ndarray) -> np.ndarray:
    """Maps as text: 8 bits per cell, row by row, in base64; the highest cell of each map is 255.

    Args:
        maps: `[maps, h, w]`, not negative.

    Returns:
        `[maps]` of str.

    Example:
        >>> decoded(encoded(np.array([[[0.0, 2.0]]]))[0], (1, 2))
        array([[  0, 255]], dtype=uint8)
    """
    peaks = maps.max((1, 2), keepdims=True)
    levels = np.round(maps / np.where(peaks > 0, peaks, 1.0) * 255).astype(np.uint8)
    texts = np.empty(len(maps), object)
    texts[:] = [base64.b64encode(level.tobytes()).decode() for level in levels]
    return texts


def decoded(text: str, grid: tuple[int, int]) -> np.ndarray:
    """A map from its text, uint8 `[h, w]`; see `encoded`."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(grid)


def _equal_area_iou(signed: np.ndarray, objects: Objects) -> np.ndarray:
    """IoU with the object, of an area as large as it, [AAD Eq. 4, Table 1]."""
    size = objects.masks.shape[1:]
    inside = _flat(objects.masks)
    counts = inside.sum(1)
    found = []
    for maps in signed:
        pixels = _flat(areas.ranked_pixels(maps, size))
        found.append(areas.overlap(areas.highest(pixels, counts), inside))
    return _where_known(np.stack(found), objects)


def _where_known(values: np.ndarray, objects: Objects) -> np.ndarray:
    return np.where(objects.known, values, np.nan)


def _flat(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(*maps.shape[:-2], -1)
