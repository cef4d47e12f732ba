"""Attention areas from the 8-bit maps of the records: pixels by rank, and their IoU with boxes."""

from __future__ import annotations

import numpy as np

from aad_tf.data.boxes import PADDING, object_masks
from aad_tf.ops import resize_maps
from aad_tf.records.columns import AttentionRecords

_LARGEST_EDGE = 64
_IMAGES_AT_ONCE = 512


def canvas(run: AttentionRecords) -> tuple[int, int]:
    """Height and width that maps and boxes are compared at: the picture's, or 64 at most."""
    height, width = run.study["image_shape"][:2]
    scale = min(1.0, _LARGEST_EDGE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def box_masks(run: AttentionRecords, places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Union of the boxes of the images at `places`, bool `[places, pixels]`."""
    boxes = run.boxes[places]
    padded = np.full((len(boxes), max(map(len, boxes), default=0), 4), float(PADDING))
    labels = np.full(padded.shape[:2], PADDING)
    for row, own in enumerate(boxes):
        padded[row, : len(own)] = np.reshape(own, (-1, 4))
        labels[row, : len(own)] = 0
    masks = object_masks(padded, labels, np.zeros(len(boxes), int), size)
    return masks.reshape(len(boxes), size[0] * size[1])


def pixel_ranks(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Place of each pixel of the resized maps, the highest first: uint16 `[maps, pixels]`."""
    parts = [np.zeros((0, size[0] * size[1]), np.uint16)]
    for start in range(0, len(maps), _IMAGES_AT_ONCE):
        part = maps[start : start + _IMAGES_AT_ONCE].astype(np.float32)
        parts.append(first_ranks(resize_maps(part, size).numpy().reshape(len(part), -1)))
    return np.concatenate(parts)


def first_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, the highest value first; ties go to the earlier cell."""
    order = np.argsort(-values.astype(np.float32), axis=-1, kind="stable")
    ranks = np.empty(values.shape, np.uint16)
    np.put_along_axis(ranks, order, np.arange(values.shape[-1], dtype=np.uint16), axis=-1)
    return ranks


def centre_ranks(size: tuple[int, int]) -> np.ndarray:
    """Place of each pixel by its distance from the centre, in fractions of the picture."""
    rows, columns = ((np.arange(edge) + 0.5) / edge - 0.5 for edge in size)
    return first_ranks(-(rows[:, np.newaxis] ** 2 + columns**2).reshape(-1))


def iou_of_ranks(
    ranks: np.ndarray, areas: np.ndarray, boxes: np.ndarray, partner: np.ndarray | None = None
) -> np.ndarray:
    """IoU of each box with the highest pixels of a map, as many as the box has.

    Args:
        ranks: `[boxes, pixels]` from `pixel_ranks`, or `[1, pixels]` for one map on every box; with
            `partner` `[maps, pixels]`.
        areas: int `[boxes]`, pixels of each box.
        boxes: bool `[boxes, pixels]`.
        partner: int `[boxes]`, whose map is laid on each box; None lays each on its own.

    Returns:
        float `[boxes]`; 0 for a box without pixels.
    """
    found = np.zeros(len(boxes))
    for start in range(0, len(boxes), _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        if partner is not None:
            chosen = ranks[partner[part]]
        else:
            chosen = ranks if len(ranks) == 1 else ranks[part]
        both = ((chosen < areas[part, np.newaxis]) & boxes[part]).sum(axis=1)
        found[part] = both / np.maximum(2 * areas[part] - both, 1)
    return found
