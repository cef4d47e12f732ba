"""At which IoU with the clean attention are labels wrong, and when do they flip first?

An attack that chooses its target anew in each round brings many labels back. So the share of wrong
labels looks at the label and the attention of one and the same round; only the first flips, round
by round, look at what happened before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import isotonic_regression

from aad_tf.records.columns import AttentionRecords
from analysis.attention.comparing import drawn_estimate, mean_difference
from analysis.attention.intervals import Estimate, Groups

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
class WrongShare:
    """Images whose clean and adversarial areas share so many cells.

    Attributes:
        common: cells in both areas.
        iou: IoU of the areas then.
        count: pairs of image and round.
        share: of them whose label is wrong in that round; its interval draws whole images.
    """

    common: int
    iou: float
    count: int
    share: Estimate


def flip_rounds(run: AttentionRecords) -> np.ndarray:
    """The first round after which the label is wrong, int `[n]`; 0 if there is none.

    Images classified wrong when clean have none.
    """
    wrong = run.prediction[:, 1:] != run.label[:, np.newaxis]
    return np.where(run.correct & wrong.any(axis=1), wrong.argmax(axis=1) + 1, 0)


def by_round(
    run: AttentionRecords, method: str = "grad_cam", size: int | str = 10
) -> list[FlipRow]:
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
        later = run.correct & ((flips == 0) | (flips > k))
        groups = mean_difference(iou[now, k - 1], iou[later, k - 1], seed=10 * k)
        rows.append(FlipRow(k, int(now.sum() + later.sum()), int(now.sum()), groups))
    return rows


def attained(size: int) -> np.ndarray:
    """The values that the IoU of two areas of `size` cells can take, for 0 to `size` in common.

    Example:
        >>> attained(2).round(3).tolist()
        [0.0, 0.333, 1.0]
    """
    common = np.arange(size + 1)
    return common / (2 * size - common)


def wrong_shares(
    run: AttentionRecords,
    rounds: Sequence[int] | None = None,
    method: str = "grad_cam",
    size: int = 10,
) -> list[WrongShare]:
    """Share of labels that are wrong in a round, by the IoU with the clean area in that round.

    Args:
        run: the records.
        rounds: looked at, together; None for all.
        method: whose maps.
        size: cells of each area, as in the records.

    Returns:
        One entry for each value of the IoU that was seen, from low to high.
    """
    wrong, count = _counts(run, rounds, method, size)
    if count.sum() == 0:
        return []
    draws = _ratio(*(_resampled_sums(column) for column in (wrong, count)))
    found = []
    for place in np.flatnonzero(count.sum(axis=0)):
        pairs = int(count[:, place].sum())
        share = drawn_estimate(wrong[:, place].sum() / pairs, draws[:, place], pairs)
        found.append(WrongShare(int(place), float(attained(size)[place]), pairs, share))
    return found


def half_wrong(
    run: AttentionRecords,
    rounds: Sequence[int] | None = None,
    method: str = "grad_cam",
    size: int = 10,
) -> Estimate:
    """The IoU with the clean area at which half the labels are wrong in the same round.

    Shares are made to fall with the IoU (isotonic regression, weighted by count); where they cross
    one half, the IoU is interpolated between the values that it can take.

    Args:
        run: the records.
        rounds: looked at, together; None for all.
        method: whose maps.
        size: cells of each area, as in the records.

    Returns:
        No value if the shares do not cross one half; the interval draws whole images, and there
        is none if more than 2.5 % of the draws do not cross. The count is that of images.
    """
    wrong, count = _counts(run, rounds, method, size)
    places = attained(size)
    value = crossing(places, wrong.sum(axis=0), count.sum(axis=0))
    if len(count) == 0:
        return Estimate(None, None, 0)
    sums = (_resampled_sums(column) for column in (wrong, count))
    draws = np.array([crossing(places, w, c) for w, c in zip(*sums, strict=True)])
    return drawn_estimate(value, draws, len(count))


def crossing(places: np.ndarray, part: np.ndarray, count: np.ndarray, level: float = HALF) -> float:
    """Where a falling share crosses a level.

    Args:
        places: `[values]`, ascending.
        part: `[values]`, how many of `count` are meant.
        count: `[values]`, all there are; values with none are left out.
        level: share in (0, 1).

    Returns:
        A place between the first and the last, NaN if the share stays on one side.

    Example:
        >>> crossing(np.array([0.2, 0.6]), np.array([10, 0]), np.array([10, 10])).__round__(3)
        0.4
    """
    known = count > 0
    if not known.any():
        return math.nan
    places, weights = places[known], count[known].astype(np.float64)
    share = isotonic_regression(part[known] / weights, sample_weight=weights, increasing=False)
    if share[0] < level or share[-1] > level:
        return math.nan
    # Equal shares at the level give the middle of their stretch.
    at_level = np.flatnonzero(share == level)
    if len(at_level):
        return float((places[at_level[0]] + places[at_level[-1]]) / 2)
    above = int(np.flatnonzero(share > level)[-1])
    step = (share[above] - level) / (share[above] - share[above + 1])
    return float(places[above] + step * (places[above + 1] - places[above]))


def _counts(
    run: AttentionRecords, rounds: Sequence[int] | None, method: str, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of image and round by cells in common, `[right images, size + 1]`: wrong ones, all."""
    chosen = np.arange(run.rounds) if rounds is None else np.asarray(rounds, int) - 1
    iou = run.iou_clean(method, size)[run.correct][:, chosen]
    wrong = (run.prediction[:, 1:] != run.label[:, np.newaxis])[run.correct][:, chosen]
    # IoU = k / (2 size - k) for k cells in common; records round it.
    known = ~np.isnan(iou)
    common = np.rint(2 * size * np.nan_to_num(iou) / (1 + np.nan_to_num(iou))).astype(int)
    inside = (common[..., np.newaxis] == np.arange(size + 1)) & known[..., np.newaxis]
    return (inside & wrong[..., np.newaxis]).sum(axis=1), inside.sum(axis=1)


def _resampled_sums(counts: np.ndarray) -> np.ndarray:
    """Sums of rows drawn with replacement, `[resamples, columns]`; the same rows at each call."""
    generator = np.random.default_rng(0)
    images = len(counts)
    sums = []
    for _ in range(_RESAMPLES):
        weights = np.bincount(generator.integers(images, size=images), minlength=images)
        sums.append(weights @ counts)
    return np.array(sums)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
