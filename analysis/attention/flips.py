"""At which IoU with the clean attention are images misclassified, and when are they first?

A label flips when the prediction becomes wrong. An attack that chooses its target again in each
round (iteration) makes many predictions correct again. So fractions of misclassified images use the
prediction and the attention of the same round; only the table of first flips uses earlier rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.isotonic import isotonic_regression

from aad_tf.records.columns import AttentionRecords
from analysis.attention.caption import TOP_CELLS
from analysis.statistics import (
    DASH,
    NOTHING,
    Estimate,
    Groups,
    compare,
    estimate,
    multiplicities,
    resample,
)
from analysis.tables import Table

HALF = 0.5


class FlipRow(NamedTuple):
    """One round, an iteration of the attack.

    Attributes:
        round_number: number of the round, from 1.
        at_risk: number of images that were correct in all rounds before.
        flipped: number of these that are misclassified after this round.
        groups: mean IoU of the clean area and this round's area: images misclassified for the first
            time (first) and images still correct (second).
    """

    round_number: int
    at_risk: int
    flipped: int
    groups: Groups


def flip_rounds(run: AttentionRecords) -> np.ndarray:
    """The first round after which each image is misclassified, int `[n]`; 0 if there is none.

    It is 0 for images that are misclassified when clean.
    """
    flipped = run.prediction[:, 1:] != run.label[:, np.newaxis]
    return np.where(run.correct & flipped.any(axis=1), flipped.argmax(axis=1) + 1, 0)


def by_round(run: AttentionRecords) -> list[FlipRow]:
    """Compares in each round images misclassified for the first time with those still correct.

    Args:
        run: the records.

    Returns:
        A row for each attack iteration, in order, with the IoU of clean and attacked areas of
        `TOP_CELLS` cells in both groups.
    """
    iou, flips = run.iou_clean(size=TOP_CELLS), flip_rounds(run)
    rows = []
    for k in range(1, run.rounds + 1):
        now = flips == k
        later = run.correct & ((flips == 0) | (flips > k))
        groups = compare(iou[now, k - 1], iou[later, k - 1], seed=10 * k, skip_nan=True)
        rows.append(FlipRow(k, int(now.sum() + later.sum()), int(now.sum()), groups))
    return rows


def attained(size: int = TOP_CELLS) -> np.ndarray:
    """The values that the IoU of two areas of `size` cells can take, for 0 to `size` in common.

    Returns:
        float `[size + 1]`, ascending.

    Example:
        >>> attained(2).round(3).tolist()
        [0.0, 0.333, 1.0]
    """
    common = np.arange(size + 1)
    return common / (2 * size - common)


def misclassified_fractions(
    run: AttentionRecords, rounds: Sequence[int] | None = None
) -> dict[int, Estimate]:
    """Fraction of misclassified images, by how many cells their area shares with the clean area.

    Args:
        run: the records.
        rounds: rounds that are counted together; None for all.

    Returns:
        Fractions by the number of shared cells, ascending, for each number that occurs. Counts are
        pairs of image and round; intervals are by resampling of images.
    """
    flipped, count = _counts(run, rounds)
    if count.sum() == 0:
        return {}
    part, whole = _resampled_sums(flipped), _resampled_sums(count)
    draws = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    found = {}
    for common in np.flatnonzero(count.sum(axis=0)).tolist():
        pairs = int(count[:, common].sum())
        found[common] = estimate(flipped[:, common].sum() / pairs, draws[:, common], pairs)
    return found


def half_misclassified(run: AttentionRecords, rounds: Sequence[int] | None = None) -> Estimate:
    """The IoU with the clean area at which half the images are misclassified in the same round.

    Fractions of misclassified images are fitted to decrease with the IoU (isotonic regression,
    weighted by count). Where they cross one half, the IoU is interpolated between the values that
    it can take.

    Args:
        run: the records.
        rounds: rounds that are counted together; None for all.

    Returns:
        The IoU with an interval by resampling of images. It has no value if the fractions do not
        cross one half, and no interval if more than 2.5 % of the resamples do not. Its count is the
        number of images.
    """
    flipped, count = _counts(run, rounds)
    if len(count) == 0:
        return NOTHING
    value = crossing(attained(), flipped.sum(axis=0), count.sum(axis=0))
    sums = (_resampled_sums(column) for column in (flipped, count))
    draws = np.array([crossing(attained(), w, c) for w, c in zip(*sums, strict=True)])
    return estimate(value, draws, len(count))


def crossing(ious: np.ndarray, part: np.ndarray, count: np.ndarray, level: float = HALF) -> float:
    """The IoU at which a decreasing fraction crosses a level.

    Args:
        ious: `[values]`, ascending.
        part: `[values]`, numerators of the fractions.
        count: `[values]`, denominators; values with 0 are left out.
        level: the level, in (0, 1).

    Returns:
        An IoU between the first and the last; NaN if the fraction does not cross the level.

    Example:
        >>> crossing(np.array([0.2, 0.6]), np.array([10, 0]), np.array([10, 10])).__round__(3)
        0.4
    """
    known = count > 0
    if not known.any():
        return math.nan
    ious, weights = ious[known], count[known].astype(np.float64)
    rate = isotonic_regression(part[known] / weights, sample_weight=weights, increasing=False)
    if rate[0] < level or rate[-1] > level:
        return math.nan
    # Equal fractions at the level give the middle of their stretch.
    at_level = np.flatnonzero(rate == level)
    if len(at_level):
        return float((ious[at_level[0]] + ious[at_level[-1]]) / 2)
    above = int(np.flatnonzero(rate > level)[-1])
    step = (rate[above] - level) / (rate[above] - rate[above + 1])
    return float(ious[above] + step * (ious[above + 1] - ious[above]))


def _counts(run: AttentionRecords, rounds: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of image and round by cells in common, `[images, 11]`: misclassified, all."""
    chosen = np.arange(run.rounds) if rounds is None else np.asarray(rounds, int) - 1
    iou = run.iou_clean(size=TOP_CELLS)[run.correct][:, chosen]
    flipped = (run.prediction[:, 1:] != run.label[:, np.newaxis])[run.correct][:, chosen]
    # IoU = k / (2 size - k) for k cells in common; records round it. NaN equals no number.
    common = np.rint(2 * TOP_CELLS * iou / (1 + iou))
    inside = common[..., np.newaxis] == np.arange(TOP_CELLS + 1)
    return (inside & flipped[..., np.newaxis]).sum(axis=1), inside.sum(axis=1)


def _resampled_sums(counts: np.ndarray) -> np.ndarray:
    """Sums of rows drawn with replacement, `[resamples, columns]`; the same rows at each call."""

    def sums(drawn: np.ndarray, axis: int) -> np.ndarray:
        return (multiplicities(drawn, len(counts)) @ counts).T

    return resample([np.arange(len(counts), dtype=np.float64)], sums).T


def flips_table(run: AttentionRecords) -> Table:
    """Makes the table of IoU in the round of the first misclassification, beside correct images.

    Args:
        run: the records.

    Returns:
        A row for each attack iteration: number of images, and mean IoU of clean and attacked areas
        of images that are misclassified for the first time and of images that are still correct.
    """
    rows = [
        (str(row.round_number), f"{row.at_risk:,}", f"{row.flipped:,}", *row.groups.texts())
        for row in by_round(run)
    ]
    heads = ("round", "still right before", "flip in it", "IoU, flip", "IoU, do not", "difference")
    return Table(heads, rows)


def misclassified_table(run: AttentionRecords) -> Table:
    """Makes the table of fractions misclassified by IoU with the clean area.

    Args:
        run: the records.

    Returns:
        A row for each number of cells that the clean and the attacked area share: percentages of
        misclassified images over all attack iterations, and in the first one.
    """
    first = misclassified_fractions(run, (1,))
    rows = []
    for common, found in misclassified_fractions(run).items():
        one = first.get(common)
        texts = (DASH, DASH) if one is None else (f"{one.count:,}", one.percent())
        iou = f"{attained()[common]:.3f}"
        rows.append((f"{common} of {TOP_CELLS}", iou, f"{found.count:,}", found.percent(), *texts))
    heads = ("cells in common", "IoU", "images × rounds", "wrong %, all rounds")
    return Table((*heads, "images, round 1", "wrong %, round 1"), rows)
