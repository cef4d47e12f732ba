"""[AAD Tables 7, 8]: Tables 1 and 3 with LIME in place of Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention.by_outcome import by_outcome, printed_means, with_difference
from analysis.attention.caption import facts, splits
from analysis.attention.study_table import StudyTable
from analysis.findings import Finding
from analysis.paper_values import TABLE_7, TABLE_8, PaperTable


def table_7(run: AttentionRecords, dataset: str, network: str) -> StudyTable:
    """[AAD Table 7]: IoU of LIME's best superpixels of the clean image and the box, by outcome.

    Args:
        run: records with LIME explanations.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table.
    """
    title = "IoU of LIME's best superpixels and the box, clean images right and with a box"
    table = _empty("7", title, run, (dataset, network), TABLE_7)
    columns = {features: run.iou_box("lime", features)[:, 0] for features in _features(run)}
    return _fill(table, run, TABLE_7, columns, run.correct & run.has_box, "LIME, IoU with the box")


def table_8(run: AttentionRecords, dataset: str, network: str) -> StudyTable:
    """[AAD Table 8]: IoU of LIME's best superpixels of clean and attacked image, by outcome.

    It is after the first attack iteration.

    Args:
        run: records with LIME explanations.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table.
    """
    title = "IoU of LIME's best superpixels of clean and adversarial image after round 1"
    table = _empty("8", title, run, (dataset, network), TABLE_8)
    columns = {features: run.iou_clean("lime", features)[:, 0] for features in _features(run)}
    return _fill(table, run, TABLE_8, columns, run.correct, "LIME, IoU clean-adversarial", True)


def _features(run: AttentionRecords) -> list[int]:
    return [int(count) for count in run.study["features"]]


def _empty(
    number: str, title: str, run: AttentionRecords, names: tuple[str, str], paper: PaperTable
) -> StudyTable:
    title = f"{title}, by number of superpixels kept"
    caption = (*facts(run, names[1], 1), lime_fact(run))
    return StudyTable(number, "_".join(names), title, caption, [*paper.notes])


def _fill(
    table: StudyTable,
    run: AttentionRecords,
    paper: PaperTable,
    columns: Mapping[int, np.ndarray],
    usable: np.ndarray,
    what: str,
    repeated: bool = False,
) -> StudyTable:
    rows: list[tuple[str, ...]] = []
    for features, values in columns.items():
        printed = paper.rows.get(str(features))
        for split, inside in splits(run):  # the last is all images
            masks = (run.succeeded(1) & usable & inside, run.failed(1) & usable & inside)
            found = by_outcome(values, *masks)
            found.note_means(table, split, f"{features} features", "IoU", printed)
        rows.append((f"{features}", "ours", found.means.counts, *found.means.texts()))
        if printed is not None:
            rows.append(("", "paper", "", *printed_means(printed)))
        if repeated:
            rows += _repeat(table, run, features)
        statement = f"{what} at {features} features, succeeded - failed"
        gap, headline = with_difference(printed)[2], features == 8
        table.findings.append(
            Finding(statement, found.means.difference, -1, gap, headline=headline)
        )
        found.remark(table, f"{features} features")
    heads = ("features", "", "n, succeeded / failed", "succeeded", "failed", "difference")
    table.add(heads, rows)
    return table


def _repeat(table: StudyTable, run: AttentionRecords, features: int) -> list[tuple[str, ...]]:
    """What LIME's own samples make of a clean image explained twice: the floor of Table 8."""
    repeat = run.iou_repeat(features)
    if repeat is None:
        return []
    moved = run.iou_clean("lime", features)[:, 0] - repeat
    for split, inside in splits(run):  # the last is all images
        masks = (run.succeeded(1) & inside, run.failed(1) & inside)
        found, beyond = by_outcome(repeat, *masks), by_outcome(moved, *masks)
        row = f"{features} features"
        found.note_means(table, split, row, "IoU, same image, other samples")
        beyond.note_means(table, split, row, "IoU, less that of the same image")
    table.remarks.append(
        f"Same image, other samples: the clean image explained twice by LIME on the same "
        f"superpixels, its own noise. An adversarial image is segmented anew, so that a part of "
        f"what lies beyond may be the segmentation's. At {features} features clean and adversarial "
        f"areas overlap by {beyond.means.first.text(sign=True)} against that where the attack "
        f"succeeds and by {beyond.means.second.text(sign=True)} where it fails (same images); an "
        f"interval that holds 0 shows no movement beyond the noise."
    )
    return [("", "same image, other samples", found.means.counts, *found.means.texts())]


def lime_fact(run: AttentionRecords) -> str:
    """A sentence on the settings of LIME, its superpixels, and how well its local models fit."""
    options = run.study.get("lime") or {}
    listed = "".join(f", {name} {value}" for name, value in options.items())
    segments, score = (run.measure("lime", name)[run.correct, 0] for name in ("segments", "score"))
    most = max(_features(run))
    if not len(segments):
        return f"LIME{listed}."
    whole = 100 * float(np.mean(segments <= most))
    return (
        f"LIME{listed}; on average {segments.mean():.1f} superpixels an image and a local R² of "
        f"{np.nanmean(score):.2f} (clean images right); {whole:.1f} % have no more than {most} "
        f"superpixels, so that all of the image is kept."
    )
