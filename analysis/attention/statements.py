"""Findings on attention before and after an attack, its scatter, and other methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention import agreement, flips, matched, scatter
from analysis.attention.caption import method_name, single_splits
from analysis.attention.claims import SMALLEST_GROUP, Claim
from analysis.attention.comparing import mean_difference, mean_estimate
from analysis.attention.finding import Finding, of_groups, of_number
from analysis.paper_values import TABLE_1, TABLE_3, TABLE_7, TABLE_8, PaperTable

CELLS = 10
EASY = "images whose attention misses the object are easier to attack"
MOVES = "successful attacks move attention further"
_SCATTERS = "successful attacks scatter attention"
OVERLAP = ("less", "more", "about as much")


def of_drift(run: AttentionRecords) -> list[Finding]:
    """[AAD Tables 3, 4], at fixed confidence too, and where labels flip."""
    iou = run.iou_clean(size=CELLS)
    sentence = "successful attack leaves {} of the clean attention in place"
    words = ("less", "more", "measurably neither less nor more")
    found = [
        of_groups(
            mean_difference(iou[run.succeeded(1), 0], iou[run.failed(1), 0]),
            f"A {sentence}",
            words,
            f"{MOVES} (Table 3)",
            paper=printed_difference(TABLE_3, str(CELLS)),
        ),
        of_groups(
            matched.compare(run, iou[:, 0]).matched,
            f"Among pairs alike in confidence and box area, a {sentence}",
            words,
            MOVES,
        ),
    ]
    if run.rounds > 1:
        found.append(
            of_number(
                mean_estimate((iou[:, -1] - iou[:, 0])[run.correct]),
                f"From round 1 to {run.rounds} attention {{}} the clean attention",
                ("drifts on from", "comes back to", "stays as far from"),
                "more rounds move attention further (Table 4)",
                -1,
            )
        )
    return found + _flips(run)


def _flips(run: AttentionRecords) -> list[Finding]:
    found = []
    rows = [row for row in flips.by_round(run)[1:] if row.groups.difference.count >= SMALLEST_GROUP]
    if rows:
        verdicts = {row.round_number: Claim("", row.groups.difference, -1).verdict for row in rows}
        first, *later = verdicts.items()
        alike = [str(number) for number, verdict in later if verdict == first[1]]
        other = [f"{number} ({verdict})" for number, verdict in later if verdict != first[1]]
        also = f"; the same verdict in rounds {', '.join(alike)}" if alike else ""
        also += f"; another in rounds {', '.join(other)}" if other else ""
        one = of_groups(
            rows[0].groups,
            f"Of images still right before round {rows[0].round_number}, those it flips keep {{}} "
            f"of the clean attention",
            ("less", "more", "measurably neither less nor more"),
            "rounds move attention until the label flips (Sec. 2.3)",
        )
        found.append(replace(one, sentence=f"{one.sentence[:-1]}{also}."))
    found.append(_half(run, None, f"over {run.rounds} rounds together" if run.rounds > 1 else ""))
    return [*found, _half(run, (1,), "in round 1")] if run.rounds > 1 else found


def _half(run: AttentionRecords, rounds: tuple[int, ...] | None, when: str) -> Finding:
    half = flips.half_wrong(run, rounds, size=CELLS)
    text = "no IoU that was seen" if half.value is None else f"an IoU of {half.value:.3f}"
    ending = f", {when}" if when else ""
    sentence = (
        f"Half the labels are wrong at {text} with the clean attention ({CELLS} cells){ending}."
    )
    return Finding(sentence, "", half)


def of_scatter(run: AttentionRecords) -> list[Finding]:
    """Whether a successful attack scatters attention [AAD Sec. 2.2], after round 1."""
    rows = {row.measure: row for row in scatter.rows(run) if row.round_number == 1}
    own = scatter.change(run, "entropy", 1)[run.succeeded(1)]
    found = [
        of_number(
            mean_estimate(own),
            "Attention {} entropy when an attack succeeds",
            ("loses", "gains", "measurably neither gains nor loses"),
            f"{_SCATTERS} (Sec. 2.2)",
            1,
        )
    ]
    for measure, row in rows.items():
        shrinks = measure not in scatter.SCATTER_GROWS
        what = measure if measure == scatter.SHIFT else f"change of {measure}"
        found.append(
            of_groups(
                row.groups,
                f"The {what} is {{}} where the attack succeeds",
                ("lower", "higher", "measurably neither lower nor higher"),
                "the attention area shrinks (Sec. 2.3)" if shrinks else _SCATTERS,
                direction=-1 if shrinks else 1,
            )
        )
    return found


def of_methods(run: AttentionRecords) -> list[Finding]:
    """Whether each method of attention leads to the conclusions of Tables 1 and 3, or 7 and 8."""
    found = []
    for one in agreement.conclusions(run):
        lime, boxes = one.method == "lime", one.measure == "box"
        name = method_name(one.method) + (f", {one.size} superpixels" if lime else "")
        if boxes:
            table, row = (TABLE_7, one.size) if lime else (TABLE_1, "all")
        else:
            table, row = (TABLE_8 if lime else TABLE_3), one.size
        number = table.source.removeprefix("AAD ")
        what = "the box" if boxes else "the clean attention"
        found.append(
            of_groups(
                one.groups,
                f"By {name}, attention overlaps {what} {{}} where the attack succeeds",
                OVERLAP,
                f"{EASY if boxes else MOVES} ({number})",
                paper=printed_difference(table, row),
            )
        )
    return found


def which_images(run: AttentionRecords) -> str:
    """Which images the methods were compared on."""
    parts = []
    for name, mask in single_splits(run):
        index, count = run.index[mask], int(mask.sum())
        first = "first " if (np.sort(index) == np.arange(count)).all() else ""
        parts.append(f"the {first}{count:,} images of {name}")
    rounds = "1 round" if run.rounds == 1 else f"{run.rounds} rounds"
    return (
        f"From a run of its own on {', '.join(parts)} and {rounds} of the attack; every method "
        f"explains the same images, so these rows compare with each other, not with those above."
    )


def printed_difference(table: PaperTable, row: str) -> float | None:
    """Succeeded minus failed, as the paper prints them."""
    if row not in table.rows:
        return None
    return table.value(row, "succeeded IoU") - table.value(row, "failed IoU")
