"""One function per figure of [AAD]: which images of the records it shows, and how it is laid out.

These functions draw nothing and run no network: a `Sheet`, the layout of a figure, follows from
records alone, so that it can be checked against committed records. `eval.galleries.gallery` draws
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aad_tf.utils.files import PathLike
from eval.galleries import captions
from eval.galleries.rules import Choice, middle_half, typical
from eval.galleries.studies import Study, read_study

# Examples beside each other, and of each group.
_ACROSS, _EXAMPLES = 2, 4
# How many times as large Figure 3 draws the difference of two images.
DIFFERENCE_FACTOR = 10
_CONFIDENT = "whose confidence lies between the quartiles of all images right as they are"
_TIES = "one image per class, ties by index"
_MAPS = (
    "Maps: Grad-CAM of the true class, dark blue (0) to yellow (each map's highest cell). Below: "
    "✓ right or ✗ wrong prediction with its confidence."
)
_BOX = " White: ground-truth box."


@dataclass(frozen=True)
class Cell:
    """A panel of a figure.

    Attributes:
        kind: "original": the clean image with its boxes; "map": the attention map, or LIME's area,
            over the image; "image": the image alone; "difference": the difference from the clean
            image.
        study: position of the study in the sequence of studies, from 0.
        row: position of the image in that study.
        round_number: number of attack iterations before; 0 is the clean image.
        caption: text beneath; that of a difference is made when it is drawn.
        color: colour of the text.
    """

    kind: Literal["original", "map", "image", "difference"]
    study: int
    row: int
    round_number: int
    caption: str
    color: str = captions.CORRECT


@dataclass(frozen=True)
class Group:
    """Images that represent a group of images of a study, such as those misclassified.

    Attributes:
        name: name of the group.
        measure: name of the measure whose median in the group they are near to.
        choice: the images that were chosen.
        study: the records they were chosen from.
    """

    name: str
    measure: str
    choice: Choice
    study: Study


@dataclass(frozen=True)
class Sheet:
    """The layout of a figure, ready to be drawn.

    Attributes:
        cells: panels, row by row.
        row_titles: one per row, or none.
        column_titles: one per column.
        columns_together: number of columns that belong to one example; 0 for no grouping.
        groups: the groups of images that are represented.
        rule: how the images were chosen, in a sentence.
        rounds: number of attack iterations that are shown.
        legend: what colours and numbers mean, in words.
    """

    cells: list[list[Cell]]
    row_titles: list[str]
    column_titles: list[str]
    columns_together: int
    groups: list[Group]
    rule: str
    rounds: int
    legend: str


def figures_1_and_9(studies: Sequence[Study], features: int | None = None) -> Sheet:
    """[AAD Figs. 1, 9]: attention before and after an attack, by its success.

    There are two groups: correctly classified images that the first round (iteration) of the attack
    gets misclassified, and those that it does not. Of each group up to four images are shown, one
    per class: those whose IoU of clean attention area and box is nearest to the group's median,
    among images whose confidence lies between the quartiles of all correctly classified images.
    For Grad-CAM the attention area has as many of the highest pixels as the box; for LIME it is the
    superpixels, at most `features`, of highest positive weight. Images without a box are left out.

    Args:
        studies: one `Study`, the records that `eval.attention` wrote of a network under an attack.
        features: number of LIME's superpixels, for [AAD Fig. 9]; None for Grad-CAM, [AAD Fig. 1].

    Returns:
        The layout.

    Raises:
        ValueError: no image of a group may be shown.
    """
    (study,) = studies
    correct, succeeded = study.records.correct, study.succeeded(1)
    allowed = middle_half(study.records.confidence[:, 0], correct)
    groups = [
        _chosen(study, name, members, allowed, study.iou_box[:, 0], "IoU of box and map")
        for name, members in (
            ("attack succeeded", succeeded),
            ("attack failed", correct & ~succeeded),
        )
    ]

    def panels(row: int) -> list[Cell]:
        return [_original(study, row), _map(study, row, 0), _map(study, row, 1)]

    drawn = "map" if features is None else "LIME"
    rule = (
        f"Rule: of the images {_CONFIDENT}, those whose clean map's IoU with the box is nearest "
        f"to the median of their group (attack succeeded or failed after round 1: n images); "
        f"{_TIES}."
    )
    legend = _MAPS if features is None else _lime_legend(features)
    columns = ["original", f"{drawn}, clean", f"{drawn}, attacked"]
    return _by_group(groups, panels, columns, rule, legend + _BOX)


def figure_2(studies: Sequence[Study]) -> Sheet:
    """[AAD Fig. 2]: attention over the rounds of an attack that succeeds in the second round.

    Shown are up to four images, one per class, that are classified correctly after round 1 and
    misclassified after round 2: those whose IoU of clean map and map after the last round shown is
    nearest to the median of all such images, among images whose confidence lies between the
    quartiles of all correctly classified images.

    Args:
        studies: one study, of at least two rounds (iterations of the attack); at most five are
            shown.

    Returns:
        The layout.

    Raises:
        ValueError: fewer than two rounds, or no image that may be shown.
    """
    (study,) = studies
    rounds = min(study.records.rounds, 5)
    members = study.succeeded(2) & ~study.succeeded(1)
    allowed = middle_half(study.records.confidence[:, 0], study.records.correct)
    name = "right after round 1, wrong after round 2"
    measure = f"IoU of clean map and map after round {rounds}"
    group = _chosen(study, name, members, allowed, study.iou_clean[:, rounds - 1], measure)
    cells = [_over_rounds(study, row, rounds) for row in group.choice.rows]
    rule = (
        f"Rule: of the {group.choice.group} images right after round 1 and wrong after round 2, "
        f"and {_CONFIDENT}, those whose {measure} is nearest to the median of the "
        f"{group.choice.group}; {_TIES}."
    )
    return Sheet(cells, [], _round_titles(rounds), 0, [group], rule, rounds, _MAPS + _BOX)


def figure_3(studies: Sequence[Study]) -> Sheet:
    """[AAD Fig. 3]: images before and after three rounds of an attack, and their difference.

    Shown are up to six images, one per class, that are classified correctly when clean and
    misclassified after round 3: those whose confidence is nearest to the median of all such images.

    Args:
        studies: one study, of at least three rounds (iterations of the attack).

    Returns:
        The layout.

    Raises:
        ValueError: fewer than three rounds, or no image that may be shown.
    """
    (study,) = studies
    values = study.records.confidence[:, 0]
    everything = np.ones(len(values), bool)
    name = "wrong after round 3"
    group = _chosen(study, name, study.succeeded(3), everything, values, "confidence", 6)
    rows = group.choice.rows
    cells = [
        [_image(study, row, 0) for row in rows],
        [_image(study, row, 3) for row in rows],
        [Cell("difference", 0, row, 3, "") for row in rows],
    ]
    titles = ["original", "after\nthree rounds", f"difference\n× {DIFFERENCE_FACTOR}"]
    columns = [captions.truth(study, row) for row in rows]
    rule = (
        f"Rule: of the {group.choice.group} images right as they are and wrong after round 3, "
        f"those whose confidence is nearest to the median; {_TIES}."
    )
    legend = (
        f"Below: ✓ right or ✗ wrong prediction with its confidence; largest and mean difference of "
        f"pixels in 255ths. Differences are drawn {DIFFERENCE_FACTOR} times as large around mid "
        f"gray."
    )
    return Sheet(cells, titles, columns, 0, [group], rule, 3, legend)


def figure_11(studies: Sequence[Study]) -> Sheet:
    """[AAD Fig. 11]: attention over the rounds of an attack, without and with A3's attention term.

    Shown are up to two images of different classes that the plain attack gets misclassified in its
    last round shown: those whose IoU of clean map and map after that round is nearest to the median
    of all such images, among images whose confidence lies between the quartiles of all correctly
    classified images. The attacks with A3 have no part in the choice.

    Args:
        studies: the study of the plain attack, then those of A3; at most three rounds (iterations
            of the attack) are shown.

    Returns:
        The layout.

    Raises:
        ValueError: no image may be shown.
    """
    plain = studies[0]
    rounds = min(3, *(study.records.rounds for study in studies))
    allowed = middle_half(plain.records.confidence[:, 0], plain.records.correct)
    attacks = [captions.attack_name(study.attack) for study in studies]
    name = f"wrong after round {rounds} of {attacks[0]}"
    measure = f"IoU of clean map and map after round {rounds}"
    values = plain.iou_clean[:, rounds - 1]
    group = _chosen(plain, name, plain.succeeded(rounds), allowed, values, measure, 2)
    cells = [
        _over_rounds(study, row, rounds, number)
        for row in group.choice.rows
        for number, study in enumerate(studies)
    ]
    titles = [attack.replace(" + ", "\n+ ").replace(", ", "\n") for attack in attacks]
    rule = (
        f"Rule: of the {group.choice.group} images {name}, and {_CONFIDENT}, those whose "
        f"{measure} under that attack is nearest to the median of the {group.choice.group}; "
        f"{_TIES}. The attacks with A3 had no part in the choice."
    )
    titles *= len(group.choice.rows)
    return Sheet(cells, titles, _round_titles(rounds), 0, [group], rule, rounds, _MAPS + _BOX)


def figures_12_and_13(studies: Sequence[Study]) -> Sheet:
    """[AAD Figs. 12, 13]: attention under attack of a plain and of a defended network.

    There are two groups of images that both networks classify correctly and that the attack on the
    plain network gets misclassified in round 1: those on which the attack on the defended network
    fails, and those on which it succeeds. Of each up to four are shown, one per class: those whose
    IoU of the box and the defended network's map of the attacked image is nearest to the group's
    median, among images whose confidence by the plain network lies between the quartiles of all
    that it classifies correctly. Images without a box are left out.

    Args:
        studies: the study of the plain network, then that of the defended one, of the same images.

    Returns:
        The layout.

    Raises:
        ValueError: no image of a group may be shown.
    """
    plain, trained = studies
    attacked = plain.succeeded(1) & trained.records.correct
    allowed = middle_half(plain.records.confidence[:, 0], plain.records.correct)
    measure = f"IoU of box and map of the attacked image, {trained.name}"
    groups = [
        _chosen(trained, name, attacked & members, allowed, trained.iou_box[:, 1], measure)
        for name, members in (
            ("(a) defence succeeded", ~trained.succeeded(1)),
            ("(b) defence failed", trained.succeeded(1)),
        )
    ]

    def panels(row: int) -> list[Cell]:
        return [_original(plain, row), _map(plain, row, 1), _map(trained, row, 1, 1)]

    rule = (
        f"Rule: of the images that both networks get right, that the attack on the first network "
        f"flips and {_CONFIDENT} by the first, those whose map of the attacked image under "
        f"the second network has the IoU with the box nearest to the median of their group (attack "
        f"on the second network failed or succeeded after round 1: n images); {_TIES}."
    )
    legend = f"Each network is attacked on its own. {_MAPS}{_BOX}"
    return _by_group(groups, panels, ["original", plain.name, trained.name], rule, legend)


@dataclass(frozen=True)
class Gallery:
    """A figure that can be drawn.

    Attributes:
        title: what it shows.
        files: what each file of records that it takes holds, in their order.
        sheet: a function from the studies to the layout.
        features: number of LIME's superpixels; None if the maps are Grad-CAM's.
    """

    title: str
    files: tuple[str, ...]
    sheet: Callable[[Sequence[Study]], Sheet]
    features: int | None = None

    def read(self, path: PathLike) -> Study:
        """Reads a file of records with the columns that this figure needs."""
        if self.features is None:
            return read_study(path)
        return read_study(path, "lime", str(self.features), str(self.features))


_FEATURES = 8
_DEFENDED = ("the plain network", "the adversarially trained network")
GALLERIES = {
    1: Gallery("Attention before and after the attack", ("an attack",), figures_1_and_9),
    2: Gallery("Attention over the rounds of the attack", ("five rounds",), figure_2),
    3: Gallery("Images before and after three rounds", ("three rounds",), figure_3),
    9: Gallery(
        "Attention by LIME before and after the attack",
        ("LIME",),
        functools.partial(figures_1_and_9, features=_FEATURES),
        _FEATURES,
    ),
    11: Gallery(
        "Attention over rounds, without and with the attention term of A3",
        ("the plain attack", "A3 with positive sigma", "A3 with negative sigma"),
        figure_11,
    ),
    12: Gallery("Attention after ensemble adversarial training", _DEFENDED, figures_12_and_13),
    13: Gallery("Attention after adversarial training with StepLL", _DEFENDED, figures_12_and_13),
}


def gallery_of(number: int, files: int) -> Gallery:
    """Finds a figure by its number in the paper.

    Args:
        number: 1, 2, 3, 9, 11, 12 or 13.
        files: number of files of records that are given.

    Returns:
        The figure.

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


def _chosen(
    study: Study,
    name: str,
    members: np.ndarray,
    allowed: np.ndarray,
    values: np.ndarray,
    measure: str,
    count: int = _EXAMPLES,
) -> Group:
    """The images nearest to the median of a group, see `rules.typical`; refuses to find none."""
    choice = typical(members, allowed, values, study.records.label, study.records.index, count)
    if len(choice.rows) == 0:
        raise ValueError(
            f"{study.path} has no image to show for the group {name!r}: {choice.group} belong to "
            f"it, none of them as the rule wants. Give records of more images."
        )
    return Group(name, measure, choice, study)


def _original(study: Study, row: int, number: int = 0) -> Cell:
    return Cell("original", number, row, 0, captions.truth(study, row))


def _map(study: Study, row: int, round_number: int, number: int = 0, box: bool = True) -> Cell:
    words, color = captions.outcome(study, row, round_number)
    lines = captions.overlap(study, row, round_number, box)
    return Cell("map", number, row, round_number, "\n".join([words, *lines]), color)


def _image(study: Study, row: int, round_number: int) -> Cell:
    return Cell("image", 0, row, round_number, *captions.outcome(study, row, round_number))


def _over_rounds(study: Study, row: int, rounds: int, number: int = 0) -> list[Cell]:
    maps = [_map(study, row, k, number, box=False) for k in range(rounds + 1)]
    return [_original(study, row, number), *maps]


def _round_titles(rounds: int) -> list[str]:
    return ["original", "clean", *(f"round {number}" for number in range(1, rounds + 1))]


def _by_group(
    groups: list[Group],
    panels: Callable[[int], list[Cell]],
    columns: list[str],
    rule: str,
    legend: str,
) -> Sheet:
    """Groups below each other, two of their examples per row; `panels` draws an example."""
    cells, titles = [], []
    for group in groups:
        title = "\n".join([*group.name.rsplit(" ", 1), f"n = {group.choice.group:,}"])
        for start in range(0, len(group.choice.rows), _ACROSS):
            beside = group.choice.rows[start : start + _ACROSS]
            cells.append([cell for row in beside for cell in panels(row)])
            titles.append(title)
    headings = columns * (max(map(len, cells)) // len(columns))
    return Sheet(cells, titles, headings, len(columns), groups, rule, 1, legend)


def _lime_legend(features: int) -> str:
    return (
        f"In colour: the superpixels, at most {features}, that LIME finds to speak most for the "
        f"true class. Below: ✓ right or ✗ wrong prediction with its confidence."
    )
