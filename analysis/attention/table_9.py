"""[AAD Table 9]: attacks with and without A3, which scatters attention or keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.attention import detection, intervals
from analysis.attention.caption import (
    attack_fact,
    counts_fact,
    data_fact,
    gradient_method,
    method_name,
    network_fact,
    sigma,
)
from analysis.attention.checks import check_same_network
from analysis.attention.claims import Claim
from analysis.attention.intervals import DASH, Estimate
from analysis.attention.run import AttentionRun
from analysis.attention.table import AttentionTable, Cell, Draft
from analysis.attention.tables_3_4 import main_cells
from analysis.paper_values import TABLE_9

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
_HEADS = (
    *("attack", "", "n", "accuracy %", "against plain, points", "IoU clean-adversarial"),
    "against plain",
)


@dataclass(frozen=True)
class Variant:
    """One attack after `ROUNDS` rounds on the images that all attacks were run on.

    Attributes:
        name: e.g. `StepLL + A3 (σ 10)`.
        run: the images, all right without attack.
        kept: bool `[images]`, still right at the end.
        iou: IoU with the clean image's area, `[images]`.
    """

    name: str
    run: AttentionRun
    kept: np.ndarray
    iou: np.ndarray


def table_9(runs: Mapping[str, AttentionRun], dataset: str, network: str) -> AttentionTable | None:
    """Accuracy on I_att after three rounds, and how far attention moved.

    Args:
        runs: by role, see `files.ROLES`; roles that were not run are missing.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table, or None if no attack was run both with and without A3 for three rounds.

    Raises:
        ValueError: runs of different networks, data or step sizes, a sigma of the wrong sign.
    """
    usable = {role: run for role, run in runs.items() if run.rounds >= ROUNDS}
    chosen = {
        name: [usable.get(role) for role in roles]
        for name, roles in ATTACKS.items()
        if roles[0] in usable and any(role in usable for role in roles[1:])
    }
    if not chosen:
        return None
    everything = [run for group in chosen.values() for run in group if run is not None]
    aligned = iter(common_images(everything))
    draft = Draft("9", f"{dataset}_{network}", list(TABLE_9.notes))
    for name, group in chosen.items():
        _check_group(name, group)
        variants = [None if run is None else _variant(name, next(aligned)) for run in group]
        _add_attack(draft, name, variants)
        detection.add(draft, name, [(v.name, v.kept, v.iou) for v in variants if v is not None])
    first = everything[0]
    title = (
        f"Accuracy on images right, and IoU of the {method_name(gradient_method(first))} areas of "
        f"clean and adversarial image ({main_cells(first)} cells), after {ROUNDS} rounds with and "
        f"without A3"
    )
    more = ("Does attention drift tell which attacks fooled the network?", detection.HEADS)
    return draft.finish(title, _facts(everything, network), _HEADS, more)


def common_images(runs: list[AttentionRun]) -> list[AttentionRun]:
    """The same images of every run, in the same order: right in all of them.

    Args:
        runs: of one network and one copy of the data.

    Raises:
        ValueError: another network, other data, or no image in common.
    """
    for run in runs[1:]:
        names = [str(r.study["attack"]["attack"]) for r in (runs[0], run)]
        check_same_network(runs[0].summaries[0], run.summaries[0], *names)
    places = [
        {key: i for i, key in enumerate(zip(r.split.tolist(), r.index.tolist(), strict=True))
         if r.right[i]}
        for r in runs
    ]  # fmt: skip
    keys = [key for key in places[0] if all(key in place for place in places[1:])]
    if not keys:
        raise ValueError("No image is right in all runs of Table 9: were they of other splits?")
    return [
        run.select(np.asarray([place[key] for key in keys]))
        for run, place in zip(runs, places, strict=True)
    ]


def _facts(runs: list[AttentionRun], network: str) -> tuple[str, ...]:
    first = runs[0]
    return (
        *(network_fact(first, network), data_fact(first), counts_fact(first)),
        "Compared are the images right in every run.",
        *(attack_fact(run.study, ROUNDS) for run in runs),
    )


def _variant(name: str, run: AttentionRun) -> Variant:
    weight = sigma(run.study["attack"])
    full = name if weight is None else f"{name} + A3 (σ {weight:g})"
    iou = run.iou_clean(gradient_method(run), main_cells(run))[:, ROUNDS - 1]
    return Variant(full, run, run.failed(ROUNDS), iou)


def _check_group(name: str, group: list[AttentionRun | None]) -> None:
    """A3 must be compared with the same attack without it, and sigma be as its file says."""
    attacks = [None if run is None else run.study["attack"] for run in group]
    plain = attacks[0]
    for attack, sign in zip(attacks, (0, 1, -1), strict=True):
        if attack is None or plain is None:
            continue
        if np.sign(sigma(attack) or 0) != sign:
            raise ValueError(
                f"{name}: {attack['attack']} has sigma {sigma(attack)}; its file's name says "
                f"{('no A3', 'sigma above 0', 'sigma below 0')[sign]}."
            )
        for key in ("step_size", "projected", *(("epsilon",) if attack["projected"] else ())):
            if attack[key] != plain[key]:
                raise ValueError(
                    f"{name}: {attack['attack']} has {key} {attack[key]}, the plain attack "
                    f"{plain[key]}: they cannot be compared."
                )


def _add_attack(draft: Draft, name: str, variants: list[Variant | None]) -> None:
    plain = variants[0]
    labels = ("plain", "A3, σ above 0", "A3, σ below 0")
    printed = (*TABLE_9.rows.get(name, (None, None)), None)
    for place, (variant, value) in enumerate(zip(variants, printed, strict=True)):
        gap = _printed_gap(name) if place == 1 else None
        if variant is None or plain is None:
            draft.rows.append((f"{name}, {labels[place]}", "not run", *[DASH] * 5))
            continue
        _add_variant(draft, variant, plain if place else None, (value, gap))
        if value is not None:
            difference = DASH if gap is None else f"{gap:+.1f}"
            draft.rows.append(("", "paper", "", f"{value:.1f}", difference, DASH, DASH))
    if plain is not None:
        for variant, sign in zip(variants[1:], (1, -1), strict=True):
            if variant is not None:
                draft.claims += _claims(name, variant, plain, sign)


def _add_variant(
    draft: Draft,
    variant: Variant,
    plain: Variant | None,
    printed: tuple[float | None, float | None],
) -> None:
    """A row and its cells; `plain` is None for the plain attack itself."""
    accuracy = intervals.share(int(variant.kept.sum()), len(variant.kept))
    iou = intervals.mean(variant.iou)
    texts = [accuracy.percent(), DASH, iou.text(), DASH]
    cell = ("all", variant.name)
    draft.cells += [
        Cell(*cell, "percent", "right", accuracy, printed[0]),
        Cell(*cell, "IoU", "all", iou),
    ]
    if plain is not None:
        points, moved = _gaps(variant, plain)
        texts[1], texts[3] = points.percent(sign=True), moved.text(sign=True)
        draft.cells += [
            Cell(*cell, "percent", "against plain", points, printed[1]),
            Cell(*cell, "IoU", "against plain", moved),
        ]
    draft.rows.append((variant.name, "ours", f"{len(variant.kept):,}", *texts))


def _gaps(variant: Variant, plain: Variant) -> tuple[Estimate, Estimate]:
    """Differences of accuracy and IoU on the same images, variant - plain."""
    points = intervals.mean(variant.kept.astype(float) - plain.kept)
    return points, intervals.mean(variant.iou - plain.iou)


def _claims(name: str, variant: Variant, plain: Variant, sign: int) -> list[Claim]:
    points, moved = _gaps(variant, plain)
    against = f"{variant.name} - {name}"
    if sign < 0:
        return [
            Claim(f"accuracy, {against}", points, 0, percent=True, headline=True),
            Claim(f"IoU clean-adversarial, {against}", moved, 0, headline=True),
        ]
    printed = _printed_gap(name)
    gap = None if printed is None else printed / 100
    return [
        Claim(f"accuracy, {against}", points, -1, gap, percent=True, headline=True),
        Claim(f"IoU clean-adversarial, {against}", moved, -1, headline=True),
    ]


def _printed_gap(name: str) -> float | None:
    """What A3 adds to the accuracy in the paper, in points; None for attacks it does not have."""
    if name not in TABLE_9.rows:
        return None
    plain, augmented = TABLE_9.rows[name]
    return round(augmented - plain, 2)
