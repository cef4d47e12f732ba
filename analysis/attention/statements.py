"""The findings of the attention study, made from the records of a run."""

from __future__ import annotations

from analysis.attention import agreement, flips, matched, null, regression, scatter
from analysis.attention.caption import method_name
from analysis.attention.claims import SMALLEST_GROUP
from analysis.attention.comparing import mean_difference, mean_estimate
from analysis.attention.finding import Finding, of_groups, of_number
from analysis.attention.run import AttentionRun
from analysis.paper_values import TABLE_1, TABLE_3, TABLE_7, TABLE_8, PaperTable

CELLS = 10
# Where the box fills the picture, an area as large as it overlaps it wherever attention lies.
SMALL_BOX = 0.5
_EASY = "images whose attention misses the object are easier to attack"
_MOVES = "successful attacks move attention further"
_SCATTERS = "successful attacks scatter attention"
_OVERLAP = ("less", "more", "about as much")


def of_boxes(run: AttentionRun, chance: null.BoxNull) -> list[Finding]:
    """[AAD Table 1], and what is left of it with confidence, box size and chance held fixed.

    Args:
        run: the records.
        chance: from `null.box_null` of the same records.
    """
    iou = run.iou_box()[:, 0]
    both = matched.compare(run, iou)
    opening = "clean attention overlaps the box {} where the attack succeeds"
    found = [
        of_groups(
            both.raw,
            opening[0].upper() + opening[1:],
            _OVERLAP,
            f"{_EASY} (Table 1)",
            paper=_printed(TABLE_1, "all"),
        ),
        of_groups(
            both.matched,
            f"Among pairs alike in confidence and box area, {opening}",
            _OVERLAP,
            _EASY,
        ),
    ]
    adjusted = regression.regress(run, iou)
    if adjusted is not None:
        sentence = (
            "At fixed confidence and box area, one standard deviation more IoU {} the log odds "
            "that the attack succeeds"
        )
        words = ("lowers", "raises", "does not measurably change")
        found.append(of_number(adjusted.coefficients["IoU"], sentence, words, _EASY, -1))
    return [*found, *_small_boxes(run), *_over_chance(run, chance)]


def _small_boxes(run: AttentionRun) -> list[Finding]:
    """The same where the box leaves room to miss it."""
    part = run.select(run.box_area < SMALL_BOX)
    both = matched.compare(part, part.iou_box()[:, 0])
    where = "clean attention overlaps the box {} where the attack succeeds"
    small = f"boxes under {100 * SMALL_BOX:.0f} % of the picture (looked at after the whole)"
    return [
        of_groups(both.raw, f"At {small}, {where}", _OVERLAP, f"{_EASY} (Table 1)"),
        of_groups(
            both.matched,
            f"At {small}, among pairs alike in confidence and box area, {where}",
            _OVERLAP,
            _EASY,
        ),
    ]


def _over_chance(run: AttentionRun, chance: null.BoxNull) -> list[Finding]:
    rows = {row.name: row.groups for row in null.group_rows(run, chance)}
    return [
        of_number(
            mean_estimate(chance.excess()[run.right]),
            "Attention overlaps the box {} other images' attention would by chance",
            ("less than", "more than", "about as much as"),
            "attention of images classified right matches the object (Sec. 2.1)",
            1,
        ),
        of_groups(
            rows["measured - other images"],
            "IoU above other images' attention on the same box is {} where the attack succeeds",
            ("lower", "higher", "about the same"),
            _EASY,
        ),
    ]


def of_drift(run: AttentionRun) -> list[Finding]:
    """[AAD Tables 3, 4], at fixed confidence too, and where labels flip."""
    iou = run.iou_clean(size=CELLS)
    sentence = "successful attack leaves {} of the clean attention in place"
    words = ("less", "more", "measurably neither less nor more")
    found = [
        of_groups(
            mean_difference(iou[run.succeeded(1), 0], iou[run.failed(1), 0]),
            f"A {sentence}",
            words,
            f"{_MOVES} (Table 3)",
            paper=_printed(TABLE_3, str(CELLS)),
        ),
        of_groups(
            matched.compare(run, iou[:, 0]).matched,
            f"Among pairs alike in confidence and box area, a {sentence}",
            words,
            _MOVES,
        ),
    ]
    if run.rounds > 1:
        found.append(
            of_number(
                mean_estimate((iou[:, -1] - iou[:, 0])[run.right]),
                f"From round 1 to {run.rounds} attention {{}} the clean attention",
                ("drifts on from", "comes back to", "stays as far from"),
                "more rounds move attention further (Table 4)",
                -1,
            )
        )
    return found + _flips(run)


def _flips(run: AttentionRun) -> list[Finding]:
    found = [
        of_groups(
            row.groups,
            f"Of images still right before round {row.round_number}, those it flips keep {{}} of "
            f"the clean attention",
            ("less", "more", "measurably neither less nor more"),
            "rounds move attention until the label flips (Sec. 2.3)",
        )
        for row in flips.by_round(run)[1:]
        if row.groups.difference.count >= SMALLEST_GROUP
    ]
    half = flips.half_flipped(run)
    text = "no IoU that was seen" if half.value is None else f"an IoU of {half.value:.3f}"
    sentence = f"Half the labels have flipped at {text} with the clean attention ({CELLS} cells)."
    return [*found, Finding(sentence, "", half)]


def of_scatter(run: AttentionRun) -> list[Finding]:
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


def of_methods(run: AttentionRun) -> list[Finding]:
    """Whether each method of attention leads to the conclusions of Tables 1 and 3."""
    found = []
    for one in agreement.conclusions(run):
        lime, boxes = one.method == "lime", one.measure == "box"
        name = method_name(one.method) + (f", {one.size} superpixels" if lime else "")
        table = TABLE_7 if boxes else TABLE_8
        what = "the box" if boxes else "the clean attention"
        found.append(
            of_groups(
                one.groups,
                f"By {name}, attention overlaps {what} {{}} where the attack succeeds",
                _OVERLAP,
                f"{_EASY} (Table 7)" if boxes else f"{_MOVES} (Table 8)",
                paper=_printed(table, one.size) if lime else None,
            )
        )
    return found


def _printed(table: PaperTable, row: str) -> float | None:
    """Succeeded minus failed, as the paper prints them."""
    if row not in table.rows:
        return None
    return table.value(row, "succeeded IoU") - table.value(row, "failed IoU")
