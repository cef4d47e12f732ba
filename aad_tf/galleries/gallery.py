"""Draws a gallery and writes what it shows and how it was chosen beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aad_tf.galleries import captions, layouts
from aad_tf.galleries.replay import Source
from aad_tf.galleries.sheet import SIDE, Group, Sheet
from aad_tf.galleries.studies import Study, read_study
from aad_tf.plots import attention_grid, png_bytes, write_whole
from aad_tf.provenance import provenance, provenance_path
from aad_tf.results import PathLike, check_writable, write_json_atomically

_DPI = 100
# A repository shall not grow by pictures: as many levels a colour as keep a file below this.
_LARGEST_FILE = 300_000
_LEVELS = (64, 32, 24, 16)


@dataclass(frozen=True)
class Gallery:
    """A figure that can be drawn.

    Attributes:
        title: what it shows.
        files: what files of records it takes, in their order.
        layout: from the sources to the panels.
        method: whose maps are drawn.
        box_area: area compared with the box, as records name it.
        cells: size of the areas compared with the clean map's.
    """

    title: str
    files: tuple[str, ...]
    layout: Callable[[Sequence[Source]], Sheet]
    method: str = "grad_cam"
    box_area: str = "equal_area"
    cells: str = "10"

    def read(self, path: PathLike) -> Study:
        """Reads a file of records with the columns this figure needs."""
        return read_study(path, self.method, self.box_area, self.cells)


_FEATURES = 8
_DEFENDED = ("the plain network", "the adversarially trained network")
GALLERIES = {
    1: Gallery("Attention before and after the attack", ("an attack",), layouts.attacked),
    2: Gallery("Attention over the rounds of the attack", ("five rounds",), layouts.over_rounds),
    3: Gallery("Images before and after three rounds", ("three rounds",), layouts.three_rounds),
    9: Gallery(
        "Attention by LIME before and after the attack",
        ("LIME",),
        functools.partial(layouts.attacked, features=_FEATURES),
        "lime",
        str(_FEATURES),
        str(_FEATURES),
    ),
    11: Gallery(
        "Attention over rounds, without and with the attention term of A3",
        ("the plain attack", "A3 with positive sigma", "A3 with negative sigma"),
        layouts.augmented,
    ),
    12: Gallery("Attention after ensemble adversarial training", _DEFENDED, layouts.defended),
    13: Gallery("Attention after adversarial training with StepLL", _DEFENDED, layouts.defended),
}


def make_gallery(number: int, sources: Sequence[Source], output: PathLike) -> dict[str, Any]:
    """Draws a figure of [AAD] from records, and redoes the passes of the images it shows.

    Args:
        number: a key of `GALLERIES`.
        sources: records with network and data, as `GALLERIES[number].files` lists them.
        output: PNG file to write; a JSON file of the same name says what it shows.

    Returns:
        What the JSON file holds: figure, title, rule, attacks, groups with the images chosen,
        records, provenance.

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
    sheet = gallery.layout(sources)
    figure, attacks = _drawn(number, gallery, sheet, sources)
    content = {
        "figure": f"AAD Fig. {number}",
        "number": number,
        "title": gallery.title,
        "picture": output.name,
        "rule": sheet.rule,
        "legend": sheet.legend,
        "attacks": attacks,
        "rounds": sheet.rounds,
        "panels": sum(map(len, sheet.rows)),
        "groups": [_group(group) for group in sheet.groups],
        "records": [_records(source) for source in sources],
        "provenance": provenance(),
    }
    write_whole(_small_png(figure), output)
    write_json_atomically(output.with_suffix(".json"), content)
    return content


def gallery_of(number: int, files: int) -> Gallery:
    """The figure of a number, if it takes so many files of records.

    Raises:
        ValueError: an unknown figure, or another number of files.
    """
    if number not in GALLERIES:
        raise ValueError(f"figure must be one of {', '.join(map(str, GALLERIES))}, got {number}.")
    gallery = GALLERIES[number]
    if files != len(gallery.files):
        raise ValueError(
            f"Figure {number} takes {len(gallery.files)} file(s) of records "
            f"({'; '.join(gallery.files)}), got {files}."
        )
    return gallery


def _drawn(
    number: int, gallery: Gallery, sheet: Sheet, sources: Sequence[Source]
) -> tuple[Figure, list[str]]:
    attacks = list(
        dict.fromkeys(captions.threat_model(source.study, sheet.rounds) for source in sources)
    )
    columns = len(sheet.column_titles)
    width = columns * (SIDE / _DPI + 0.08) + (0.9 if sheet.row_titles else 0) - 0.1
    lines = [
        line
        for text in (*attacks, sheet.rule, sheet.legend)
        for line in captions.wrapped(text, width, _DPI)
    ]
    figure = attention_grid(
        sheet.rows,
        column_titles=sheet.column_titles,
        row_titles=sheet.row_titles,
        heading=[f"AAD Fig. {number}: {gallery.title}", *lines],
        columns_together=sheet.columns_together,
        panel_inches=SIDE / _DPI,
        dpi=_DPI,
    )
    return figure, attacks


def _small_png(figure: Figure) -> bytes:
    for levels in _LEVELS:
        content = png_bytes(figure, levels)
        if len(content) <= _LARGEST_FILE:
            break
    return content


def _group(group: Group) -> dict[str, Any]:
    study, choice = group.study, group.choice
    return {
        "name": group.name,
        "images": choice.group,
        "candidates": choice.candidates,
        "measure": group.measure,
        "median": round(choice.median, 4),
        "examples": [_example(study, int(place)) for place in choice.places],
    }


def _example(study: Study, place: int) -> dict[str, Any]:
    label = int(study.label[place])
    return {
        "index": int(study.index[place]),
        "label": label,
        "class": study.class_name(label),
        "prediction": study.prediction[place].tolist(),
        "top_confidence": study.top_confidence[place].tolist(),
        "iou_box": [None if np.isnan(value) else value for value in study.iou_box[place].tolist()],
        "iou_clean": study.iou_clean[place].tolist(),
    }


def _records(source: Source) -> dict[str, Any]:
    study = source.study
    return {
        "file": provenance_path(study.path),
        "network": source.name,
        "weights": study.summary["fingerprint"]["weights"],
        "attention_layer": study.facts["attention_layer"],
        "dataset": dict(study.dataset),
        "attack": study.facts["attack"],
        "counts": study.summary["counts"],
    }
