"""What IoU attention would have by chance: random areas, other images' maps, the centre.

Areas are made again from the records' 8-bit maps: pixels in the order of the map, as many as the
box has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aad_tf.data.boxes import PADDING, object_masks
from aad_tf.records.columns import AttentionRecords
from aad_tf.utils.ops import resize_maps
from analysis.attention.caption import TOP_CELLS
from analysis.attention.matched import comparable
from analysis.statistics import Estimate, Groups, compare, expected_random_iou, mean
from analysis.tables import Table

# Other images whose map is laid on each box.
PARTNERS = 20
# Names of chance levels.
RANDOM, OTHERS, DISC = "random pixels", "other images", "centred disc"
_LARGEST_EDGE = 64
_IMAGES_AT_ONCE = 512


@dataclass(frozen=True)
class BoxChance:
    """IoU with the box, measured and by chance, of correct clean images with a box.

    Attributes:
        chance: per image, float `[n]` (NaN for others), by name: `RANDOM`, `OTHERS`, `DISC`.
        measured: float `[n]`.
    """

    chance: dict[str, np.ndarray]
    measured: np.ndarray

    def excess(self, name: str = OTHERS) -> np.ndarray:
        """Measured minus chance, `[n]`."""
        return self.measured - self.chance[name]

    def by_success(self, run: AttentionRecords) -> dict[str, Groups]:
        """Measured IoU, chance levels, and excess over other images' maps and the disc.

        Args:
            run: the records that this was made from.

        Returns:
            Successful (first) against failed attacks of round 1, by name of the row.
        """
        columns = {"measured": self.measured, **self.chance}
        columns |= {f"measured - {name}": self.excess(name) for name in (OTHERS, DISC)}
        return {
            name: compare(column[run.succeeded(1)], column[run.failed(1)], skip_nan=True)
            for name, column in columns.items()
        }


class DriftChance(NamedTuple):
    """IoU of clean and adversarial maps by chance.

    Attributes:
        rounds: for each round, of an image's clean map and another image's map after the round.
        random_cells: expected, of two random sets of cells.
    """

    rounds: tuple[Estimate, ...]
    random_cells: float


def box_chance(run: AttentionRecords, *, seed: int = 0) -> BoxChance:
    """Chance levels of the IoU of Grad-CAM's areas with the box, at equal area.

    The copies of the maps in the records are resized to the image (to 64 pixels along an edge if
    it is larger). They are after the ReLU and have 8 bits: where a box takes more pixels than are
    above 0 the rest are the first in reading order, while the measured IoU goes on by the map
    before its ReLU.

    Args:
        run: the records.
        seed: of the choice of other images.
    """
    usable, size = np.flatnonzero(comparable(run)), canvas(run)
    boxes = box_masks(run, usable, size)
    areas = boxes.sum(axis=1)
    usable, boxes, areas = (column[areas > 0] for column in (usable, boxes, areas))
    distinct, of_distinct = np.unique(areas, return_inverse=True)
    expected = [expected_random_iou(boxes.shape[1], int(area), int(area)) for area in distinct]
    ranks = pixel_ranks(run.maps()[usable, 0], size)
    shifts = list(other_images(len(usable), PARTNERS, seed))
    others = np.full(len(usable), 0.0 if shifts else np.nan)
    for partner in shifts:
        others += iou_of_ranks(ranks, areas, boxes, partner) / len(shifts)
    chance = {
        RANDOM: np.array(expected)[of_distinct.reshape(-1)],
        OTHERS: others,
        DISC: iou_of_ranks(centre_ranks(size)[np.newaxis], areas, boxes),
    }
    columns = {}
    for name, values in chance.items():
        columns[name] = np.full(len(run), np.nan)
        columns[name][usable] = values
    return BoxChance(columns, np.where(comparable(run), run.iou_box()[:, 0], np.nan))


def drift_chance(run: AttentionRecords) -> DriftChance:
    """Chance levels of the IoU of clean and adversarial maps at `TOP_CELLS` cells, correct images.

    Each image's clean map is compared with the maps of `PARTNERS` other images.
    """
    maps, total = run.maps()[run.correct], math.prod(run.study["grid"])
    flat = maps.reshape(len(maps), run.rounds + 1, total)
    kept = first_ranks(flat) < TOP_CELLS
    pairs = list(other_images(len(flat), PARTNERS, seed=0))
    rounds = []
    for k in range(1, run.rounds + 1):
        values = np.full(len(flat), 0.0 if pairs else np.nan)
        for partner in pairs:
            both = (kept[:, 0] & kept[partner, k]).sum(axis=1)
            values += both / (kept[:, 0] | kept[partner, k]).sum(axis=1) / len(pairs)
        rounds.append(mean(values, skip_nan=True))
    count = min(TOP_CELLS, total)
    return DriftChance(tuple(rounds), expected_random_iou(total, count, count))


def other_images(count: int, partners: int, seed: int) -> Iterator[np.ndarray]:
    """For each image another one, `[count]` each time: never itself, never the same twice."""
    order = np.random.default_rng(seed).permutation(count)
    position = np.argsort(order)
    for shift in range(1, min(partners, count - 1) + 1):
        yield order[(position + shift) % count]


def canvas(run: AttentionRecords) -> tuple[int, int]:
    """Height and width that maps and boxes are compared at: the image's, or 64 at most."""
    height, width = run.study["image_shape"][:2]
    scale = min(1.0, _LARGEST_EDGE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def box_masks(run: AttentionRecords, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Union of the boxes of the images at these indices, bool `[images, pixels]`."""
    boxes = run.boxes[images]
    padded = np.full((len(boxes), max(map(len, boxes), default=0), 4), float(PADDING))
    labels = np.full(padded.shape[:2], PADDING)
    for row, corners in enumerate(boxes):
        padded[row, : len(corners)] = np.reshape(corners, (-1, 4))
        labels[row, : len(corners)] = 0
    masks = object_masks(padded, labels, np.zeros(len(boxes), int), size)
    return masks.reshape(len(boxes), size[0] * size[1])


def pixel_ranks(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Rank of each pixel of the resized maps, 0 the highest: uint16 `[maps, pixels]`."""
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
    """Rank of each pixel by its distance from the centre, in fractions of the image."""
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
        partner: int `[boxes]`, whose map is laid on each box; None: the map of the same row.

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


def boxes_table(run: AttentionRecords, chance: BoxChance) -> Table:
    """IoU with the box, measured and by chance, by success of round 1."""
    rows = [(name, *groups.texts()) for name, groups in chance.by_success(run).items()]
    return Table(("IoU with the box", "succeeded", "failed", "difference"), rows)


def drift_table(run: AttentionRecords) -> Table:
    """IoU of clean and adversarial maps over rounds, and by chance."""
    chance, iou = drift_chance(run), run.iou_clean(size=TOP_CELLS)
    rows = []
    for k in range(1, run.rounds + 1):
        succeeded, failed = run.succeeded(k), run.failed(k)
        groups = compare(iou[succeeded, k - 1], iou[failed, k - 1], skip_nan=True)
        counts = f"{int(succeeded.sum()):,} / {int(failed.sum()):,}"
        others = chance.rounds[k - 1].text()
        rows.append((str(k), counts, *groups.texts(), others, f"{chance.random_cells:.3f}"))
    heads = ("round", "succeeded / failed", "succeeded", "failed", "difference")
    return Table((*heads, "other images", "random cells"), rows)
