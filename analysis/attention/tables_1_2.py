"""[AAD Tables 1, 2]: images whose attack succeeds, by IoU with the box and by confidence."""

from __future__ import annotations

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention.by_outcome import by_outcome, printed_texts
from analysis.attention.caption import facts, gradient_method, method_name, splits
from analysis.attention.matched import LOW_IOU, comparable, compare_low
from analysis.attention.study_table import StudyTable
from analysis.findings import Finding
from analysis.paper_values import LOW_IOU_IMAGES, RIGHT_IMAGES, TABLE_1, TABLE_2
from analysis.statistics import compare, fraction

_PAPER = ("ImageNet2012", "paper")
_OTHER_IMAGES = RIGHT_IMAGES - LOW_IOU_IMAGES
_GROUPS = ("low", "others", "low - others")
_DERIVED = (
    "The paper does not print how often the attack succeeds on the other images; the value shown "
    "follows from the 74.1 % of Table 1 over all images and the 82.8 % over low-IoU images. It "
    "prints no confidence of the others either; its text says that low-IoU images have lower "
    "confidence."
)


def table_1(run: AttentionRecords, dataset: str, network: str) -> StudyTable:
    """[AAD Table 1]: IoU of the clean image's attention area and its box, by the attack's outcome.

    The area has as many cells as the box; the outcome is that after the first attack iteration.

    Args:
        run: records under StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table.
    """
    method, printed = gradient_method(run), TABLE_1.rows["all"]
    title = (
        f"IoU of {method_name(method)} area and box at equal area, on clean images right and with "
        f"a box, by outcome of the attack"
    )
    table = StudyTable("1", f"{dataset}_{network}", title, facts(run, network, 1), [*TABLE_1.notes])
    values, rows = run.iou_box(method)[:, 0], []
    for split, inside in splits(run):
        usable = inside & run.has_box
        found = by_outcome(values, run.succeeded(1) & usable, run.failed(1) & usable)
        rows.append((split, "ours", f"{found.count:,}", *found.texts()))
        found.note_fractions(table, split, "round 1", printed)
        found.note_means(table, split, "round 1", "IoU", printed[1::2])
        statement = f"IoU with the box, succeeded - failed, {split}"
        gap, last = printed[1] - printed[3], bool(inside.all())
        table.findings.append(Finding(statement, found.means.difference, -1, gap, headline=last))
        found.remark(table, split)
    rows.append((*_PAPER, f"{RIGHT_IMAGES:,}", *printed_texts(printed)))
    heads = ("split", "", "n", "succeeded %", "IoU, succeeded", "failed %", "IoU, failed")
    table.add((*heads, "difference"), rows)
    return table


def table_2(run: AttentionRecords, dataset: str, network: str) -> StudyTable:
    """[AAD Table 2]: images whose IoU with the box is below 0.5, outcome of the attack, confidence.

    Args:
        run: records under StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table.
    """
    method = gradient_method(run)
    title = (
        f"Images whose {method_name(method)} IoU with the box is below {LOW_IOU}: outcome of the "
        f"attack and confidence of the right label on the clean image"
    )
    remarks = [*TABLE_2.notes, _DERIVED]
    table = StudyTable("2", f"{dataset}_{network}", title, facts(run, network, 1), remarks)
    is_low = run.iou_box(method)[:, 0] < LOW_IOU  # False where there is no box
    rows, other_rows = [], []
    for split, inside in splits(run):
        usable = inside & run.has_box & run.correct
        rows.append(_low(table, run, split, usable & is_low, usable))
        other_rows.append(_low_and_others(table, run, split, usable & is_low, usable & ~is_low))
    percent = f"{100 * LOW_IOU_IMAGES / RIGHT_IMAGES:.1f}"
    count = f"{LOW_IOU_IMAGES:,} of {RIGHT_IMAGES:,}"
    rows.append((*_PAPER, count, percent, *printed_texts(TABLE_2.rows["IoU < 0.5"], 4)))
    low, others, gap = paper_rates()
    counts = f"{LOW_IOU_IMAGES:,} / {_OTHER_IMAGES:,}"
    rates = (f"{low:.1f}", f"{others:.1f}", f"{gap:+.1f}")
    other_rows.append((*_PAPER, counts, *rates, "–", "–", "below 0"))
    heads = ("split", "", f"IoU < {LOW_IOU}", "% of I_att", "succeeded %", "confidence, succeeded")
    table.add((*heads, "failed %", "confidence, failed", "difference"), rows)
    other_heads = (
        *("split", "", "n, low / others", "succeeded %, low", "succeeded %, others"),
        *("low - others, points", "confidence, low", "confidence, others", "low - others"),
    )
    table.add(other_heads, other_rows, "Low-IoU images beside the others")
    table.remarks += _confounded(run, is_low)
    return table


def _low(
    table: StudyTable, run: AttentionRecords, split: str, low: np.ndarray, usable: np.ndarray
) -> tuple[str, ...]:
    """The paper's Table 2: low-IoU images by outcome."""
    printed = TABLE_2.rows["IoU < 0.5"]
    found = by_outcome(run.confidence[:, 0], run.succeeded(1) & low, run.failed(1) & low)
    of_all = fraction(int(low.sum()), int(usable.sum()))
    row = f"IoU < {LOW_IOU}"
    in_paper = round(100 * LOW_IOU_IMAGES / RIGHT_IMAGES, 2)
    table.note(split, row, "percent", "of I_att", of_all, in_paper)
    found.note_fractions(table, split, row, printed)
    found.note_means(table, split, row, "confidence", printed[1::2])
    statement = f"confidence at IoU < {LOW_IOU}, succeeded - failed, {split}"
    gap, last = printed[1] - printed[3], bool(usable.sum() == comparable(run).sum())
    table.findings.append(Finding(statement, found.means.difference, 1, gap, headline=last))
    found.remark(table, f"{split}, {row}")
    count = f"{found.count:,} of {int(usable.sum()):,}"
    return (split, "ours", count, of_all.percent(), *found.texts())


def _low_and_others(
    table: StudyTable, run: AttentionRecords, split: str, low: np.ndarray, others: np.ndarray
) -> tuple[str, ...]:
    """The text's claims: low-IoU images are attacked more easily and have less confidence."""
    succeeded = run.succeeded(1).astype(float)
    gap = compare(succeeded[low], succeeded[others]).difference
    rates = [fraction(int(succeeded[mask].sum()), int(mask.sum())) for mask in (low, others)]
    sure = compare(run.confidence[low, 0], run.confidence[others, 0])
    paper = paper_rates()
    for group, estimate, value in zip(_GROUPS, (*rates, gap), paper, strict=True):
        table.note(split, "low and others", "percent", group, estimate, value)
    sure_estimates = (sure.first, sure.second, sure.difference)
    for group, estimate in zip(_GROUPS, sure_estimates, strict=True):
        table.note(split, "low and others", "confidence", group, estimate)
    last = bool(low.sum() + others.sum() == comparable(run).sum())
    statement = f"success of the attack, low IoU - others, {split}"
    table.findings += [
        Finding(statement, gap, 1, paper[2] / 100, percent=True, headline=last),
        Finding(f"confidence, low IoU - others, {split}", sure.difference, -1, headline=last),
    ]
    counts = f"{int(low.sum()):,} / {int(others.sum()):,}"
    percents = (*(rate.percent() for rate in rates), gap.percent(sign=True))
    return (split, "ours", counts, *percents, *sure.texts())


def _confounded(run: AttentionRecords, is_low: np.ndarray) -> list[str]:
    """What else sets low-IoU images apart, and what is left of Table 2 without it."""
    usable = comparable(run)
    if not ((usable & is_low).any() and (usable & ~is_low).any()):
        return []
    low_area, other_area = (
        100 * float(run.box_area[usable & mask].mean()) for mask in (is_low, ~is_low)
    )
    found = compare_low(run).matched
    return [
        f"Boxes cover {low_area:.0f} % of the picture on average at IoU < {LOW_IOU}, "
        f"{other_area:.0f} % on the others: low IoU goes with small boxes, as well as "
        f"with low confidence. Among {found.first.count:,} pairs alike in confidence and box area "
        f"the success of the attack differs by {found.difference.percent(sign=True)} points. "
        f"[attention_findings.md](../attention_findings.md) has such comparisons, and a "
        f"regression, for the network with most records."
    ]


def paper_rates() -> tuple[float, float, float]:
    """The paper's success rates in percent: on images of low IoU, on others, and the difference."""
    low, overall = TABLE_2.rows["IoU < 0.5"][0], TABLE_1.rows["all"][0]
    others = round((overall * RIGHT_IMAGES - low * LOW_IOU_IMAGES) / _OTHER_IMAGES, 2)
    return low, others, round(low - others, 2)
