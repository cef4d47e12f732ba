"""[AAD Tables 3, 4]: how far attention moves under attack, by cells kept and by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention.by_outcome import (
    OutcomeSplit,
    by_outcome,
    printed_means,
    printed_texts,
    with_difference,
)
from analysis.attention.caption import (
    TOP_CELLS,
    facts,
    gradient_method,
    main_cells,
    method_name,
    single_splits,
    splits,
    total_epsilon,
)
from analysis.attention.chance_baselines import first_ranks
from analysis.attention.study_table import StudyTable
from analysis.attention.table_9 import common_images
from analysis.findings import BELOW, Finding
from analysis.paper_values import TABLE_3, TABLE_4
from analysis.statistics import DASH, Estimate, expected_random_iou, mean

# The paper states no number for Table 4; its first round lies where 8 cells lie in Table 3.
TABLE_4_CELLS = 8


def table_3(run: AttentionRecords, dataset: str, network: str) -> StudyTable:
    """[AAD Table 3]: IoU of clean and attacked attention areas, by number of cells of the areas.

    An attention area is made of the cells of the Grad-CAM map with the highest values, so many as
    the row says. The attacked image is that after the first attack iteration. Only images that are
    classified correctly when clean count. Columns are the mean IoU of those that the attack gets
    misclassified, of those that it does not, the difference of the two, and the IoU to be expected
    of two areas of so many cells drawn at random. The paper's values stand in the row beneath the
    measured ones.

    Args:
        run: records that `eval.attention` wrote of a network under the attack StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table.
    """
    method, sizes = gradient_method(run), [int(size) for size in run.study["cells"]]
    title = (
        f"IoU of the {method_name(method)} areas of clean and adversarial image after round 1, by "
        f"number of cells kept; chance is the expectation for cells drawn at random"
    )
    table = StudyTable("3", f"{dataset}_{network}", title, facts(run, network, 1))
    rows: list[tuple[str, ...]] = []
    for size in sizes:
        printed = TABLE_3.rows.get(str(size))
        *_, found = _by_split(table, run, (method, 1, size), printed).values()
        rows.append((f"{size}", "ours", _chance(run, size), *found.means.texts()))
        if printed is not None:
            rows.append(("", "paper", "", *printed_means(printed)))
        statement = f"IoU clean-adversarial at {size} cells, succeeded - failed"
        gap, headline = with_difference(printed)[2], size == TOP_CELLS
        table.findings.append(
            Finding(statement, found.means.difference, -1, gap, headline=headline)
        )
    table.add(("cells", "", "chance", "succeeded", "failed", "difference"), rows)
    table.remarks += _zero_cells_remark(run, method, sizes)
    return table


def table_4(
    run: AttentionRecords,
    dataset: str,
    network: str,
    variant: str = "",
    kept: AttentionRecords | None = None,
) -> StudyTable:
    """[AAD Table 4]: success of the attack and IoU of clean and attacked areas by attack iteration.

    An area is the 8 highest cells of a map. Where the records lack these areas, they are made of
    the 8-bit copies of the maps in the records; where there are no copies, the areas of
    `main_cells` are taken, 10 cells or the first number recorded.

    Args:
        run: records under StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.
        variant: name of the attack's variant if it is not the paper's, for file name and text.
        kept: records of the same attack with the target of its first iteration kept, for
            comparison; or None.

    Returns:
        The table.
    """
    method, recorded = gradient_method(run), [int(size) for size in run.study["cells"]]
    # Many studies keep no maps, and those of images of several sizes are not of one grid.
    has_maps = f"{method}/map" in run.columns
    main = TABLE_4_CELLS if has_maps or TABLE_4_CELLS in recorded else main_cells(run)
    run, sizes = with_cells(run, method, main), [size for size in recorded if size != main]
    title = (
        f"Success of the attack and IoU of the {method_name(method)} areas of clean and "
        f"adversarial image after each round, {main} cells (chance {_chance(run, main)})"
    )
    name = "_".join(filter(None, (dataset, network, variant)))
    table = StudyTable("4", name, title, facts(run, network), [*TABLE_4.notes])
    rows: list[tuple[str, ...]] = []
    other_rows = []
    for number in range(1, run.rounds + 1):
        rows += _round(table, run, (method, number, main))
        if number > 1:
            table.findings += _from_round_before(run, method, number, main)
        for size in sizes:
            *_, found = _by_split(table, run, (method, number, size)).values()
            means = found.means.texts()
            other_rows.append((f"{number}", f"{size}", _chance(run, size), *means))
    heads = ("round", "", "ε", "succeeded %", "IoU, succeeded", "failed %", "IoU, failed")
    table.add((*heads, "difference", "IoU, all right"), rows)
    other_heads = ("round", "cells", "chance", "succeeded", "failed", "difference")
    table.add(other_heads, other_rows, "The same at other numbers of cells")
    if main not in recorded:
        table.remarks.append(_copies_remark(run, method, main, sizes))
    elif main != TABLE_4_CELLS:
        table.remarks.append(
            f"Here {main} cells are kept: the records hold neither {TABLE_4_CELLS} nor the maps "
            f"that areas of {TABLE_4_CELLS} could be made of."
        )
    if kept is not None:
        link = f"table_4_{dataset}_{network}_kept_target.md"
        table.remarks += _kept_target_remarks(run, kept, link)
    if variant:
        named = f"{variant.replace('_', ' ')}: "
        table.findings = [replace(f, statement=named + f.statement) for f in table.findings]
    return table


def with_cells(run: AttentionRecords, method: str, size: int) -> AttentionRecords:
    """Adds the IoU of clean and attacked areas of a number of cells to records that lack it.

    The areas are computed from the 8-bit copies of maps in the records, which are after the ReLU;
    of equal cells the first in reading order belong to the area.

    Args:
        run: the records.
        method: attention method, e.g. `grad_cam`.
        size: number of cells.

    Returns:
        Records with the column; the given ones if they have it.
    """
    name = f"{method}/iou_clean/{size}"
    if name in run.columns:
        return run
    return replace(run, columns={**run.columns, name: iou_of_copies(run, method, size)})


def iou_of_copies(run: AttentionRecords, method: str, size: int) -> np.ndarray:
    """IoU of clean and attacked areas, computed from the 8-bit copies of maps in the records.

    Args:
        run: the records.
        method: attention method, e.g. `grad_cam`.
        size: number of cells of an area.

    Returns:
        float `[n, rounds]`.
    """
    maps = run.maps(method)
    kept = first_ranks(maps.reshape(len(maps), run.rounds + 1, -1)) < size
    both = (kept[:, :1] & kept[:, 1:]).sum(axis=-1)
    return both / (kept[:, :1] | kept[:, 1:]).sum(axis=-1)


def _copies_remark(run: AttentionRecords, method: str, size: int, recorded: Sequence[int]) -> str:
    """That areas come from copies of the maps, and how near these are where both are known."""
    nearest = min(recorded, key=lambda known: (abs(known - size), known))
    gap = iou_of_copies(run, method, nearest) - run.iou_clean(method, nearest)
    by = f"{gap[run.correct].mean():+.4f}" if run.correct.any() else DASH
    return (
        f"The records hold the IoU at {', '.join(map(str, recorded))} cells; at {size} the areas "
        f"are made again from their 8-bit copies of the maps. At {nearest} cells, where both are "
        f"known, the copies change the mean IoU by {by}."
    )


def _round(
    table: StudyTable, run: AttentionRecords, measured: tuple[str, int, int]
) -> list[tuple[str, ...]]:
    """Both groups after a round, the paper's below."""
    method, number, size = measured
    printed = TABLE_4.rows.get(str(number))
    means = None if printed is None else printed[1::2]
    by_split = _by_split(table, run, measured, means)
    for split, found in by_split.items():  # the last is all images
        found.note_fractions(table, split, f"round {number}", printed)
    statement = f"IoU clean-adversarial after round {number}, succeeded - failed"
    gap, headline = with_difference(means)[2], number == 3
    table.findings.append(Finding(statement, found.means.difference, -1, gap, headline=headline))
    everybody = mean(run.iou_clean(method, size)[run.correct, number - 1])
    reach = f"{255 * total_epsilon(run.study['attack'], number):.3g}/255"
    rows = [(f"{number}", "ours", reach, *found.texts(), everybody.text())]
    return rows + ([] if printed is None else [("", "paper", "", *printed_texts(printed), "–")])


def _by_split(
    table: StudyTable,
    run: AttentionRecords,
    measured: tuple[str, int, int],
    printed: Sequence[float] | None = None,
) -> dict[str, OutcomeSplit]:
    """Images on which the attack succeeded and failed: for each data split, then for all together.

    Splits are those of the data set, such as validation and test. The numbers are noted in the
    table, with a remark where a group is empty.

    Args:
        table: gets numbers and remarks.
        run: the images.
        measured: method, round and number of cells.
        printed: the paper's means.
    """
    method, number, size = measured
    values = run.iou_clean(method, size)[:, number - 1]
    by_split = {}
    for split, inside in splits(run):
        found = by_outcome(values, run.succeeded(number) & inside, run.failed(number) & inside)
        found.note_means(table, split, f"round {number}, {size} cells", "IoU", printed)
        by_split[split] = found
    found.remark(table, f"round {number}")
    return by_split


def _from_round_before(run: AttentionRecords, method: str, number: int, size: int) -> list[Finding]:
    """What a further round adds, on the same images."""
    rounds = f"round {number} - round {number - 1}"
    values = run.iou_clean(method, size)[run.correct]
    moved = mean(values[:, number - 1] - values[:, number - 2])
    gain, second = None, number == 2
    if str(number) in TABLE_4.rows:
        gain = (TABLE_4.rows[str(number)][0] - TABLE_4.rows[str(number - 1)][0]) / 100
    statement = f"success of the attack, {rounds}"
    return [
        Finding(statement, _gain(run, number), 1, gain, percent=True, headline=second),
        Finding(f"IoU clean-adversarial, all right, {rounds}", moved, -1, headline=second),
    ]


def _gain(run: AttentionRecords, number: int) -> Estimate:
    """What a round adds to the rate of successes."""
    now, before = (run.succeeded(k)[run.correct].astype(float) for k in (number, number - 1))
    return mean(now - before)


def _chance(run: AttentionRecords, size: int) -> str:
    height, width = run.study["grid"]
    return f"{expected_random_iou(height * width, size, size):.3f}"


def _zero_cells_remark(run: AttentionRecords, method: str, sizes: list[int]) -> list[str]:
    """How many maps have fewer cells above zero than are kept."""
    height, width = run.study["grid"]
    fewest = height * width * run.measure(method, "positive")[run.correct, :2].min(axis=1)
    if not len(fewest):
        return []
    rates = (f"{size} cells {100 * np.mean(fewest < size - 0.5):.1f} %" for size in sizes)
    return [
        f"Images right whose clean or adversarial map has fewer cells above zero than are kept "
        f"(the rest of the area is where the map before its ReLU is highest): {', '.join(rates)}."
    ]


def _kept_target_remarks(run: AttentionRecords, kept: AttentionRecords, link: str) -> list[str]:
    """Where a further round undoes successes: what the same round does with the target kept.

    Args:
        run: images under StepLL, its target chosen again in each round.
        kept: the same network under StepLL towards one target.
        link: page of the latter.

    Raises:
        ValueError: records that cannot be compared.
    """
    rounds = range(2, min(run.rounds, kept.rounds) + 1)
    falls = [k for k in rounds if Finding("", _gain(run, k), 0).side == BELOW]
    if not falls:
        return []
    ours, theirs = common_images([run, kept])
    names = " and ".join(name for name, _ in single_splits(ours))
    remarks = []
    for k in falls:
        (before, after), (kept_before, kept_after) = (
            [100 * each.succeeded(number).mean() for number in (k - 1, k)]
            for each in (ours, theirs)
        )
        gain = _gain(theirs, k)
        undone = gain.interval is not None and gain.interval.low > 0
        conclusion = (
            ": choosing the target anew undoes part of what the round before had reached"
            if undone
            else ""
        )
        remarks.append(
            f"Success falls from round {k - 1} to {k} where the target is chosen anew in each "
            f"round: {before:.1f} % to {after:.1f} % of the {len(ours):,} images of {names} that "
            f"were attacked both ways. With the target kept success goes {kept_before:.1f} % to "
            f"{kept_after:.1f} %, {gain.percent(sign=True)} points ([that table]({link}))"
            f"{conclusion}."
        )
    return remarks
