"""Are images with low IoU easier to attack, or only those of low confidence and small boxes?

Both confound [AAD Tables 1 and 2]: an image of low confidence is easier to attack whatever its
attention. Two views here hold them fixed, matched pairs and strata; `regression` is a third.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from aad_tf.records.columns import AttentionRecords
from analysis.attention.caption import TOP_CELLS
from analysis.findings import Finding
from analysis.statistics import (
    DASH,
    Groups,
    compare,
    paired_difference,
    standardized_difference,
)
from analysis.tables import Table

CALIPER = 0.2
# Below it the paper calls the IoU with the box low [AAD Table 2].
LOW_IOU = 0.5
RULE = (
    "each image of the smaller group is paired with one of the larger on standardised logit of "
    "the clean confidence and box area, the closest pair first (ties by place in the records), "
    f"each image at most once, none further than {CALIPER:g} standard deviations"
)
COVARIATES = ("logit of confidence", "box area")
STRATA = 5
_SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class MatchedComparison:
    """Two groups, e.g. successful and failed attacks, all of their images and matched.

    Attributes:
        raw: first and second group, all images.
        matched: the same over pairs.
        unmatched: images of the smaller group without a partner.
        balance: by covariate, standardised mean difference before and after matching.
    """

    raw: Groups
    matched: Groups
    unmatched: int
    balance: dict[str, tuple[float, ...]]


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds; probabilities are kept 1e-6 away from 0 and 1."""
    clipped = np.clip(probability, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    return np.log(clipped) - np.log1p(-clipped)


def covariates(run: AttentionRecords) -> np.ndarray:
    """Logit of the clean confidence and box area, `[n, 2]`, standardised over `comparable`."""
    values = np.stack([logit(run.confidence[:, 0]), run.box_area], axis=1)
    return standardized(values, values[comparable(run)])


def standardized(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Columns less their mean in `reference`, over their standard deviation there."""
    if len(reference) == 0:
        return values
    spread = reference.std(axis=0)
    return (values - reference.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def comparable(run: AttentionRecords) -> np.ndarray:
    """bool `[n]`: classified correctly and with a box."""
    return run.correct & run.has_box


def match_pairs(
    first: np.ndarray, second: np.ndarray, caliper: float = CALIPER
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs rows one to one without replacement, the closest pair first.

    Args:
        first: `[n, covariates]`, standardised.
        second: `[m, covariates]`.
        caliper: largest Euclidean distance of a pair.

    Returns:
        Indices into `first` and into `second`, `[pairs]` each, ascending in the first.

    Example:
        >>> match_pairs(np.array([[0.0], [1.0]]), np.array([[0.9], [0.1], [5.0]]))
        (array([0, 1]), array([1, 0]))
    """
    if len(first) == 0 or len(second) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    neighbours = NearestNeighbors(radius=caliper).fit(second)
    distances, indices = neighbours.radius_neighbors(first)
    one = np.repeat(np.arange(len(first)), [len(near) for near in indices])
    two, far = np.concatenate(indices).astype(np.int64), np.concatenate(distances)
    taken_one, taken_two = np.zeros(len(first), bool), np.zeros(len(second), bool)
    pairs = []
    order = np.lexsort((two, one, far))
    for a, b in zip(one[order].tolist(), two[order].tolist(), strict=True):
        if not (taken_one[a] or taken_two[b]):
            taken_one[a] = taken_two[b] = True
            pairs.append((a, b))
    found = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def compare_outcomes(run: AttentionRecords, values: np.ndarray) -> MatchedComparison:
    """Values of successful minus failed attacks of round 1, raw and matched by `RULE`.

    Args:
        run: the records.
        values: float `[n]`, e.g. `run.iou_box()[:, 0]`; NaN leaves an image out.
    """
    return _compare_groups(run, run.succeeded(1), run.failed(1), values)


def compare_low(run: AttentionRecords) -> MatchedComparison:
    """Fraction of attacks that succeed in round 1: at an IoU below `LOW_IOU` (first), and others.

    The IoU is that of the clean image's attention with the box.
    """
    low = run.iou_box()[:, 0] < LOW_IOU
    return _compare_groups(run, low, ~low, run.succeeded(1).astype(np.float64))


def _compare_groups(
    run: AttentionRecords, first: np.ndarray, second: np.ndarray, values: np.ndarray
) -> MatchedComparison:
    """Over images classified correctly with a box and a value; the groups hold other images."""
    usable = comparable(run) & ~np.isnan(values)
    ours, others = np.flatnonzero(first & usable), np.flatnonzero(second & usable)
    points = covariates(run)
    one, two = match_pairs(points[ours], points[others])
    pairs = ours[one], others[two]
    balance = {
        name: tuple(
            standardized_difference(points[a, axis], points[b, axis])
            for a, b in ((ours, others), pairs)
        )
        for axis, name in enumerate(COVARIATES)
    }
    return MatchedComparison(
        compare(values[ours], values[others]),
        paired_difference(values[pairs[0]], values[pairs[1]]),
        min(len(ours), len(others)) - len(one),
        balance,
    )


def balance_table(columns: dict[str, MatchedComparison]) -> Table:
    """What is compared, raw and matched, and how alike the groups are in what confounds.

    Args:
        columns: from `compare_outcomes`, by name of the measure.
    """
    rows = [
        (name, label, groups.counts, left, *groups.texts(), *gaps)
        for name, found in columns.items()
        for label, groups, left, gaps in _all_and_pairs(found)
    ]
    heads = ("measure", "images", "n", "left over", "succeeded", "failed", "difference")
    return Table((*heads, *_GAPS), rows, left=2)


def low_table(found: MatchedComparison) -> Table:
    """Success of the attack on images of low IoU with the box and on others, all and matched."""
    rows = []
    for label, groups, left, gaps in _all_and_pairs(found):
        rates = groups.first.percent(), groups.second.percent()
        points = groups.difference.percent(sign=True)
        rows.append((label, groups.counts, left, *rates, points, *gaps))
    heads = ("images", "n, low / others", "left over", "succeeded %, low", "succeeded %, others")
    return Table((*heads, "low - others, points", *_GAPS), rows)


_GAPS = tuple(f"gap in {name}" for name in COVARIATES)


def _all_and_pairs(
    found: MatchedComparison,
) -> list[tuple[str, Groups, str, tuple[str, ...]]]:
    """Label, groups, images left over and gaps of the covariates, of all images and of pairs."""
    before, after = zip(*(found.balance[name] for name in COVARIATES), strict=True)
    rows = (
        ("all", found.raw, DASH, before),
        ("pairs", found.matched, f"{found.unmatched:,}", after),
    )
    return [
        (label, groups, left, tuple(DASH if np.isnan(gap) else f"{gap:.2f}" for gap in gaps))
        for label, groups, left, gaps in rows
    ]


def strata_table(run: AttentionRecords, by: str = "confidence") -> Table:
    """IoU with the box by success of round 1, within quintiles of a covariate.

    Args:
        run: the records.
        by: `confidence` (clean) or `box area`. Strata are as equal in size as they can be.
    """
    covariate = run.confidence[:, 0] if by == "confidence" else run.box_area
    values, succeeded = run.iou_box()[:, 0], run.succeeded(1)
    usable = np.flatnonzero(comparable(run) & ~np.isnan(values))
    order = usable[np.argsort(covariate[usable], kind="stable")]
    rows = []
    for number, part in enumerate(np.array_split(order, STRATA)):
        if len(part):
            yes = succeeded[part]
            groups = compare(values[part[yes]], values[part[~yes]], seed=10 * number)
            ends = f"{covariate[part[0]]:.3f}–{covariate[part[-1]]:.3f}"
            rate = f"{100 * float(yes.mean()):.1f}"
            rows.append((ends, f"{len(part):,}", rate, *groups.texts()))
    return Table((by, "n", "succeeded %", "succeeded", "failed", "difference"), rows)


def networks_table(runs: Sequence[tuple[str, AttentionRecords]]) -> Table:
    """Whether raw and matched differences hold for other networks under the same attack.

    Args:
        runs: names and records.
    """
    rows = []
    for name, run in runs:
        correct, succeeded = run.correct, run.succeeded(1)
        rate = f"{100 * succeeded[correct].mean():.1f}" if correct.any() else DASH
        cells = []
        for values in (run.iou_box()[:, 0], run.iou_clean(size=TOP_CELLS)[:, 0]):
            found = compare_outcomes(run, values)
            for groups in (found.raw, found.matched):
                verdict = Finding("", groups.difference, -1).verdict
                cells.append(f"{groups.difference.text(sign=True)} {verdict}")
        rows.append((name, f"{100 * correct.mean():.1f}", rate, *cells))
    heads = ("network", "clean accuracy %", "succeeded %")
    measures = ("IoU with box, all", "pairs", "IoU with clean attention, all", "pairs")
    return Table((*heads, *measures), rows)
