"""Findings on attention and the object: [AAD Tables 1 and 2], matched, adjusted, above chance."""

from __future__ import annotations

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention import matched, null, regression
from analysis.attention.comparing import mean_estimate
from analysis.attention.finding import Finding, of_groups, of_number
from analysis.attention.intervals import Estimate
from analysis.attention.matched import LOW_IOU
from analysis.attention.statements import EASY, OVERLAP, printed_difference
from analysis.attention.tables_1_2 import paper_rates
from analysis.paper_values import TABLE_1

# Where the box fills the picture, an area as large as it overlaps it wherever attention lies.
SMALL_BOX = 0.5
_MATCHES = "attention of images classified right matches the object (Sec. 2.1)"
_SMALL = f"boxes under {100 * SMALL_BOX:.0f} % of the picture"
_OFTEN = ("less often", "more often", "measurably neither less nor more often")
_ODDS = ("lowers", "raises", "does not measurably change")


def introduction(run: AttentionRecords, chance: null.BoxNull) -> str:
    """How much overlap the size of the boxes gives for nothing."""
    usable = matched.comparable(run)
    if not usable.any():
        return ""
    texts = []
    for mask, whose in ((usable, ""), (usable & (run.box_area < SMALL_BOX), "small ")):
        if mask.any():
            random, disc, ours = (
                f"{float(np.nanmean(column[mask])):.3f}"
                for column in (
                    chance.chance[null.RANDOM],
                    chance.chance[null.DISC],
                    chance.measured,
                )
            )
            area = 100 * float(run.box_area[mask].mean())
            what = f"the {int(mask.sum()):,} {_SMALL}" if whose else "the boxes"
            texts.append(
                f"{what} cover {area:.0f} % of a picture on average; as many pixels drawn at "
                f"random reach an IoU of {random} with them, a disc in the centre {disc}, "
                f"attention {ours}"
            )
    joined = ". ".join(text[0].upper() + text[1:] for text in texts)
    return f"{joined}. An IoU with the box is to be read against these."


def of_boxes(run: AttentionRecords, chance: null.BoxNull) -> list[Finding]:
    """[AAD Tables 1, 2], and what is left of them with confidence, box size, chance held fixed.

    Args:
        run: the records.
        chance: from `null.box_null` of the same records.
    """
    return [
        *_over_chance(run, chance),
        *_by_success(run),
        *_low_iou(run),
        *_small_boxes(run),
        *_excess_by_success(run, chance),
    ]


def _over_chance(run: AttentionRecords, chance: null.BoxNull) -> list[Finding]:
    words = ("less than", "more than", "about as much as")
    small = run.correct & (run.box_area < SMALL_BOX)
    asked = (
        (run.correct, null.OTHERS, "Attention", "other images' attention would by chance"),
        (run.correct, null.DISC, "Attention", "a disc in the centre of the picture"),
        (small, null.OTHERS, f"At {_SMALL}, attention", "other images' attention would by chance"),
        (small, null.DISC, f"At {_SMALL}, attention", "a disc in the centre of the picture"),
    )
    return [
        of_number(
            mean_estimate(chance.excess(name)[mask]),
            f"{opening} overlaps the box {{}} {what}",
            words,
            _MATCHES,
            1,
        )
        for mask, name, opening, what in asked
    ]


def _by_success(run: AttentionRecords) -> list[Finding]:
    iou = run.iou_box()[:, 0]
    both = matched.compare(run, iou)
    opening = "clean attention overlaps the box {} where the attack succeeds"
    paper = printed_difference(TABLE_1, "all")
    found = [
        of_groups(
            both.raw, opening[0].upper() + opening[1:], OVERLAP, f"{EASY} (Table 1)", paper=paper
        ),
        of_groups(
            both.matched, f"Among pairs alike in confidence and box area, {opening}", OVERLAP, EASY
        ),
    ]
    adjusted = regression.regress(run, iou)
    if adjusted is not None:
        sentence = (
            "At fixed confidence and box area, one standard deviation more IoU {} the log odds "
            "that the attack succeeds"
        )
        coefficient = adjusted.coefficients["IoU"]
        found.append(of_number(coefficient, sentence, _ODDS, EASY, -1, counts=adjusted.counts))
    return found


def _low_iou(run: AttentionRecords) -> list[Finding]:
    """[AAD Table 2], raw, matched and adjusted."""
    both = matched.compare_low(run)
    opening = f"the attack succeeds {{}} on images of IoU < {LOW_IOU} than on the others"
    gap = paper_rates()[2] / 100
    found = [
        of_groups(both.raw, "T" + opening[1:], _OFTEN, f"{EASY} (Table 2)", 1, gap),
        of_groups(
            both.matched,
            f"Among pairs alike in confidence and box area, {opening}",
            _OFTEN,
            EASY,
            1,
        ),
    ]
    adjusted = regression.regress(run, run.iou_box()[:, 0] < LOW_IOU)
    if adjusted is not None:
        sentence = (
            f"At fixed confidence and box area, an IoU < {LOW_IOU} {{}} the log odds that the "
            f"attack succeeds"
        )
        coefficient: Estimate = adjusted.coefficients["IoU"]
        found.append(of_number(coefficient, sentence, _ODDS, EASY, 1, counts=adjusted.counts))
    return found


def _small_boxes(run: AttentionRecords) -> list[Finding]:
    """Table 1 where the box leaves room to miss it."""
    part = run.select(run.box_area < SMALL_BOX)
    both = matched.compare(part, part.iou_box()[:, 0])
    where = "clean attention overlaps the box {} where the attack succeeds"
    small = f"{_SMALL} (looked at after the whole)"
    return [
        of_groups(both.raw, f"At {small}, {where}", OVERLAP, f"{EASY} (Table 1)"),
        of_groups(
            both.matched,
            f"At {small}, among pairs alike in confidence and box area, {where}",
            OVERLAP,
            EASY,
        ),
    ]


def _excess_by_success(run: AttentionRecords, chance: null.BoxNull) -> list[Finding]:
    rows = {row.name: row.groups for row in null.group_rows(run, chance)}
    return [
        of_groups(
            rows[f"measured - {null.OTHERS}"],
            "IoU above other images' attention on the same box is {} where the attack succeeds",
            ("lower", "higher", "about the same"),
            EASY,
        )
    ]
