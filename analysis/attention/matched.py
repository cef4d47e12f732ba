"""Are images with low IoU easier to attack, or only those of low confidence and small boxes?

Confidence and box size confound [AAD Tables 1 and 2]: an image of low confidence is easier to
attack whatever its attention. Matched pairs and strata, here, and `regression` hold them fixed.
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
    """A comparison of two groups, e.g. succeeded and failed attacks, over all and matched images.

    Attributes:
        raw: means of both groups over all of their images.
        matched: means over pairs of images that are alike in confidence and box area.
        unmatched: number of images of the smaller group without a partner.
        balance: by covariate, the standardised mean difference of the groups before and after
            matching.
    """

    raw: Groups
    matched: Groups
    unmatched: int
    balance: dict[str, tuple[float, ...]]


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds of probabilities, which are first clipped to [1e-6, 1 - 1e-6]; same shape."""
    clipped = np.clip(probability, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    return np.log(clipped) - np.log1p(-clipped)


def covariates(run: AttentionRecords) -> np.ndarray:
    """Logit of the clean confidence and box area of each image, standardised.

    Args:
        run: the records.

    Returns:
        float `[n, 2]`, with mean 0 and deviation 1 over correct images with a box.
    """
    values = np.stack([logit(run.confidence[:, 0]), run.box_area], axis=1)
    return standardized(values, values[comparable(run)])


def standardized(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Standardises columns by the mean and standard deviation of a reference sample.

    Args:
        values: `[n, columns]`.
        reference: `[m, columns]`; an empty one leaves values as they are.

    Returns:
        `[n, columns]`.
    """
    if len(reference) == 0:
        return values
    spread = reference.std(axis=0)
    return (values - reference.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def comparable(run: AttentionRecords) -> np.ndarray:
    """Tells which images are classified correctly when clean and have a box, bool `[n]`."""
    return run.correct & run.has_box


def match_pairs(
    first: np.ndarray, second: np.ndarray, caliper: float = CALIPER
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs the images of two groups one to one, the closest pair first.

    Args:
        first: `[n, covariates]`, standardised.
        second: `[m, covariates]`, standardised alike.
        caliper: largest Euclidean distance of a pair.

    Returns:
        Positions in `first` and in `second`, int `[pairs]` each, ascending in `first`.

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
    """Compares a measure between succeeded (first) and failed attacks, over all and matched images.

    The outcome is that after the first attack iteration; images are matched by `RULE`.

    Args:
        run: the records.
        values: the measure, float `[n]`, e.g. `run.iou_box()[:, 0]`; images with NaN are left out.

    Returns:
        The comparison.
    """
    return _compare_groups(run, run.succeeded(1), run.failed(1), values)


def compare_low(run: AttentionRecords) -> MatchedComparison:
    """Compares how often attacks succeed on images of low IoU (first) and on others.

    The IoU is that of the clean image's attention area with the box; it is low below `LOW_IOU`.
    Success is that of the first attack iteration.

    Args:
        run: the records.

    Returns:
        The comparison, over all and matched images.
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
    """Makes the table of comparisons over all and matched images, with the balance of covariates.

    Args:
        columns: what `compare_outcomes` returned, by name of the measure.

    Returns:
        The table.
    """
    rows = [
        (name, label, groups.counts, left, *groups.texts(), *gaps)
        for name, found in columns.items()
        for label, groups, left, gaps in _all_and_pairs(found)
    ]
    heads = ("measure", "images", "n", "left over", "succeeded", "failed", "difference")
    return Table((*heads, *_GAPS), rows, left=2)


def low_table(found: MatchedComparison) -> Table:
    """Makes the table of the attack's success on images of low IoU with the box and on others.

    Args:
        found: what `compare_low` returned.

    Returns:
        A row for all images and a row for matched pairs: numbers of images, percentages of
        success, their difference in points, and the groups' gaps in the covariates.
    """
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
    """Makes the table of IoU with the box by the attack's success, within quintiles of a covariate.

    Success is that of the first attack iteration.

    Args:
        run: the records.
        by: the covariate: `confidence`, of the clean image, or `box area`.

    Returns:
        The table.
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
    """Makes the table of raw and matched differences for several networks under the same attack.

    Args:
        runs: names and records of the networks.

    Returns:
        The table.
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
