"""What IoU attention would have by chance: random areas, other images' maps, the centre."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention.comparing import mean_difference, mean_estimate
from analysis.attention.intervals import Estimate, Groups
from analysis.attention.matched import comparable
from analysis.attention.ranks import (
    box_masks,
    canvas,
    centre_ranks,
    first_ranks,
    iou_of_ranks,
    pixel_ranks,
)

# Other images whose map is laid on each box.
PARTNERS = 20
# Names of chance levels.
RANDOM, OTHERS, DISC = "random pixels", "other images", "centred disc"
# Mean +- 12 standard deviations and 50 more: what is left out sums to less than 1e-12.
_DEVIATIONS, _MARGIN = 12, 50


@dataclass(frozen=True)
class BoxNull:
    """IoU with the box, measured and by chance, of clean images classified right with a box.

    Attributes:
        chance: per image, float `[n]` (NaN for others), by name: `RANDOM`, `OTHERS`, `DISC`.
        measured: float `[n]`.
    """

    chance: dict[str, np.ndarray]
    measured: np.ndarray

    def excess(self, name: str = OTHERS) -> np.ndarray:
        """Measured minus chance, `[n]`."""
        return self.measured - self.chance[name]


@dataclass(frozen=True)
class GroupRow:
    """One line of the table of chance levels.

    Attributes:
        name: what was measured.
        groups: successful (first) against failed attacks (second).
    """

    name: str
    groups: Groups


@dataclass(frozen=True)
class DriftNull:
    """IoU of clean and adversarial maps by chance.

    Attributes:
        rounds: for each round, of an image's clean map and another image's map after the round.
        random_cells: expected, of two random sets of cells.
    """

    rounds: tuple[Estimate, ...]
    random_cells: float


def expected_random_iou(total: int, first: int, second: int) -> float:
    """Expected IoU of two random areas: the sum over overlaps k of P(k) k / (a + b - k).

    The overlap is hypergeometric: which `second` of the cells are drawn does not depend on the
    `first` that are.

    Args:
        total: cells there are.
        first: a, cells of the first area.
        second: b, cells of the second.

    Returns:
        A number in [0, 1]; 1 for two empty areas.

    Raises:
        ValueError: an area that does not fit.

    Example:
        >>> expected_random_iou(2, 1, 1)  # half the draws agree
        0.5
    """
    if not (0 <= first <= total and 0 <= second <= total):
        raise ValueError(f"Areas must be in [0, {total}] cells, got {first} and {second}.")
    if first + second == 0:
        return 1.0
    if min(first, second) == 0:
        return 0.0
    share = first / total
    centre = second * share
    width = _MARGIN + _DEVIATIONS * np.sqrt(centre * (1 - share))
    least, most = max(0, first + second - total), min(first, second)
    overlap = np.arange(max(least, int(centre - width)), min(most, int(centre + width) + 1) + 1)
    log_choose = _log_choose(total)
    log_probability = (
        log_choose(first, overlap)
        + log_choose(total - first, second - overlap)
        - log_choose(total, np.array([second]))
    )
    return float(np.sum(np.exp(log_probability) * overlap / (first + second - overlap)))


def box_null(run: AttentionRecords, method: str = "grad_cam", *, seed: int = 0) -> BoxNull:
    """Chance levels of the IoU with the box at equal area.

    Args:
        run: the records.
        method: whose maps; their copies in the records are resized to the picture (to 64 pixels
            along an edge if it is larger). The copies are after the ReLU and have 8 bits: where a
            box takes more pixels than are above 0 the rest are the first in reading order, while
            the measured IoU goes on by the map before its ReLU.
        seed: of the choice of other images.

    Returns:
        Chance and measured IoU of each image.
    """
    usable = np.flatnonzero(comparable(run))
    size = canvas(run)
    boxes = box_masks(run, usable, size)
    areas = boxes.sum(axis=1)
    usable, boxes, areas = (column[areas > 0] for column in (usable, boxes, areas))
    chance = {
        RANDOM: _by_distinct(areas, lambda a: expected_random_iou(boxes.shape[1], a, a)),
        OTHERS: np.zeros(len(usable)),
        DISC: iou_of_ranks(centre_ranks(size)[np.newaxis], areas, boxes),
    }
    ranks = pixel_ranks(run.maps(method)[usable, 0], size)
    shifts = list(_partners(len(usable), seed))
    for partner in shifts:
        chance[OTHERS] += iou_of_ranks(ranks, areas, boxes, partner) / len(shifts)
    if not shifts:
        chance[OTHERS][:] = np.nan
    measured = np.where(comparable(run), run.iou_box(method)[:, 0], np.nan)
    return BoxNull({name: _spread(v, usable, len(run)) for name, v in chance.items()}, measured)


def group_rows(run: AttentionRecords, null: BoxNull, round_number: int = 1) -> list[GroupRow]:
    """Measured IoU, chance levels and excess over other images' maps and the disc, by success.

    Args:
        run: the records.
        null: from `box_null` of the same records.
        round_number: round after which success is judged.
    """
    columns = {"measured": null.measured, **null.chance}
    columns |= {f"measured - {name}": null.excess(name) for name in (OTHERS, DISC)}
    failed, succeeded = run.failed(round_number), run.succeeded(round_number)
    return [
        GroupRow(name, mean_difference(column[succeeded], column[failed]))
        for name, column in columns.items()
    ]


def drift_null(
    run: AttentionRecords,
    cells: int = 10,
    method: str = "grad_cam",
    *,
    seed: int = 0,
) -> DriftNull:
    """Chance levels of the IoU of clean and adversarial maps, over images classified right.

    Args:
        run: the records.
        cells: highest cells kept of each map.
        method: whose maps.
        seed: of the choice of other images.
    """
    maps = run.maps(method)[run.correct]
    flat = maps.reshape(*maps.shape[:2], maps.shape[2] * maps.shape[3])
    kept = first_ranks(flat) < cells
    pairs = list(_partners(len(flat), seed))
    rounds = []
    for k in range(1, flat.shape[1]):
        values = np.full(len(flat), 0.0 if pairs else np.nan)
        for partner in pairs:
            both = (kept[:, 0] & kept[partner, k]).sum(axis=1)
            values += both / (kept[:, 0] | kept[partner, k]).sum(axis=1) / len(pairs)
        rounds.append(mean_estimate(values))
    total = flat.shape[2]
    count = min(cells, total)
    return DriftNull(tuple(rounds), expected_random_iou(total, count, count))


@functools.lru_cache
def _log_choose(total: int) -> Callable[[int, np.ndarray], np.ndarray]:
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    return lambda n, k: factorials[n] - factorials[k] - factorials[n - k]


def _partners(count: int, seed: int) -> Iterator[np.ndarray]:
    """For each image another one, never itself, and never the same twice."""
    order = np.random.default_rng(seed).permutation(count)
    place = np.argsort(order)
    for shift in range(1, min(PARTNERS, count - 1) + 1):
        yield order[(place + shift) % count]


def _by_distinct(values: np.ndarray, function: Callable[[int], float]) -> np.ndarray:
    distinct, places = np.unique(values, return_inverse=True)
    return np.array([function(int(value)) for value in distinct])[places.reshape(-1)]


def _spread(values: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    column = np.full(count, np.nan)
    column[places] = values
    return column
