"""The same images under attacks with and without A3, for [AAD Table 9] and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aad_tf.records.columns import AttentionRecords, check_same_network
from analysis.attention import intervals
from analysis.attention.caption import base_objective, gradient_method, main_cells, sigma
from analysis.attention.intervals import Estimate

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


@dataclass(frozen=True)
class Variant:
    """One attack on the images that all attacks were run on.

    Attributes:
        name: e.g. `StepLL + A3 (σ 10)`.
        run: the images, all right without attack.
        kept: bool `[images]`, still right after `ROUNDS` rounds.
        iou: IoU with the clean image's area then, `[images]`.
    """

    name: str
    run: AttentionRecords
    kept: np.ndarray
    iou: np.ndarray

    def against(self, plain: Variant) -> tuple[Estimate, Estimate]:
        """Differences of accuracy and IoU on the same images, this one less the plain attack."""
        points = intervals.mean(self.kept.astype(float) - plain.kept)
        return points, intervals.mean(self.iou - plain.iou)


@dataclass(frozen=True)
class Aligned:
    """All attacks that were run with and without A3.

    Attributes:
        variants: by attack, in the order of `ATTACKS`: plain, sigma above 0, below 0; None for
            what was not run.
        shared: every image that all runs hold, right or wrong, from the first run.
    """

    variants: Mapping[str, Sequence[Variant | None]]
    shared: AttentionRecords

    @property
    def first(self) -> AttentionRecords:
        """The images compared, under the first attack."""
        return next(v.run for group in self.variants.values() for v in group if v is not None)


def align(runs: Mapping[str, AttentionRecords]) -> Aligned | None:
    """The images that are right in every run, under every attack.

    Args:
        runs: by role, see `files.ROLES`; roles that were not run are missing.

    Returns:
        None if no attack was run both with and without A3 for `ROUNDS` rounds.

    Raises:
        ValueError: runs of different networks, data, attacks or measures, a sigma of the wrong
            sign, or no image that is right in all of them.
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
    variants = {
        name: [None if run is None else _variant(name, next(common)) for run in group]
        for name, group in chosen.items()
    }
    return Aligned(variants, shared_images(everything))


def common_images(runs: Sequence[AttentionRecords]) -> list[AttentionRecords]:
    """The same images of every run, in the same order: right in all of them.

    Args:
        runs: of one network and one copy of the data.

    Raises:
        ValueError: another network, other data, other measures, or no image in common.
    """
    _check_comparable(runs)
    places = [_places(run, run.correct) for run in runs]
    keys = [key for key in places[0] if all(key in place for place in places[1:])]
    if not keys:
        raise ValueError("No image is right in all runs of Table 9: were they of other splits?")
    return [
        run.select(np.asarray([place[key] for key in keys]))
        for run, place in zip(runs, places, strict=True)
    ]


def shared_images(runs: Sequence[AttentionRecords]) -> AttentionRecords:
    """The images of the first run that all others hold too, right or wrong."""
    places = [_places(run, np.ones(len(run), bool)) for run in runs]
    kept = [place for key, place in places[0].items() if all(key in p for p in places[1:])]
    return runs[0].select(np.asarray(kept, int))


def _places(run: AttentionRecords, mask: np.ndarray) -> dict[tuple[str, int], int]:
    keys = zip(run.split.tolist(), run.index.tolist(), strict=True)
    return {key: place for place, key in enumerate(keys) if mask[place]}


def _variant(name: str, run: AttentionRecords) -> Variant:
    weight = sigma(run.study["attack"])
    full = name if weight is None else f"{name} + A3 (σ {weight:g})"
    iou = run.iou_clean(gradient_method(run), main_cells(run))[:, ROUNDS - 1]
    return Variant(full, run, run.failed(ROUNDS), iou)


def _check_comparable(runs: Sequence[AttentionRecords]) -> None:
    """One network, one copy of the data, and maps and areas of one kind."""
    for run in runs[1:]:
        names = [str(r.study["attack"]["attack"]) for r in (runs[0], run)]
        check_same_network(runs[0].summaries[0], run.summaries[0], *names)
        kinds = [
            {
                "method": gradient_method(r),
                "cells": main_cells(r),
                "explained": r.study.get("explained", "label"),
            }
            for r in (runs[0], run)
        ]
        for key, value in kinds[0].items():
            if kinds[1][key] != value:
                raise ValueError(
                    f"{names[1]} has {key} {kinds[1][key]}, {names[0]} {value}: they cannot be "
                    f"compared."
                )


def _check_group(name: str, group: Sequence[AttentionRecords | None]) -> None:
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
        keys = ("step_size", "projected", "random_start")
        here, there = ({key: a.get(key) for key in keys} for a in (attack, plain))
        if attack["projected"]:
            here["epsilon"], there["epsilon"] = attack["epsilon"], plain["epsilon"]
        here["objective"], there["objective"] = base_objective(attack), base_objective(plain)
        for key, value in here.items():
            if value != there[key]:
                raise ValueError(
                    f"{name}: {attack['attack']} has {key} {value}, the plain attack "
                    f"{there[key]}: they cannot be compared."
                )
