"""[AAD Tables 7, 8]: Tables 1 and 3 with LIME in place of Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention.caption import facts, splits
from analysis.attention.claims import Claim
from analysis.attention.halves import empty_notes, halves, printed_means, with_difference
from analysis.attention.table import AttentionTable, Draft
from analysis.paper_values import TABLE_7, TABLE_8, PaperTable


def table_7(run: AttentionRecords, dataset: str, network: str) -> AttentionTable:
    """IoU of LIME's best superpixels of the clean image and the box.

    Args:
        run: images whose LIME explanations were recorded.
        dataset: name of the data, for files and headings.
        network: name of the network.
    """
    return _table(
        ("7", "IoU of LIME's best superpixels and the box, clean images right and with a box"),
        (run, dataset, network),
        TABLE_7,
        lambda features: run.iou_box("lime", features)[:, 0],
        run.correct & run.has_box,
        "LIME, IoU with the box",
    )


def table_8(run: AttentionRecords, dataset: str, network: str) -> AttentionTable:
    """IoU of LIME's best superpixels of the clean and the adversarial image, after round 1.

    Args:
        run: images whose LIME explanations were recorded.
        dataset: name of the data, for files and headings.
        network: name of the network.
    """
    return _table(
        ("8", "IoU of LIME's best superpixels of clean and adversarial image after round 1"),
        (run, dataset, network),
        TABLE_8,
        lambda features: run.iou_clean("lime", features)[:, 0],
        run.correct,
        "LIME, IoU clean-adversarial",
        repeated=True,
    )


def _table(
    title: tuple[str, str],
    source: tuple[AttentionRecords, str, str],
    paper: PaperTable,
    measure: Callable[[int], np.ndarray],
    usable: np.ndarray,
    what: str,
    repeated: bool = False,
) -> AttentionTable:
    run, dataset, network = source
    draft = Draft(title[0], f"{dataset}_{network}", list(paper.notes))
    for features in map(int, run.study["features"]):
        printed = paper.rows.get(str(features))
        values = with_difference(printed)
        for split, inside in splits(run):  # the last is all images
            masks = (run.succeeded(1) & usable & inside, run.failed(1) & usable & inside)
            found = halves(measure(features), *masks)
            draft.cells += found.mean_cells(split, f"{features} features", "IoU", values)
        counts = f"{found.succeeded.count:,} / {found.failed.count:,}"
        draft.rows.append((f"{features}", "ours", counts, *found.means()))
        if printed is not None:
            draft.rows.append(("", "paper", "", *printed_means(printed)))
        if repeated:
            _add_repeat(draft, run, features)
        statement = f"{what} at {features} features, succeeded - failed"
        claim = Claim(statement, found.difference, -1, values[2], headline=features == 8)
        draft.claims.append(claim)
        draft.notes += empty_notes(found, f"{features} features")
    heads = ("features", "", "n, succeeded / failed", "succeeded", "failed", "difference")
    caption = (*facts(run, network, 1), lime_fact(run))
    return draft.finish(f"{title[1]}, by number of superpixels kept", caption, heads)


def _add_repeat(draft: Draft, run: AttentionRecords, features: int) -> None:
    """What LIME's own samples make of a clean image explained twice: the floor of Table 8."""
    repeat = run.iou_repeat(features)
    if repeat is None:
        return
    moved = run.iou_clean("lime", features)[:, 0] - repeat
    for split, inside in splits(run):  # the last is all images
        masks = (run.succeeded(1) & inside, run.failed(1) & inside)
        row, nothing = f"{features} features", (None, None, None)
        found = halves(repeat, *masks)
        draft.cells += found.mean_cells(split, row, "IoU, same image, other samples", nothing)
        beyond = halves(moved, *masks)
        draft.cells += beyond.mean_cells(split, row, "IoU, less that of the same image", nothing)
    counts = f"{found.succeeded.count:,} / {found.failed.count:,}"
    draft.rows.append(("", "same image, other samples", counts, *found.means()))
    draft.notes.append(
        f"Same image, other samples: the clean image explained twice by LIME, its own noise. At "
        f"{features} features clean and adversarial areas overlap by "
        f"{beyond.succeeded.text(sign=True)} against that where the attack succeeds and by "
        f"{beyond.failed.text(sign=True)} where it fails (same images); an interval that holds 0 "
        f"shows no movement beyond the noise."
    )


def lime_fact(run: AttentionRecords) -> str:
    """How LIME was set up, and how well its local models fit."""
    options = run.study.get("lime") or {}
    listed = "".join(f", {name} {value}" for name, value in options.items())
    segments, score = (run.measure("lime", name)[run.correct, 0] for name in ("segments", "score"))
    most = max(map(int, run.study["features"]))
    if not len(segments):
        return f"LIME{listed}."
    whole = 100 * float(np.mean(segments <= most))
    return (
        f"LIME{listed}; on average {segments.mean():.1f} superpixels an image and a local R² of "
        f"{np.nanmean(score):.2f} (clean images right); {whole:.1f} % have no more than {most} "
        f"superpixels, so that all of the image is kept."
    )
