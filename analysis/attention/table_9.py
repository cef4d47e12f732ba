"""[AAD Table 9]: attacks with and without A3, whose attention term scatters attention or keeps it.

A second table gives the accuracy after each iteration: an attack that leaves hardly an image
correct after the last one does not show what A3 adds, but it may after the first. A third shows how
well the drift of attention, 1 - IoU of the areas of clean and attacked image, predicts which
attacks change the label. A detector does not have the clean image, so this is an upper bound of
what drift can tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aad_tf.metrics import Interval
from aad_tf.records.columns import AttentionRecords, check_same_network
from analysis.attention.caption import (
    attack_fact,
    data_fact,
    gradient_method,
    main_cells,
    method_name,
    network_fact,
    single_splits,
)
from analysis.attention.study_table import StudyTable
from analysis.findings import Finding
from analysis.paper_values import TABLE_9
from analysis.records import objective_of
from analysis.statistics import (
    DASH,
    Estimate,
    area_under_curve,
    compare,
    fraction,
    mean,
    overlapping_difference,
)

ROUNDS = 3
# The paper's name of each attack, and the roles of its runs without A3, and with sigma of +, -.
ATTACKS = {
    "StepLL": ("step_ll", "step_ll_a3_plus", "step_ll_a3_minus"),
    "StepLL, target kept": (
        "step_ll_kept_target",
        "step_ll_kept_target_a3_plus",
        "step_ll_kept_target_a3_minus",
    ),
    "FGSM": ("ifgsm", "ifgsm_a3_plus", "ifgsm_a3_minus"),
}
ROLES = tuple(role for roles in ATTACKS.values() for role in roles)
_LABELS = ("plain", "A3, σ above 0", "A3, σ below 0")
_HEADS = (
    *("attack", "", "accuracy %", "against plain, points", "IoU clean-adversarial"),
    "against plain",
)
_ROUND_HEADS = ("attack", "round", "accuracy %, plain", *(f"{a3}, points" for a3 in _LABELS[1:]))
_DRIFT_HEADS = (
    *("attack", "", "misclassified / not", "IoU, misclassified", "IoU, not misclassified"),
    "AUC of drift",
)
DRIFT_REMARK = (
    "AUC of drift: chance that drift (1 - IoU) is larger on a misclassified image than on one that "
    "is not, ties counting half; 0.5 tells nothing. It needs the clean image, which a detector "
    "does not have, so it says what drift could tell at best."
)


@dataclass(frozen=True)
class Variant:
    """The records of one attack, on the images that all attacks were run on.

    Attributes:
        name: e.g. `StepLL + A3 (σ 10)`.
        run: the records; all images are classified correctly when clean.
        kept: bool `[images]`, whether they are correct after `ROUNDS` iterations of the attack.
        iou: float `[images]`, IoU of the clean area and the area after these iterations.
    """

    name: str
    run: AttentionRecords
    kept: np.ndarray
    iou: np.ndarray

    @property
    def sigma(self) -> float | None:
        """Weight sigma of A3's attention term; None for an attack without A3."""
        return objective_of(self.run.study["attack"])[1]

    def against(self, plain: Variant) -> tuple[Estimate, Estimate]:
        """Compares with another attack on the same images.

        Args:
            plain: the records of the attack without A3's attention term.

        Returns:
            The mean differences of accuracy and of IoU, this attack minus `plain`.
        """
        return mean(self.kept.astype(float) - plain.kept), mean(self.iou - plain.iou)


# Without A3, with sigma above 0, below 0; None for what was not run.
Variants = tuple[Variant, Variant | None, Variant | None]


@dataclass(frozen=True)
class Aligned:
    """The records of all attacks that were run with and without A3, on the same images.

    Attributes:
        variants: by attack, in the order of `ATTACKS`: without A3, with sigma above 0, with sigma
            below 0; None where it was not run.
        shared: records of all images that every run has, also misclassified ones, from the first
            run.
    """

    variants: Mapping[str, Variants]
    shared: AttentionRecords

    @property
    def first(self) -> AttentionRecords:
        """The records of the compared images under the first attack without A3."""
        return next(iter(self.variants.values()))[0].run


def align(runs: Mapping[str, AttentionRecords]) -> Aligned | None:
    """Reduces the records of attacks with and without A3 to the same correct images.

    Args:
        runs: records by role, such as `step_ll` and `step_ll_a3_plus`.

    Returns:
        The records; None if no attack was run both with and without A3 for `ROUNDS` iterations.

    Raises:
        ValueError: runs of different networks, data, attacks or measures, a sigma of another sign
            than its role says, or no image that is correct when clean in all of them.
    """
    usable = {role: run for role, run in runs.items() if run.rounds >= ROUNDS}
    chosen = {
        name: [usable.get(role) for role in roles]
        for name, roles in ATTACKS.items()
        if roles[0] in usable and any(role in usable for role in roles[1:])
    }
    everything = [run for group in chosen.values() for run in group if run is not None]
    if not everything:
        return None
    for name, group in chosen.items():
        _check_group(name, group)
    common = iter(common_images(everything))

    def variant(name: str, run: AttentionRecords | None) -> Variant | None:
        return None if run is None else _variant(name, next(common))

    variants = {
        name: (_variant(name, next(common)), variant(name, plus), variant(name, minus))
        for name, (_, plus, minus) in chosen.items()
    }
    return Aligned(variants, _same_images(everything, only_correct=False)[0])


def common_images(runs: Sequence[AttentionRecords]) -> list[AttentionRecords]:
    """Reduces runs to the images that all of them have and that are correct when clean.

    Args:
        runs: records of one network and one copy of the data.

    Returns:
        The records, with the same images in the same order.

    Raises:
        ValueError: another network, other data, other measures, or no image in common.
    """
    _check_comparable(runs)
    same = _same_images(runs, only_correct=True)
    if not len(same[0]):
        raise ValueError("No image is right in all runs of Table 9: were they of other splits?")
    return same


def _same_images(runs: Sequence[AttentionRecords], *, only_correct: bool) -> list[AttentionRecords]:
    rows = []
    for run in runs:
        names = zip(run.split.tolist(), run.index.tolist(), strict=True)
        rows.append({key: i for i, key in enumerate(names) if run.correct[i] or not only_correct})
    keys = [key for key in rows[0] if all(key in other for other in rows[1:])]
    return [
        run.select(np.asarray([row[key] for key in keys], int))
        for run, row in zip(runs, rows, strict=True)
    ]


def _variant(name: str, run: AttentionRecords) -> Variant:
    sigma = objective_of(run.study["attack"])[1]
    full = name if sigma is None else f"{name} + A3 (σ {sigma:g})"
    iou = run.iou_clean(gradient_method(run), main_cells(run))[:, ROUNDS - 1]
    return Variant(full, run, run.failed(ROUNDS), iou)


def _check_comparable(runs: Sequence[AttentionRecords]) -> None:
    """One network, one copy of the data, and maps and areas of one kind."""
    for run in runs[1:]:
        first, other = (
            (
                str(r.study["attack"]["attack"]),
                {
                    "method": gradient_method(r),
                    "cells": main_cells(r),
                    "explained": r.study.get("explained", "label"),
                },
            )
            for r in (runs[0], run)
        )
        check_same_network(runs[0].summaries[0], run.summaries[0], first[0], other[0])
        _check_same(*other, *first)


def _check_group(name: str, group: Sequence[AttentionRecords | None]) -> None:
    """A3 must be compared with the same attack without it, and sigma be as its file says."""
    settings = []
    for run, sign in zip(group, (0, 1, -1), strict=True):
        if run is None:
            continue
        attack = run.study["attack"]
        objective, sigma = objective_of(attack)
        if np.sign(sigma or 0) != sign:
            raise ValueError(
                f"{name}: {attack['attack']} has sigma {sigma}; its file's name says "
                f"{('no A3', 'sigma above 0', 'sigma below 0')[sign]}."
            )
        keys = ("step_size", "projected", "random_start")
        settings.append({**{key: attack.get(key) for key in keys}, "objective": objective})
        # Where steps add up, the budget follows from the rounds, which may differ.
        settings[-1]["epsilon"] = attack["epsilon"] if attack["projected"] else None
        _check_same(f"{name}: {attack['attack']}", settings[-1], "the plain attack", settings[0])


def _check_same(
    name: str, settings: Mapping[str, Any], other: str, others: Mapping[str, Any]
) -> None:
    """Refuses what differs in a setting."""
    for key, value in settings.items():
        if value != others[key]:
            raise ValueError(
                f"{name} has {key} {value}, {other} {others[key]}: they cannot be compared."
            )


def table_9(runs: Mapping[str, AttentionRecords], dataset: str, network: str) -> StudyTable | None:
    """[AAD Table 9]: accuracy after three attack iterations, and IoU of clean and attacked areas.

    Args:
        runs: records by role, such as `step_ll` and `step_ll_a3_plus`.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table, or None if no attack was run both with and without A3 for three rounds.

    Raises:
        ValueError: runs of different networks, data, attacks or measures, a sigma of another sign
            than its role says, or no image that is correct when clean in all of them.
    """
    found = align(runs)
    if found is None:
        return None
    first = found.first
    title = (
        f"Accuracy on images right, and IoU of the {method_name(gradient_method(first))} areas of "
        f"clean and adversarial image ({main_cells(first)} cells), after {ROUNDS} rounds with and "
        f"without A3"
    )
    remarks = [*TABLE_9.notes, *_scale_remarks(found), *_floor_remarks(found), DRIFT_REMARK]
    table = StudyTable("9", f"{dataset}_{network}", title, _facts(found, network), remarks)
    rows: list[tuple[str, ...]] = []
    drift_rows: list[tuple[str, ...]] = []
    round_rows: list[tuple[str, ...]] = []
    for name, variants in found.variants.items():
        rows += _attack(table, name, variants)
        round_rows += _by_round(table, name, variants)
        drift_rows += _drift(table, name, [v for v in variants if v is not None])
    table.findings.sort(key=lambda finding: not finding.headline)
    table.add(_HEADS, rows)
    table.add(_ROUND_HEADS, round_rows, "What A3 adds to the accuracy, round by round")
    heading = "Does attention drift tell which images are misclassified?"
    table.add(_DRIFT_HEADS, drift_rows, heading)
    return table


def _scale_remarks(found: Aligned) -> list[str]:
    """How the attention term is scaled where it is not as printed, by the runs' own words."""
    objectives = [
        str(variant.run.study["attack"]["objective"])
        for group in found.variants.values()
        for variant in group[1:]
        if variant is not None
    ]
    if all("reduction=sum" in text and "scale=none" in text for text in objectives):
        return []
    return [
        "Eq. 10 sums |Att(x) - g(x)| over the cells, with g as it is. Unless an attack's name says "
        "otherwise, g is divided by its maximum here and the sum by the number of cells: σ 10 "
        "weighs the mean difference of a cell. The printed sum was not run on these images. Att(x) "
        "is the area above the mean of the map, as in Eq. 2; the authors' code takes 0.2 of its "
        "maximum."
    ]


def _floor_remarks(found: Aligned) -> list[str]:
    """Where a plain attack leaves less than the paper says A3 takes away."""
    remarks = []
    for name, (plain, *_) in found.variants.items():
        if _is_at_floor(name, plain):
            remarks.append(
                f"{name} alone leaves {100 * plain.kept.mean():.1f} % here, less than the "
                f"{-(_printed_gap(name) or 0.0):.1f} points that A3 takes away in the paper: what "
                f"A3 adds to an attack so near its end cannot show after {ROUNDS} rounds. The "
                f"rounds before stand in the table below."
            )
    return remarks


def _is_at_floor(name: str, plain: Variant) -> bool:
    gap = _printed_gap(name)
    return gap is not None and 100 * float(plain.kept.mean()) + gap < 0


def _facts(found: Aligned, network: str) -> tuple[str, ...]:
    """The caption, on the images that are compared and no others."""
    shared, compared = found.shared, found.first
    parts = ", ".join(f"{name} {int(mask.sum()):,}" for name, mask in single_splits(compared))
    accuracy = 100 * len(compared) / len(shared)
    return (
        network_fact(shared, network),
        f"{data_fact(shared)[:-1]}, which every attack was run on.",
        f"Compared are the {len(compared):,} of them that are right without attack ({parts}; "
        f"{accuracy:.1f} %), the same under every attack.",
        *(_attack_fact(group) for group in found.variants.values()),
    )


def _attack_fact(group: Variants) -> str:
    """The plain attack, and which sigma it was augmented with; the rest of them was checked."""
    plain, *others = (variant for variant in group if variant is not None)
    sigmas = " and ".join(f"{variant.sigma:g}" for variant in others)
    return f"{attack_fact(plain.run.study, ROUNDS)} The same attention-augmented (A3), σ {sigmas}."


def _attack(table: StudyTable, name: str, variants: Variants) -> list[tuple[str, ...]]:
    """Rows of one attack, the paper's below; numbers and findings."""
    plain = variants[0]
    printed = (*TABLE_9.rows.get(name, (None, None)), None)
    rows: list[tuple[str, ...]] = []
    for number, (variant, value) in enumerate(zip(variants, printed, strict=True)):
        if variant is None:
            rows.append((f"{name}, {_LABELS[number]}", "not run", *[DASH] * 4))
            continue
        gap = _printed_gap(name) if number == 1 else None
        rows.append(_measured(table, variant, plain if number else None, (value, gap)))
        if value is not None:
            difference = DASH if gap is None else f"{gap:+.1f}"
            rows.append(("", "paper", f"{value:.1f}", difference, DASH, DASH))
        if number:
            table.findings += _findings(name, variant, plain, above=number == 1)
    return rows


def _measured(
    table: StudyTable,
    variant: Variant,
    plain: Variant | None,
    printed: tuple[float | None, float | None],
) -> tuple[str, ...]:
    """The row of a variant and its numbers; `plain` is None for the plain attack itself."""
    accuracy, iou = fraction(int(variant.kept.sum()), len(variant.kept)), mean(variant.iou)
    table.note("all", variant.name, "percent", "right", accuracy, printed[0])
    table.note("all", variant.name, "IoU", "all", iou)
    gaps = (DASH, DASH)
    if plain is not None:
        points, moved = variant.against(plain)
        table.note("all", variant.name, "percent", "against plain", points, printed[1])
        table.note("all", variant.name, "IoU", "against plain", moved)
        gaps = points.percent(sign=True), moved.text(sign=True)
    return (variant.name, "ours", accuracy.percent(), gaps[0], iou.text(), gaps[1])


def _findings(name: str, variant: Variant, plain: Variant, above: bool) -> list[Finding]:
    """What A3 does; the paper speaks of sigma above 0 alone."""
    points, moved = variant.against(plain)
    against, printed = f"{variant.name} - {name}", _printed_gap(name)
    direction = -1 if above else 0
    gap = printed / 100 if above and printed is not None else None
    at_floor = above and _is_at_floor(name, plain)
    statement = f"accuracy, {against}" + (", near the floor" if at_floor else "")
    # Where nothing can be taken away, the paper's sign can be neither confirmed nor contradicted.
    sign = 0 if at_floor else direction
    return [
        Finding(statement, points, sign, gap, percent=True, headline=True),
        Finding(f"IoU clean-adversarial, {against}", moved, direction, headline=True),
    ]


def _printed_gap(name: str) -> float | None:
    """What A3 adds to the accuracy in the paper, in points; None for attacks it does not have."""
    if name not in TABLE_9.rows:
        return None
    plain, augmented = TABLE_9.rows[name]
    return round(augmented - plain, 2)


def _drift(table: StudyTable, name: str, variants: Sequence[Variant]) -> list[tuple[str, ...]]:
    """Whether drift tells where an attack succeeds; the first variant is the plain attack."""
    rows: list[tuple[str, ...]] = []
    plain = variants[0]
    for variant in variants:
        label, kept, iou = variant.name, variant.kept, variant.iou
        groups = compare(iou[~kept], iou[kept])
        area = area_under_curve(1 - iou[~kept], 1 - iou[kept])
        first, second, _ = groups.texts()
        rows.append((label, "ours", groups.counts, first, second, area.text()))
        table.note("all", label, "IoU", "misclassified", groups.first)
        table.note("all", label, "IoU", "not misclassified", groups.second)
        table.note("all", label, "AUC", "drift", area)
        if variant is plain:  # the paper calls drift a strong indication of success, without A3
            table.findings.append(Finding(f"AUC of drift - 0.5, {label}", _minus_half(area), 1))
    for variant in variants[1:]:
        kept, label = variant.kept, variant.name
        gap = overlapping_difference(variant.iou, ~kept, plain.iou, plain.kept)
        table.note("all", label, "IoU", f"misclassified - {name} failed", gap)
        statement = f"IoU where {label} succeeds - IoU where {name} fails"
        headline = variant.sigma is not None and variant.sigma < 0
        table.findings.append(Finding(statement, gap, 0, headline=headline))
    return rows


def _by_round(table: StudyTable, name: str, variants: Variants) -> list[tuple[str, ...]]:
    """The accuracy that the plain attack leaves after each round, and what A3 adds to it."""
    rows: list[tuple[str, ...]] = []
    for number in range(1, ROUNDS + 1):
        plain = variants[0].run.failed(number)
        accuracy = fraction(int(plain.sum()), len(plain))
        table.note("all", name, "percent", f"right after round {number}", accuracy)
        gaps = []
        for variant in variants[1:]:
            if variant is None:
                gaps.append(DASH)
                continue
            points = mean(variant.run.failed(number).astype(float) - plain)
            table.note("all", variant.name, "percent", f"against plain, round {number}", points)
            gaps.append(points.percent(sign=True))
        rows.append((name if number == 1 else "", f"{number}", accuracy.percent(), *gaps))
    return rows


def _minus_half(area: Estimate) -> Estimate:
    if area.value is None or area.interval is None:
        return area
    interval = Interval(*(bound - 0.5 for bound in area.interval))
    return replace(area, value=area.value - 0.5, interval=interval)
