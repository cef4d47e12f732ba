"""Small tables behind the findings of the attention study."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention import agreement, flips, matched, null, regression, scatter
from analysis.attention.caption import method_name
from analysis.attention.claims import Claim
from analysis.attention.comparing import mean_difference
from analysis.attention.intervals import DASH, Estimate, Groups
from analysis.tables import TextTable

CELLS = 10
_GROUPS = ("succeeded", "failed", "difference")


def chance_of_boxes(run: AttentionRecords, chance: null.BoxNull) -> TextTable:
    """IoU with the box, measured and by chance, by success of round 1."""
    rows = tuple((row.name, *_texts(row.groups)) for row in null.group_rows(run, chance))
    return TextTable(("IoU with the box", *_GROUPS), rows)


def chance_of_drift(run: AttentionRecords) -> TextTable:
    """IoU of clean and adversarial maps over rounds, and by chance."""
    chance, iou = null.drift_null(run, CELLS), run.iou_clean(size=CELLS)
    rows = []
    for k in range(1, run.rounds + 1):
        succeeded, failed = run.succeeded(k), run.failed(k)
        groups = mean_difference(iou[succeeded, k - 1], iou[failed, k - 1])
        counts = f"{int(succeeded.sum()):,} / {int(failed.sum()):,}"
        others = chance.rounds[k - 1].text()
        rows.append((str(k), counts, *_texts(groups), others, f"{chance.random_cells:.3f}"))
    heads = ("round", "succeeded / failed", *_GROUPS, "other images", "random cells")
    return TextTable(heads, tuple(rows))


def balance(run: AttentionRecords) -> TextTable:
    """What is compared, raw and matched, and how alike the groups are in what confounds."""
    rows = []
    columns = {
        "IoU with the box": run.iou_box()[:, 0],
        f"IoU with the clean attention, {CELLS} cells": run.iou_clean(size=CELLS)[:, 0],
    }
    for name, values in columns.items():
        found = matched.compare(run, values)
        for label, groups, place in (("all", found.raw, 0), ("pairs", found.matched, 1)):
            gaps = (_number(found.balance[key][place], 2) for key in matched.COVARIATES)
            count = f"{groups.first.count:,} / {groups.second.count:,}"
            left = f"{found.unmatched:,}" if place else DASH
            rows.append((name, label, count, left, *_texts(groups), *gaps))
    heads = ("measure", "images", "n", "left over", *_GROUPS)
    gaps_heads = tuple(f"gap in {name}" for name in matched.COVARIATES)
    return TextTable((*heads, *gaps_heads), tuple(rows), left=2)


def low_beside_others(run: AttentionRecords) -> TextTable:
    """Success of the attack on images of low IoU with the box and on others, all and matched."""
    found = matched.compare_low(run)
    rows = []
    for label, groups, place in (("all", found.raw, 0), ("pairs", found.matched, 1)):
        gaps = (_number(found.balance[key][place], 2) for key in matched.COVARIATES)
        count = f"{groups.first.count:,} / {groups.second.count:,}"
        left = f"{found.unmatched:,}" if place else DASH
        rates = groups.first.percent(), groups.second.percent()
        rows.append((label, count, left, *rates, groups.difference.percent(sign=True), *gaps))
    heads = ("images", "n, low / others", "left over", "succeeded %, low", "succeeded %, others")
    gaps_heads = tuple(f"gap in {name}" for name in matched.COVARIATES)
    return TextTable((*heads, "low - others, points", *gaps_heads), tuple(rows))


def coefficients(run: AttentionRecords) -> TextTable | None:
    """Log odds of success for one standard deviation more; None without both outcomes."""
    rows = []
    box = run.iou_box()[:, 0]
    columns = {
        "IoU with the box": box,
        f"IoU with the box below {matched.LOW_IOU} (yes or no)": box < matched.LOW_IOU,
        f"IoU with the clean attention, {CELLS} cells": run.iou_clean(size=CELLS)[:, 0],
    }
    for name, values in columns.items():
        found = regression.regress(run, values)
        if found is None:
            return None
        texts = [estimate.text(sign=True) for estimate in found.coefficients.values()]
        odds = found.coefficients["IoU"].value
        ratio = DASH if odds is None else f"{math.exp(odds):.2f}"
        rows.append((name, found.counts, found.alone.text(sign=True), *texts, ratio))
    heads = ("measure", "n", "measure alone", "measure", *matched.COVARIATES)
    return TextTable((*heads, "odds ratio of the measure"), tuple(rows))


def strata(run: AttentionRecords, by: str = "confidence") -> TextTable:
    """IoU with the box by success, within quintiles of clean confidence or of box area."""
    covariate = run.confidence[:, 0] if by == "confidence" else run.box_area
    rows = tuple(
        (
            f"{part.low:.3f}–{part.high:.3f}",
            f"{part.count:,}",
            f"{100 * part.success_rate:.1f}",
            *_texts(part.groups),
        )
        for part in matched.stratify(run, run.iou_box()[:, 0], by=covariate)
    )
    return TextTable((by, "n", "succeeded %", *_GROUPS), rows)


def flips_by_round(run: AttentionRecords) -> TextTable:
    """IoU at the first flip against images not flipped yet."""
    rows = tuple(
        (str(row.round_number), f"{row.at_risk:,}", f"{row.flipped:,}", *_texts(row.groups))
        for row in flips.by_round(run)
    )
    heads = ("round", "still right before", "flip in it", "IoU, flip", "IoU, do not", "difference")
    return TextTable(heads, rows)


def wrong_by_iou(run: AttentionRecords) -> TextTable:
    """Share of labels wrong by the IoU with the clean attention: all rounds, and round 1."""
    first = {row.common: row for row in flips.wrong_shares(run, (1,), size=CELLS)}
    rows = []
    for row in flips.wrong_shares(run, size=CELLS):
        one = first.get(row.common)
        texts = (DASH, DASH) if one is None else (f"{one.count:,}", one.share.percent())
        place = (f"{row.common} of {CELLS}", f"{row.iou:.3f}")
        rows.append((*place, f"{row.count:,}", row.share.percent(), *texts))
    heads = ("cells in common", "IoU", "images × rounds", "wrong %, all rounds")
    return TextTable((*heads, "images, round 1", "wrong %, round 1"), tuple(rows))


def scattering(run: AttentionRecords) -> TextTable:
    """Change of the measures of scatter from the clean image to each round."""
    rows = tuple(
        (row.measure, str(row.round_number), *_texts(row.groups), f"{row.lost[0]} / {row.lost[1]}")
        for row in scatter.rows(run)
    )
    heads = ("change of", "round", *_GROUPS, "left out (map of zeros)")
    return TextTable(heads, rows, left=1)


def agreement_of_methods(run: AttentionRecords) -> TextTable:
    """How well each two methods agree, clean and attacked."""
    chance = f"{agreement.chance_iou(run):.3f}"
    rows = tuple(
        (
            f"{method_name(row.first)}, {method_name(row.second)}",
            "clean" if row.stage == 0 else f"round {row.stage}",
            f"{row.iou.count:,}",
            row.rank_correlation.text(),
            row.iou.text(),
            chance,
        )
        for row in agreement.agreements(run)
    )
    heads = ("methods", "image", "n", "rank correlation", "IoU, top 10 cells", "by chance")
    return TextTable(heads, rows, left=2)


def networks(runs: Sequence[tuple[str, AttentionRecords]]) -> TextTable:
    """Whether raw and matched differences hold for other networks under the same attack.

    Args:
        runs: names and records.
    """
    rows = []
    for name, run in runs:
        right = run.correct
        rate = run.succeeded(1)[right].mean() if right.any() else math.nan
        shares = (_number(100 * right.mean(), 1), _number(100 * rate, 1))
        cells = []
        for values in (run.iou_box()[:, 0], run.iou_clean(size=CELLS)[:, 0]):
            found = matched.compare(run, values)
            cells += [_judged(found.raw.difference), _judged(found.matched.difference)]
        rows.append((name, *shares, *cells))
    heads = ("network", "clean accuracy %", "succeeded %")
    measures = ("IoU with box, all", "pairs", "IoU with clean attention, all", "pairs")
    return TextTable((*heads, *measures), tuple(rows))


def _judged(estimate: Estimate) -> str:
    return f"{estimate.text(sign=True)} {Claim('', estimate, -1).verdict}"


def _texts(groups: Groups) -> tuple[str, str, str]:
    return groups.first.text(), groups.second.text(), groups.difference.text(sign=True)


def _number(value: float, digits: int) -> str:
    return DASH if np.isnan(value) else f"{value:.{digits}f}"
