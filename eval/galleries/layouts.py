"""One function a figure of [AAD]: which images, and which panels stand where."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from aad_tf import plots
from aad_tf.plots import Panel
from eval.galleries import captions
from eval.galleries.replay import Replayed, Source
from eval.galleries.rules import middle_half
from eval.galleries.sheet import (
    SIDE,
    Group,
    Sheet,
    bounds_of,
    choose,
    in_rows,
    map_panel,
    original_panel,
    replayed,
)
from eval.galleries.studies import common_images

# Examples beside each other, and of each group.
_ACROSS, _EXAMPLES = 2, 4
_CONFIDENT = "whose confidence lies between the quartiles of all images right as they are"
_TIES = "one image a class, ties by index"
_MAPS = (
    "Maps: Grad-CAM of the true class, dark blue (0) to yellow (each map's highest cell). Below: "
    "✓ right or ✗ wrong prediction with its confidence."
)
_BOX = " White: ground-truth box."


def attacked(sources: Sequence[Source], features: int | None = None) -> Sheet:
    """[AAD Figs. 1, 9]: attention before and after an attack, by its success."""
    (source,) = sources
    study = source.study
    allowed = middle_half(study.confidence[:, 0], study.right)
    groups, examples = [], []
    for name, members in (
        ("attack succeeded", study.flipped(1)),
        ("attack failed", study.right & ~study.flipped(1)),
    ):
        values = study.iou_box[:, 0]
        group = choose(study, name, members, allowed, values, "IoU of box and map", _EXAMPLES)
        groups.append(group)
        examples.append([_before_and_after(image) for image in replayed(source, group, features)])
    drawn = "map" if features is None else "LIME"
    rule = (
        f"Rule: of the images {_CONFIDENT}, those whose clean map's IoU with the box is nearest "
        f"to the median of their group (attack succeeded or failed after round 1: n images); "
        f"{_TIES}."
    )
    legend = _MAPS if features is None else _lime_legend(features)
    columns = ["original", f"{drawn}, clean", f"{drawn}, attacked"]
    return _by_group(groups, examples, columns, rule, legend + _BOX)


def over_rounds(sources: Sequence[Source]) -> Sheet:
    """[AAD Fig. 2]: attention over the rounds of an attack that succeeds in the second."""
    (source,) = sources
    study = source.study
    rounds = min(study.rounds, 5)
    members = study.flipped(2) & ~study.flipped(1)
    allowed = middle_half(study.confidence[:, 0], study.right)
    values = study.iou_clean[:, rounds - 1]
    name = "right after round 1, wrong after round 2"
    measure = f"IoU of clean map and map after round {rounds}"
    group = choose(study, name, members, allowed, values, measure, _EXAMPLES)
    rows = [
        [original_panel(image), *_maps_of_rounds(image, rounds)]
        for image in replayed(source, group)
    ]
    columns = ["original", "clean", *(f"round {k}" for k in range(1, rounds + 1))]
    rule = (
        f"Rule: of the {group.choice.group} images right after round 1 and wrong after round 2, "
        f"and {_CONFIDENT}, those whose {measure} is nearest to the median of the "
        f"{group.choice.group}; {_TIES}."
    )
    return Sheet(rows, [], columns, 0, [group], rule, rounds, _MAPS + _BOX)


def three_rounds(sources: Sequence[Source], factor: int = 10) -> Sheet:
    """[AAD Fig. 3]: images before and after three rounds, and their difference."""
    (source,) = sources
    study = source.study
    values = study.confidence[:, 0]
    everything = np.ones(len(values), bool)
    name = "wrong after round 3"
    group = choose(study, name, study.flipped(3), everything, values, "confidence", 6)
    images = replayed(source, group)
    rows = [
        [_plain_panel(image, 0) for image in images],
        [_plain_panel(image, 3) for image in images],
        [_difference_panel(image, 3, factor) for image in images],
    ]
    titles = ["original", "after\nthree rounds", f"difference\n× {factor}"]
    columns = [captions.truth(image) for image in images]
    rule = (
        f"Rule: of the {group.choice.group} images right as they are and wrong after round 3, "
        f"those whose confidence is nearest to the median; {_TIES}."
    )
    legend = (
        f"Below: ✓ right or ✗ wrong prediction with its confidence; largest and mean difference of "
        f"pixels in 255ths. Differences are drawn {factor} times as large around mid gray."
    )
    return Sheet(rows, titles, columns, 0, [group], rule, 3, legend)


def augmented(sources: Sequence[Source]) -> Sheet:
    """[AAD Fig. 11]: attention over rounds of an attack without and with A3."""
    sources = _of_common_images(sources)
    plain = sources[0].study
    rounds = min(3, *(source.study.rounds for source in sources))
    values = plain.iou_clean[:, rounds - 1]
    allowed = middle_half(plain.confidence[:, 0], plain.right)
    name = f"wrong after round {rounds} of {captions.attack_name(plain.facts['attack'])}"
    measure = f"IoU of clean map and map after round {rounds}"
    group = choose(plain, name, plain.flipped(rounds), allowed, values, measure, 2)
    rows, titles = [], []
    for versions in zip(*(replayed(source, group) for source in sources), strict=True):
        for image in versions:
            rows.append([original_panel(image), *_maps_of_rounds(image, rounds)])
            attack = captions.attack_name(image.source.study.facts["attack"])
            titles.append(attack.replace(" + ", "\n+ ").replace(", ", "\n"))
    columns = ["original", "clean", *(f"round {k}" for k in range(1, rounds + 1))]
    rule = (
        f"Rule: of the {group.choice.group} images {name}, and {_CONFIDENT}, those whose "
        f"{measure} under that attack is nearest to the median of the {group.choice.group}; "
        f"{_TIES}. The attacks with A3 had no part in the choice."
    )
    return Sheet(rows, titles, columns, 0, [group], rule, rounds, _MAPS + _BOX)


def defended(sources: Sequence[Source]) -> Sheet:
    """[AAD Figs. 12, 13]: attention under attack of a plain and of a defended network."""
    first, second = _of_common_images(sources)
    plain, trained = first.study, second.study
    fooled = plain.flipped(1) & trained.right
    allowed = middle_half(plain.confidence[:, 0], plain.right)
    groups, examples = [], []
    for name, members in (
        ("(a) defence succeeded", fooled & ~trained.flipped(1)),
        ("(b) defence failed", fooled & trained.flipped(1)),
    ):
        measure = f"IoU of box and map of the attacked image, {second.name}"
        values = trained.iou_box[:, 1]
        group = choose(trained, name, members, allowed, values, measure, _EXAMPLES)
        pairs = zip(replayed(first, group), replayed(second, group), strict=True)
        groups.append(group)
        examples.append([_two_networks(*pair) for pair in pairs])
    rule = (
        f"Rule: of the images that both networks get right, that the attack on the first network "
        f"flips and {_CONFIDENT} by the first, those whose map of the attacked image under "
        f"the second network has the IoU with the box nearest to the median of their group (attack "
        f"on the second network failed or succeeded after round 1: n images); {_TIES}."
    )
    legend = f"Each network is attacked on its own. {_MAPS}{_BOX}"
    return _by_group(groups, examples, ["original", first.name, second.name], rule, legend)


def _by_group(
    groups: list[Group],
    examples: Sequence[Sequence[list[Panel]]],
    columns: list[str],
    rule: str,
    legend: str,
) -> Sheet:
    """Groups below each other, two of their examples a row."""
    rows, titles = [], []
    for group, panels in zip(groups, examples, strict=True):
        some = in_rows(panels, _ACROSS)
        rows += some
        titles += [_row_title(group)] * len(some)
    columns = columns * (max(map(len, rows)) // len(columns))
    return Sheet(rows, titles, columns, len(examples[0][0]), groups, rule, 1, legend)


def _of_common_images(sources: Sequence[Source]) -> list[Source]:
    studies = common_images([source.study for source in sources])
    return [
        dataclasses.replace(source, study=study)
        for source, study in zip(sources, studies, strict=True)
    ]


def _before_and_after(image: Replayed) -> list[Panel]:
    return [
        original_panel(image),
        *(map_panel(image, k, captions.overlap(image, k)) for k in (0, 1)),
    ]


def _maps_of_rounds(image: Replayed, rounds: int) -> list[Panel]:
    return [map_panel(image, k, captions.overlap(image, k, box=False)) for k in range(rounds + 1)]


def _two_networks(plain: Replayed, trained: Replayed) -> list[Panel]:
    maps = [map_panel(image, 1, captions.overlap(image, 1)) for image in (plain, trained)]
    return [original_panel(plain), *maps]


def _plain_panel(image: Replayed, round_number: int) -> Panel:
    picture = plots.enlarged(image.images[round_number], SIDE, bounds_of(image))
    color = captions.outcome_color(image, round_number)
    return Panel(picture, None, captions.outcome(image, round_number), color)


def _difference_panel(image: Replayed, round_number: int, factor: float) -> Panel:
    original, adversarial = image.images[0], image.images[round_number]
    bounds = bounds_of(image)
    picture = plots.difference(original, adversarial, factor, bounds)
    change = np.abs(adversarial - original) / (bounds.upper - bounds.lower) * 255
    caption = f"max {change.max():.1f}, mean {change.mean():.1f}"
    return Panel(plots.enlarged(picture, SIDE), None, caption)


def _row_title(group: Group) -> str:
    return "\n".join([*group.name.rsplit(" ", 1), f"n = {group.choice.group:,}"])


def _lime_legend(features: int) -> str:
    return (
        f"In colour: the superpixels, at most {features}, that LIME finds to speak most for the "
        f"true class. Below: ✓ right or ✗ wrong prediction with its confidence."
    )
