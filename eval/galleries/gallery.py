"""Draws a figure of [AAD], and writes a JSON file on what it shows and how that was chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aad_tf import plots
from aad_tf.utils.files import PathLike, check_writable, write_atomically, write_json_atomically
from aad_tf.utils.provenance import provenance, provenance_path
from eval.galleries import captions
from eval.galleries.paper_figures import (
    DIFFERENCE_FACTOR,
    GALLERIES,
    Cell,
    Group,
    Sheet,
    gallery_of,
)
from eval.galleries.replay import Replayed, Source, replay
from eval.galleries.studies import Study, common_images

# Pixels of a panel's longer side; twice a photograph of 64 pixels.
_SIDE = 128
_DPI = 100
# Of rising lightness, told apart by the color-blind and in gray; the image shows through in gray.
_MAP_STYLE: dict[str, Any] = {"opacity": (0.35, 0.7), "colormap": "viridis", "gray": True}
# A repository shall not grow by figures: as many levels of a colour as keep a file below this.
_LARGEST_FILE = 300_000
_LEVELS = (64, 32, 24, 16)


def make_gallery(number: int, sources: Sequence[Source], output: PathLike) -> dict[str, Any]:
    """Draws a figure of [AAD] from records; the images shown are attacked and explained again.

    Args:
        number: number of the figure: 1, 2, 3, 9, 11, 12 or 13.
        sources: the records that the figure takes, in its order, with their networks and data.
        output: PNG file to write; a JSON file of the same name says what it shows.

    Returns:
        What the JSON file holds: what `described` returns, and `provenance`.

    Raises:
        ValueError: an unknown figure, another number of sources, records of another network, a
            pass that differs from the records, or no image that fits the rule.
        OSError: a file cannot be written.
    """
    gallery = gallery_of(number, len(sources))
    output = Path(output)
    if output.suffix != ".png":
        raise ValueError(f"output must be a .png file, got {output}.")
    check_writable(output)
    studies = common_images([source.study for source in sources])
    sheet = gallery.sheet(studies)
    sources = [
        dataclasses.replace(source, study=study)
        for source, study in zip(sources, studies, strict=True)
    ]
    content = {**described(number, sheet, studies, output.name), "provenance": provenance()}
    figure = drawn(number, sheet, sources)
    with write_atomically(output) as file:
        file.write(_small_png(figure))
    write_json_atomically(output.with_suffix(".json"), content)
    return content


def described(number: int, sheet: Sheet, studies: Sequence[Study], png: str) -> dict[str, Any]:
    """Describes what a figure shows and how its examples were chosen, as JSON can hold it.

    Args:
        number: number of the figure.
        sheet: what is drawn.
        studies: the records it is drawn from.
        png: name of the image file.

    Returns:
        A dict of the figure's title and file, the rule of choice, legend, attacks, number of
        rounds and of panels, the groups with the images chosen, and the records.
    """
    return {
        "figure": f"AAD Fig. {number}",
        "number": number,
        "title": GALLERIES[number].title,
        "picture": png,
        "rule": sheet.rule,
        "legend": sheet.legend,
        "attacks": _attacks(sheet, studies),
        "rounds": sheet.rounds,
        "panels": sum(map(len, sheet.cells)),
        "groups": [_group(group) for group in sheet.groups],
        "records": [_records(study) for study in studies],
    }


def drawn(number: int, sheet: Sheet, sources: Sequence[Source]) -> Figure:
    """Draws a figure.

    Args:
        number: number of the figure.
        sheet: what is drawn.
        sources: the records with their networks and data, cut to the images that all of them have.

    Returns:
        A matplotlib figure, whose axes are the cells of the sheet, row by row.

    Raises:
        ValueError: predictions or confidences that differ from the records.
    """
    cells = [cell for row in sheet.cells for cell in row]
    features = GALLERIES[number].features
    replayed = [
        replay(source, sorted({cell.row for cell in cells if cell.study == index}), features)
        for index, source in enumerate(sources)
    ]
    attacks = _attacks(sheet, [source.study for source in sources])
    return plots.attention_grid(
        [
            [panel(cell, replayed[cell.study][cell.row], sources[cell.study]) for cell in row]
            for row in sheet.cells
        ],
        column_titles=sheet.column_titles,
        row_titles=sheet.row_titles,
        heading=[
            f"AAD Fig. {number}: {GALLERIES[number].title}",
            *attacks,
            sheet.rule,
            sheet.legend,
        ],
        columns_together=sheet.columns_together,
        panel_inches=_SIDE / _DPI,
        dpi=_DPI,
    )


def panel(cell: Cell, image: Replayed, source: Source) -> plots.Panel:
    """Makes the panel of one cell of a figure.

    Args:
        cell: what is drawn, and after how many attack iterations.
        image: the image, clean and after each iteration, with its maps.
        source: the records of the image, with its boxes, and its network, with the pixel range.

    Returns:
        The panel.
    """
    bounds, number = source.classifier.bounds, cell.round_number
    if cell.kind == "difference":
        change = (image.images[number] - image.images[0]) / (bounds.upper - bounds.lower)
        in_255ths = 255 * np.abs(change)
        caption = f"max {in_255ths.max():.1f}, mean {in_255ths.mean():.1f}"
        # Around mid gray.
        return plots.Panel(plots.enlarged(0.5 + DIFFERENCE_FACTOR * change, _SIDE), None, caption)
    colours = plots.enlarged(image.images[number], _SIDE, bounds)
    if cell.kind == "original":
        colours = plots.with_boxes(colours, source.study.records.boxes[cell.row])
    elif cell.kind == "map" and image.areas is not None:
        colours = plots.with_area(colours, image.areas[number])
    elif cell.kind == "map":
        colours = plots.overlay(colours, image.maps[number], **_MAP_STYLE)
    return plots.Panel(colours, None, cell.caption, cell.color)


def _attacks(sheet: Sheet, studies: Sequence[Study]) -> list[str]:
    """Threat models in words, each once."""
    return list(dict.fromkeys(captions.threat_model(study, sheet.rounds) for study in studies))


def _small_png(figure: Figure) -> bytes:
    for levels in _LEVELS:
        content = plots.png_bytes(figure, levels)
        if len(content) <= _LARGEST_FILE:
            break
    return content


def _group(group: Group) -> dict[str, Any]:
    choice = group.choice
    return {
        "name": group.name,
        "images": choice.group,
        "candidates": choice.candidates,
        "measure": group.measure,
        "median": round(choice.median, 4),
        "examples": [_example(group.study, int(row)) for row in choice.rows],
    }


def _example(study: Study, row: int) -> dict[str, Any]:
    records = study.records
    label = int(records.label[row])
    return {
        "index": int(records.index[row]),
        "label": label,
        "class": study.class_name(label),
        "prediction": records.prediction[row].tolist(),
        "top_confidence": records.top_confidence[row].tolist(),
        "iou_box": [None if np.isnan(value) else value for value in study.iou_box[row].tolist()],
        "iou_clean": study.iou_clean[row].tolist(),
    }


def _records(study: Study) -> dict[str, Any]:
    return {
        "file": provenance_path(study.path),
        "network": study.name,
        "weights": study.records.fingerprint["weights"],
        "attention_layer": study.records.study["attention_layer"],
        "dataset": dict(study.dataset),
        "attack": study.threat_model,
        "counts": study.summary["counts"],
    }
