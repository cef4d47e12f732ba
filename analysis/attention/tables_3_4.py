"""[AAD Tables 3, 4]: how far attention moves under attack, by cells kept and by round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention import intervals
from analysis.attention.caption import (
    MAIN_CELLS,
    facts,
    gradient_method,
    main_cells,
    method_name,
    splits,
    total_epsilon,
)
from analysis.attention.claims import Claim
from analysis.attention.halves import (
    Halves,
    empty_notes,
    halves,
    printed_means,
    printed_texts,
    with_difference,
)
from analysis.attention.kept_target import kept_target_notes
from analysis.attention.table import AttentionTable, Cell, Draft
from analysis.paper_values import TABLE_3, TABLE_4


def chance_iou(kept: int, cells: int) -> float:
    """Expected IoU of two areas of `kept` cells each, drawn at random from a grid.

    Args:
        kept: cells of each area, at most `cells`.
        cells: of the grid.

    Returns:
        The mean over the hypergeometric distribution of the overlap.

    Example:
        >>> chance_iou(1, 4)  # the same cell once in four
        0.25
    """
    if not 0 < kept <= cells:
        raise ValueError(f"Expected 0 < kept <= cells, got {kept} of {cells}.")
    ways = math.comb(cells, kept)
    return sum(
        math.comb(kept, both)
        * math.comb(cells - kept, kept - both)
        / ways
        * both
        / (2 * kept - both)
        for both in range(kept + 1)
    )


def table_3(run: AttentionRecords, dataset: str, network: str) -> AttentionTable:
    """IoU of clean and adversarial attention areas after round 1, by number of cells kept.

    Args:
        run: images under StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.
    """
    method, sizes = gradient_method(run), [int(size) for size in run.study["cells"]]
    draft = Draft("3", f"{dataset}_{network}")
    for size in sizes:
        printed = TABLE_3.rows.get(str(size))
        found = _by_split(draft, run, (method, 1, size), with_difference(printed))
        draft.rows.append((f"{size}", "ours", f"{_chance(run, size):.3f}", *found.means()))
        if printed is not None:
            draft.rows.append(("", "paper", "", *printed_means(printed)))
        statement = f"IoU clean-adversarial at {size} cells, succeeded - failed"
        gap, headline = with_difference(printed)[2], size == MAIN_CELLS
        draft.claims.append(Claim(statement, found.difference, -1, gap, headline=headline))
    draft.notes += _zero_cells_notes(run, method, sizes)
    title = (
        f"IoU of the {method_name(method)} areas of clean and adversarial image after round 1, by "
        f"number of cells kept; chance is the expectation for cells drawn at random"
    )
    heads = ("cells", "", "chance", "succeeded", "failed", "difference")
    return draft.finish(title, facts(run, network, 1), heads)


def table_4(
    run: AttentionRecords,
    dataset: str,
    network: str,
    variant: str = "",
    kept: AttentionRecords | None = None,
) -> AttentionTable:
    """Success of the attack and IoU of clean and adversarial areas after each round.

    Args:
        run: images under StepLL.
        dataset: name of the data, for files and headings.
        network: name of the network.
        variant: of the attack, where it is not the paper's: part of the file's name and of the
            statements.
        kept: the same attack with its target kept over rounds, to compare with where success falls.
    """
    method, sizes = gradient_method(run), [int(size) for size in run.study["cells"]]
    main = main_cells(run)
    draft = Draft("4", "_".join(filter(None, (dataset, network, variant))), list(TABLE_4.notes))
    for number in range(1, run.rounds + 1):
        _add_round(draft, run, (method, number, main))
        if number > 1:
            draft.claims += _from_round_before(run, method, number, main)
        for size in sizes:
            if size != main:
                found = _by_split(draft, run, (method, number, size), with_difference(None))
                chance = f"{_chance(run, size):.3f}"
                draft.more_rows.append((f"{number}", f"{size}", chance, *found.means()))
    title = (
        f"Success of the attack and IoU of the {method_name(method)} areas of clean and "
        f"adversarial image after each round, {main} cells (chance {_chance(run, main):.3f})"
    )
    if kept is not None:
        draft.notes += kept_target_notes(run, kept, f"table_4_{dataset}_{network}_kept_target.md")
    if variant:
        named = f"{variant.replace('_', ' ')}: "
        draft.claims = [replace(c, statement=named + c.statement) for c in draft.claims]
    other_heads = ("round", "cells", "chance", "succeeded", "failed", "difference")
    more = ("The same at other numbers of cells", other_heads)
    return draft.finish(title, facts(run, network), _HEADS, more)


_HEADS = (
    *("round", "", "ε", "succeeded %", "IoU, succeeded", "failed %", "IoU, failed"),
    *("difference", "IoU, all right"),
)


def _add_round(draft: Draft, run: AttentionRecords, measured: tuple[str, int, int]) -> None:
    """Both groups after a round, the paper's below."""
    method, number, size = measured
    printed = TABLE_4.rows.get(str(number))
    means = None if printed is None else printed[1::2]
    found = _by_split(draft, run, measured, with_difference(means))
    for split, inside in splits(run):
        count = int((run.correct & inside).sum())
        for place, (group, mask) in enumerate(_groups(run, number).items()):
            share = intervals.share(int((mask & inside).sum()), count)
            value = None if printed is None else printed[2 * place]
            draft.cells.append(Cell(split, f"round {number}", "percent", group, share, value))
    everybody = intervals.mean(run.iou_clean(method, size)[run.correct, number - 1])
    reach = f"{255 * total_epsilon(run.study['attack'], number):.3g}/255"
    draft.rows.append((f"{number}", "ours", reach, *found.texts(), everybody.text()))
    if printed is not None:
        draft.rows.append(("", "paper", "", *printed_texts(printed), "–"))
    statement = f"IoU clean-adversarial after round {number}, succeeded - failed"
    gap, headline = with_difference(means)[2], number == 3
    draft.claims.append(Claim(statement, found.difference, -1, gap, headline=headline))


def _by_split(
    draft: Draft,
    run: AttentionRecords,
    measured: tuple[str, int, int],
    printed: Sequence[float | None],
) -> Halves:
    """Both groups over all images; cells for each split, notes where a group is empty.

    Args:
        draft: gets cells and notes.
        run: the images.
        measured: method, round and number of cells.
        printed: the paper's means and their difference.
    """
    method, number, size = measured
    values = run.iou_clean(method, size)[:, number - 1]
    row = f"round {number}, {size} cells"
    for split, inside in splits(run):  # the last is all images
        found = halves(values, *(mask & inside for mask in _groups(run, number).values()))
        draft.cells += found.mean_cells(split, row, "IoU", printed)
    draft.notes += empty_notes(found, f"round {number}")
    return found


def _groups(run: AttentionRecords, number: int) -> dict[str, np.ndarray]:
    return {"succeeded": run.succeeded(number), "failed": run.failed(number)}


def _from_round_before(run: AttentionRecords, method: str, number: int, size: int) -> list[Claim]:
    """What a further round adds, on the same images."""
    rounds = f"round {number} - round {number - 1}"
    fooled, before = (run.succeeded(k)[run.correct].astype(float) for k in (number, number - 1))
    values = run.iou_clean(method, size)[run.correct]
    moved = intervals.mean(values[:, number - 1] - values[:, number - 2])
    gain, second = None, number == 2
    if str(number) in TABLE_4.rows:
        gain = (TABLE_4.rows[str(number)][0] - TABLE_4.rows[str(number - 1)][0]) / 100
    success = intervals.mean(fooled - before)
    return [
        Claim(f"success of the attack, {rounds}", success, 1, gain, percent=True, headline=second),
        Claim(f"IoU clean-adversarial, all right, {rounds}", moved, -1, headline=second),
    ]


def _chance(run: AttentionRecords, size: int) -> float:
    height, width = run.study["grid"]
    return chance_iou(size, height * width)


def _zero_cells_notes(run: AttentionRecords, method: str, sizes: list[int]) -> list[str]:
    """How many maps have fewer cells above zero than are kept."""
    height, width = run.study["grid"]
    fewest = height * width * run.measure(method, "positive")[run.correct, :2].min(axis=1)
    if not len(fewest):
        return []
    shares = (f"{size} cells {100 * np.mean(fewest < size - 0.5):.1f} %" for size in sizes)
    return [
        f"Images right whose clean or adversarial map has fewer cells above zero than are kept "
        f"(the rest of the area is where the map before its ReLU is highest): {', '.join(shares)}."
    ]
