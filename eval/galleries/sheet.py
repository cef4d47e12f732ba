"""What a gallery is made of before it is drawn: panels, groups of examples, the rule in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aad_tf import plots
from aad_tf.plots import Panel
from aad_tf.types import Bounds
from eval.galleries import captions
from eval.galleries.replay import Replayed, Source, replay
from eval.galleries.rules import Choice, typical
from eval.galleries.studies import Study

# Pixels of a panel's longer side; twice a photograph of 64 pixels.
SIDE = 128
# Of rising lightness, told apart by the color-blind and in gray; the image shows through.
_MAP_STYLE: dict[str, Any] = {"opacity": (0.35, 0.7), "colormap": "viridis", "gray": True}


@dataclass(frozen=True)
class Group:
    """Images that stand for a group of a study.

    Attributes:
        name: of the group.
        measure: name of the values whose median they are near.
        choice: what the rule chose.
        study: the records chosen from.
    """

    name: str
    measure: str
    choice: Choice
    study: Study


@dataclass(frozen=True)
class Sheet:
    """A gallery ready to be drawn.

    Attributes:
        rows: panels.
        row_titles: one a row, or none.
        column_titles: one a column.
        columns_together: columns of one example.
        groups: of examples.
        rule: how they were chosen, in words.
        rounds: rounds of the attack that are shown.
        legend: what colours and numbers mean.
    """

    rows: list[list[Panel]]
    row_titles: list[str]
    column_titles: list[str]
    columns_together: int
    groups: list[Group]
    rule: str
    rounds: int
    legend: str


def choose(
    study: Study,
    name: str,
    members: np.ndarray,
    allowed: np.ndarray,
    values: np.ndarray,
    measure: str,
    count: int,
) -> Group:
    """The typical images of a group.

    Args:
        study: the records.
        name: of the group.
        members: bool `[n]`.
        allowed: bool `[n]`; see `rules.typical`.
        values: `[n]`.
        measure: what the values are.
        count: at most so many.

    Raises:
        ValueError: no image is left.
    """
    choice = typical(members, allowed, values, study.label, study.index, count)
    if len(choice.places) == 0:
        raise ValueError(
            f"{study.path} has no image to show for the group {name!r}: {choice.group} belong to "
            f"it, none of them as the rule wants. Give records of more images."
        )
    return Group(name, measure, choice, study)


def replayed(source: Source, group: Group, features: int | None = None) -> list[Replayed]:
    """The images of a group, passed through the network again."""
    return replay(source, group.choice.places.tolist(), features)


def in_rows(examples: Sequence[list[Panel]], across: int) -> list[list[Panel]]:
    """Examples side by side, so many a row."""
    return [
        [panel for example in examples[start : start + across] for panel in example]
        for start in range(0, len(examples), across)
    ]


def original_panel(image: Replayed, with_box: bool = True) -> Panel:
    """The clean image with its boxes and true class."""
    picture = plots.enlarged(image.images[0], SIDE, bounds_of(image))
    if with_box:
        picture = plots.with_boxes(picture, image.source.study.boxes[image.place])
    return Panel(picture, caption=captions.truth(image))


def map_panel(image: Replayed, round_number: int, lines: Sequence[str] = ()) -> Panel:
    """The map, or LIME's area, after a round, over the image of that round."""
    picture = plots.enlarged(image.images[round_number], SIDE, bounds_of(image))
    if image.areas is None:
        painted = plots.overlay(picture, image.maps[round_number], **_MAP_STYLE)
    else:
        painted = plots.with_area(picture, image.areas[round_number])
    caption = "\n".join([captions.outcome(image, round_number), *lines])
    return Panel(painted, None, caption, captions.outcome_color(image, round_number))


def bounds_of(image: Replayed) -> Bounds:
    """Pixel range of an image."""
    return image.source.classifier.bounds
