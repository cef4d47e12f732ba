"""At which IoU with the clean attention do labels flip along an attack?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import isotonic_regression

from analysis.attention.comparing import drawn_estimate, mean_difference
from analysis.attention.intervals import Estimate, Groups
from analysis.attention.run import AttentionRun

BINS = 10
HALF = 0.5
_RESAMPLES = 1000


@dataclass(frozen=True)
class FlipRow:
    """One round of an attack.

    Attributes:
        round_number: the round.
        at_risk: images whose label had not flipped before it.
        flipped: those whose label flips in it for the first time.
        groups: IoU of the clean area and this round's: flipped in this round for the
            first time (first) against not flipped yet (second).
    """

    round_number: int
    at_risk: int
    flipped: int
    groups: Groups


@dataclass(frozen=True)
class FlippedShare:
    """Images after any round whose IoU with the clean area lies in a bin.

    Attributes:
        low: lower edge, included.
        high: upper edge, left out (included in the last bin).
        count: pairs of image and round.
        share: of them whose label has flipped by then; its interval draws whole images.
    """

    low: float
    high: float
    count: int
    share: Estimate


def flip_rounds(run: AttentionRun) -> np.ndarray:
    """The first round after which the label is wrong, int `[n]`; 0 if there is none.

    Images classified wrong when clean have none.
    """
    wrong = run.prediction[:, 1:] != run.label[:, np.newaxis]
    return np.where(run.right & wrong.any(axis=1), wrong.argmax(axis=1) + 1, 0)


def by_round(run: AttentionRun, method: str = "grad_cam", size: int | str = 10) -> list[FlipRow]:
    """IoU at the round of the first flip, against images that have not flipped yet.

    Args:
        run: the records.
        method: whose maps.
        size: of the areas, as in the records.
    """
    iou, flips = run.iou_clean(method, size), flip_rounds(run)
    rows = []
    for k in range(1, run.rounds + 1):
        now = flips == k
        later = run.right & ((flips == 0) | (flips > k))
        groups = mean_difference(iou[now, k - 1], iou[later, k - 1], seed=10 * k)
        rows.append(FlipRow(k, int(now.sum() + later.sum()), int(now.sum()), groups))
    return rows


def flipped_shares(
    run: AttentionRun, method: str = "grad_cam", size: int | str = 10
) -> list[FlippedShare]:
    """Share of labels flipped by the IoU with the clean area, all rounds together.

    Args:
        run: the records.
        method: whose maps.
        size: of the areas, as in the records.

    Returns:
        The bins that hold anything, from low to high IoU.
    """
    flipped, count = _counts(run, method, size)
    if count.sum() == 0:
        return []
    draws = _ratio(*(_resampled_sums(column) for column in (flipped, count)))
    edges = np.linspace(0, 1, BINS + 1)
    found = []
    for place in np.flatnonzero(count.sum(axis=0)):
        pairs = int(count[:, place].sum())
        share = drawn_estimate(flipped[:, place].sum() / pairs, draws[:, place], pairs)
        found.append(FlippedShare(edges[place], edges[place + 1], pairs, share))
    return found


def half_flipped(run: AttentionRun, method: str = "grad_cam", size: int | str = 10) -> Estimate:
    """The IoU with the clean area at which half the labels have flipped.

    Shares by bin are made to fall with the IoU (isotonic regression, weighted by count); where
    they cross one half, the IoU is interpolated between the middles of the bins.

    Args:
        run: the records.
        method: whose maps.
        size: of the areas, as in the records.

    Returns:
        No value if the shares do not cross one half; the interval draws whole images, and there
        is none if more than 2.5 % of the draws do not cross. The count is that of images.
    """
    flipped, count = _counts(run, method, size)
    value = crossing(flipped.sum(axis=0), count.sum(axis=0))
    if len(count) == 0:
        return Estimate(None, None, 0)
    sums = (_resampled_sums(column) for column in (flipped, count))
    draws = np.array([crossing(f, c) for f, c in zip(*sums, strict=True)])
    return drawn_estimate(value, draws, len(count))


def crossing(flipped: np.ndarray, count: np.ndarray, level: float = HALF) -> float:
    """Where a falling share crosses a level.

    Args:
        flipped: `[bins]`, flips in bins of equal width over [0, 1].
        count: `[bins]`, all there are.
        level: share in (0, 1).

    Returns:
        The place in [0, 1], NaN if the share stays on one side.

    Example:
        >>> crossing(np.array([10, 0]), np.array([10, 10]))  # middles of the bins: 0.25, 0.75
        0.5
    """
    known = count > 0
    if not known.any():
        return math.nan
    middles = ((np.arange(len(count)) + 0.5) / len(count))[known]
    weights = count[known].astype(np.float64)
    share = isotonic_regression(flipped[known] / weights, sample_weight=weights, increasing=False)
    if share[0] < level or share[-1] > level:
        return math.nan
    # np.interp wants rising places; equal shares at the level give the middle of their stretch.
    at_level = np.flatnonzero(share == level)
    if len(at_level):
        return float((middles[at_level[0]] + middles[at_level[-1]]) / 2)
    above = int(np.flatnonzero(share > level)[-1])
    step = (share[above] - level) / (share[above] - share[above + 1])
    return float(middles[above] + step * (middles[above + 1] - middles[above]))


def _counts(run: AttentionRun, method: str, size: int | str) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of image and round by bin, `[right images, bins]`: those flipped by then, and all."""
    iou = run.iou_clean(method, size)[run.right]
    flips = flip_rounds(run)[run.right, np.newaxis]
    flipped = (flips > 0) & (flips <= np.arange(1, run.rounds + 1))
    # IoU are fractions such as 3/10: rounding keeps them out of the bin below.
    place = np.minimum(np.floor(np.round(np.nan_to_num(iou) * BINS, 9)).astype(int), BINS - 1)
    inside = (place[..., np.newaxis] == np.arange(BINS)) & ~np.isnan(iou)[..., np.newaxis]
    return (inside & flipped[..., np.newaxis]).sum(axis=1), inside.sum(axis=1)


def _resampled_sums(counts: np.ndarray) -> np.ndarray:
    """Sums of rows drawn with replacement, `[resamples, bins]`; the same rows at each call."""
    generator = np.random.default_rng(0)
    images = len(counts)
    sums = []
    for _ in range(_RESAMPLES):
        weights = np.bincount(generator.integers(images, size=images), minlength=images)
        sums.append(weights @ counts)
    return np.array(sums)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
