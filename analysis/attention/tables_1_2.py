"""[AAD Tables 1, 2]: images whose attack succeeds, by IoU with the box and by confidence."""

from __future__ import annotations

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention import intervals
from analysis.attention.caption import facts, gradient_method, method_name, splits
from analysis.attention.claims import Claim
from analysis.attention.halves import empty_notes, halves, printed_texts
from analysis.attention.matched import LOW_IOU, comparable, compare_low
from analysis.attention.table import AttentionTable, Cell, Draft
from analysis.paper_values import LOW_IOU_IMAGES, RIGHT_IMAGES, TABLE_1, TABLE_2

_PAPER = ("ImageNet2012", "paper")
_OTHER_IMAGES = RIGHT_IMAGES - LOW_IOU_IMAGES
_GROUPS = ("low", "others", "low - others")
_DERIVED = (
    "The paper does not print how often the attack succeeds on the other images; the value shown "
    "follows from the 74.1 % of Table 1 over all images and the 82.8 % over low-IoU images. It "
    "prints no confidence of the others either; its text says that low-IoU images have lower "
    "confidence."
)


def table_1(run: AttentionRecords, dataset: str, network: str) -> AttentionTable:
    """IoU of the clean image's attention area and its box at equal area, after round 1.

    Args:
        run: images under StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.
    """
    method, printed = gradient_method(run), TABLE_1.rows["all"]
    values = run.iou_box(method)[:, 0]
    draft = Draft("1", f"{dataset}_{network}", list(TABLE_1.notes))
    for split, inside in splits(run):
        usable = inside & run.has_box
        found = halves(values, run.succeeded(1) & usable, run.failed(1) & usable)
        draft.rows.append((split, "ours", f"{found.count:,}", *found.texts()))
        draft.cells += found.cells(split, "round 1", "IoU", printed)
        statement = f"IoU with the box, succeeded - failed, {split}"
        gap, last = printed[1] - printed[3], bool(inside.all())
        draft.claims.append(Claim(statement, found.difference, -1, gap, headline=last))
        draft.notes += empty_notes(found, split)
    draft.rows.append((*_PAPER, f"{RIGHT_IMAGES:,}", *printed_texts(printed)))
    heads = ("split", "", "n", "succeeded %", "IoU, succeeded", "failed %", "IoU, failed")
    title = (
        f"IoU of {method_name(method)} area and box at equal area, on clean images right and with "
        f"a box, by outcome of the attack"
    )
    return draft.finish(title, facts(run, network, 1), (*heads, "difference"))


def table_2(run: AttentionRecords, dataset: str, network: str) -> AttentionTable:
    """Images whose IoU with the box is below 0.5: outcome of the attack, clean confidence.

    Args:
        run: images under StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.
    """
    method = gradient_method(run)
    is_low = run.iou_box(method)[:, 0] < LOW_IOU  # False where there is no box
    draft = Draft("2", f"{dataset}_{network}", [*TABLE_2.notes, _DERIVED])
    for split, inside in splits(run):
        usable = inside & run.has_box & run.correct
        _add_low(draft, run, split, usable & is_low, usable)
        _add_low_and_others(draft, run, split, usable & is_low, usable & ~is_low)
    _add_paper(draft)
    draft.notes += _confounded(run, is_low)
    title = (
        f"Images whose {method_name(method)} IoU with the box is below {LOW_IOU}: outcome of the "
        f"attack and confidence of the right label on the clean image"
    )
    heads = ("split", "", f"IoU < {LOW_IOU}", "% of I_att", "succeeded %", "confidence, succeeded")
    other_heads = (
        *("split", "", "n, low / others", "succeeded %, low", "succeeded %, others"),
        *("low - others, points", "confidence, low", "confidence, others", "low - others"),
    )
    return draft.finish(
        title,
        facts(run, network, 1),
        (*heads, "failed %", "confidence, failed", "difference"),
        ("Low-IoU images beside the others", other_heads),
    )


def _add_low(
    draft: Draft, run: AttentionRecords, split: str, low: np.ndarray, usable: np.ndarray
) -> None:
    """The paper's Table 2: low-IoU images by outcome."""
    printed = TABLE_2.rows["IoU < 0.5"]
    found = halves(run.confidence[:, 0], run.succeeded(1) & low, run.failed(1) & low)
    of_all = intervals.share(int(low.sum()), int(usable.sum()))
    count = f"{found.count:,} of {int(usable.sum()):,}"
    draft.rows.append((split, "ours", count, of_all.percent(), *found.texts()))
    row, paper_share = f"IoU < {LOW_IOU}", round(100 * LOW_IOU_IMAGES / RIGHT_IMAGES, 2)
    draft.cells.append(Cell(split, row, "percent", "of I_att", of_all, paper_share))
    draft.cells += found.cells(split, row, "confidence", printed)
    statement = f"confidence at IoU < {LOW_IOU}, succeeded - failed, {split}"
    gap, last = printed[1] - printed[3], bool(usable.sum() == (run.correct & run.has_box).sum())
    draft.claims.append(Claim(statement, found.difference, 1, gap, headline=last))
    draft.notes += empty_notes(found, f"{split}, {row}")


def _add_low_and_others(
    draft: Draft, run: AttentionRecords, split: str, low: np.ndarray, others: np.ndarray
) -> None:
    """The text's claims: low-IoU images are attacked more easily and have less confidence."""
    fooled = run.succeeded(1).astype(float)
    gap = intervals.compare(fooled[low], fooled[others]).difference
    shares = [intervals.share(int(fooled[mask].sum()), int(mask.sum())) for mask in (low, others)]
    sure = intervals.compare(run.confidence[low, 0], run.confidence[others, 0])
    counts = f"{int(low.sum()):,} / {int(others.sum()):,}"
    percents = (*(share.percent() for share in shares), gap.percent(sign=True))
    confidences = (sure.first.text(), sure.second.text(), sure.difference.text(sign=True))
    draft.more_rows.append((split, "ours", counts, *percents, *confidences))
    paper = paper_rates()
    for group, estimate, value in zip(_GROUPS, (*shares, gap), paper, strict=True):
        draft.cells.append(Cell(split, "low and others", "percent", group, estimate, value))
    sure_estimates = (sure.first, sure.second, sure.difference)
    for group, estimate in zip(_GROUPS, sure_estimates, strict=True):
        draft.cells.append(Cell(split, "low and others", "confidence", group, estimate))
    last = bool(low.sum() + others.sum() == (run.correct & run.has_box).sum())
    statement = f"success of the attack, low IoU - others, {split}"
    draft.claims += [
        Claim(statement, gap, 1, paper[2] / 100, percent=True, headline=last),
        Claim(f"confidence, low IoU - others, {split}", sure.difference, -1, headline=last),
    ]


def _confounded(run: AttentionRecords, is_low: np.ndarray) -> list[str]:
    """What else sets low-IoU images apart, and what is left of Table 2 without it."""
    usable = comparable(run)
    if not ((usable & is_low).any() and (usable & ~is_low).any()):
        return []
    areas = (100 * float(run.box_area[usable & mask].mean()) for mask in (is_low, ~is_low))
    found = compare_low(run).matched
    small = "Boxes cover {:.0f} % of the picture on average at IoU < {}, {:.0f} % on the others"
    low_area, other_area = areas
    return [
        f"{small.format(low_area, LOW_IOU, other_area)}: low IoU goes with small boxes, as well as "
        f"with low confidence. Among {found.first.count:,} pairs alike in confidence and box area "
        f"the success of the attack differs by {found.difference.percent(sign=True)} points. "
        f"[attention_findings.md](../attention_findings.md) has such comparisons, and a "
        f"regression, for the network with most records."
    ]


def paper_rates() -> tuple[float, float, float]:
    """Percent of low-IoU images and of the others that the paper's attack fools; difference."""
    low, overall = TABLE_2.rows["IoU < 0.5"][0], TABLE_1.rows["all"][0]
    others = round((overall * RIGHT_IMAGES - low * LOW_IOU_IMAGES) / _OTHER_IMAGES, 2)
    return low, others, round(low - others, 2)


def _add_paper(draft: Draft) -> None:
    count = f"{LOW_IOU_IMAGES:,} of {RIGHT_IMAGES:,}"
    share = f"{100 * LOW_IOU_IMAGES / RIGHT_IMAGES:.1f}"
    draft.rows.append((*_PAPER, count, share, *printed_texts(TABLE_2.rows["IoU < 0.5"], 4)))
    low, others, gap = paper_rates()
    counts = f"{LOW_IOU_IMAGES:,} / {_OTHER_IMAGES:,}"
    rates = (f"{low:.1f}", f"{others:.1f}", f"{gap:+.1f}")
    draft.more_rows.append((*_PAPER, counts, *rates, "–", "–", "below 0"))
