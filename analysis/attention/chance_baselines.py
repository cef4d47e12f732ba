"""The IoU that attention areas would have by chance: random areas, other images' maps, a disc.

Areas are computed from the 8-bit copies of maps in the records: the highest pixels, as many as the
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
    """IoU with the box, measured and by chance, of clean images.

    Images that are misclassified or have no box are NaN.

    Attributes:
        chance: float `[n]` by the name of the chance level: `RANDOM`, random pixels; `OTHERS`, maps
            of other images; `DISC`, a disc in the centre.
        measured: float `[n]`, the IoU of the image's own attention area.
    """

    chance: dict[str, np.ndarray]
    measured: np.ndarray

    def excess(self, name: str = OTHERS) -> np.ndarray:
        """Measured IoU minus the chance level of the given name, float `[n]`."""
        return self.measured - self.chance[name]

    def by_success(self, run: AttentionRecords) -> dict[str, Groups]:
        """Compares images by the outcome of the first attack iteration.

        Args:
            run: the records that this was made from.

        Returns:
            Means over succeeded (first) and failed attacks (second), by name: the measured IoU, the
            chance levels, and the excess over other images' maps and over the disc.
        """
        columns = {"measured": self.measured, **self.chance}
        columns |= {f"measured - {name}": self.excess(name) for name in (OTHERS, DISC)}
        return {
            name: compare(column[run.succeeded(1)], column[run.failed(1)], skip_nan=True)
            for name, column in columns.items()
        }


class DriftChance(NamedTuple):
    """IoU of clean and attacked attention areas by chance.

    Attributes:
        rounds: for each attack iteration, the mean IoU of an image's clean area and another image's
            area after the iteration.
        random_cells: expected IoU of two random sets of as many cells.
    """

    rounds: tuple[Estimate, ...]
    random_cells: float


def box_chance(run: AttentionRecords, *, seed: int = 0) -> BoxChance:
    """Computes chance levels of the IoU of Grad-CAM's areas with the box, areas as large as boxes.

    The 8-bit copies of maps in the records are resized to the image, or to 64 pixels along its
    longer edge if it is larger. If a box has more pixels than a map has above 0, the missing pixels
    are the first ones in reading order; the measured IoU orders them by the map before its ReLU.

    Args:
        run: the records.
        seed: seed of the choice of other images.

    Returns:
        Measured and chance levels.
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
    """Computes chance levels of the IoU of clean and attacked areas of `TOP_CELLS` cells.

    The clean map of each correctly classified image is compared with the attacked maps of
    `PARTNERS` other images.

    Returns:
        Chance levels for every attack iteration.
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
    """Assigns other images to each image, at random.

    Args:
        count: number of images.
        partners: how many others each image gets, at most `count - 1`.
        seed: seed of the choice.

    Yields:
        int `[count]`, once per partner: another image for each image, none twice.
    """
    order = np.random.default_rng(seed).permutation(count)
    position = np.argsort(order)
    for shift in range(1, min(partners, count - 1) + 1):
        yield order[(position + shift) % count]


def canvas(run: AttentionRecords) -> tuple[int, int]:
    """Height and width at which maps and boxes are compared: the image's, scaled to at most 64."""
    height, width = run.study["image_shape"][:2]
    scale = min(1.0, _LARGEST_EDGE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def box_masks(run: AttentionRecords, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks of the pixels inside any box of an image.

    Args:
        run: the records.
        images: int `[images]`, positions in the records.
        size: height and width of the masks.

    Returns:
        bool `[images, height * width]`.
    """
    boxes = run.boxes[images]
    padded = np.full((len(boxes), max(map(len, boxes), default=0), 4), float(PADDING))
    labels = np.full(padded.shape[:2], PADDING)
    for row, corners in enumerate(boxes):
        padded[row, : len(corners)] = np.reshape(corners, (-1, 4))
        labels[row, : len(corners)] = 0
    masks = object_masks(padded, labels, np.zeros(len(boxes), int), size)
    return masks.reshape(len(boxes), size[0] * size[1])


def pixel_ranks(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Ranks of the pixels of resized maps; the highest pixel has rank 0.

    Args:
        maps: `[maps, h, w]`.
        size: height and width that maps are resized to.

    Returns:
        uint16 `[maps, height * width]`.
    """
    parts = [np.zeros((0, size[0] * size[1]), np.uint16)]
    for start in range(0, len(maps), _IMAGES_AT_ONCE):
        part = maps[start : start + _IMAGES_AT_ONCE].astype(np.float32)
        parts.append(first_ranks(resize_maps(part, size).numpy().reshape(len(part), -1)))
    return np.concatenate(parts)


def first_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, uint16; the highest value has rank 0, ties keep their order."""
    order = np.argsort(-values.astype(np.float32), axis=-1, kind="stable")
    ranks = np.empty(values.shape, np.uint16)
    np.put_along_axis(ranks, order, np.arange(values.shape[-1], dtype=np.uint16), axis=-1)
    return ranks


def centre_ranks(size: tuple[int, int]) -> np.ndarray:
    """Ranks of pixels by distance from the centre, the nearest 0: uint16 `[height * width]`."""
    rows, columns = ((np.arange(edge) + 0.5) / edge - 0.5 for edge in size)
    return first_ranks(-(rows[:, np.newaxis] ** 2 + columns**2).reshape(-1))


def iou_of_ranks(
    ranks: np.ndarray, areas: np.ndarray, boxes: np.ndarray, partner: np.ndarray | None = None
) -> np.ndarray:
    """IoU of each box with the highest pixels of a map, as many as the box has.

    Args:
        ranks: ranks of pixels, `[boxes, pixels]`, or `[1, pixels]` for the same map on every box;
            with `partner` `[maps, pixels]`.
        areas: int `[boxes]`, number of pixels of each box.
        boxes: bool `[boxes, pixels]`, masks of the boxes.
        partner: int `[boxes]`, the map that each box is compared with; None for the map of the same
            position.

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
    """Makes the table of IoU with the box, measured and by chance, by the attack's outcome."""
    rows = [(name, *groups.texts()) for name, groups in chance.by_success(run).items()]
    return Table(("IoU with the box", "succeeded", "failed", "difference"), rows)


def drift_table(run: AttentionRecords) -> Table:
    """Makes the table of IoU of clean and attacked areas, measured and by chance, by iteration.

    Args:
        run: the records.

    Returns:
        A row for each attack iteration: mean IoU of images on which the attack succeeded and of
        those on which it failed, and the IoU by chance, that of other images' areas and of random
        cells.
    """
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
