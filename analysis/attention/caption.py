"""Sentences for the captions of attention tables: network, data, accuracy, attack, counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aad_tf.attacks import attack_from_record
from aad_tf.records.columns import AttentionRecords
from aad_tf.types import Bounds
from analysis.records import objective_of

_AIMS = {
    "towards_least_likely": "towards the class the network finds least likely, anew each round",
    "towards_first_least_likely": (
        "towards the class least likely on the clean image, the same in every round"
    ),
    "away_from_label": "away from the true label",
}
# What the splits of a data set are, where its own names do not say.
_SPLITS = {
    "tiny_imagenet_boxes": {
        "train": "the stored training split without its validation part",
        "validation": "held out of the stored training split",
        "test": "the published validation split",
    }
}
# The highest cells that make an area, where one number of them is kept.
TOP_CELLS = 10
_METHODS = {"grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++", "lime": "LIME"}
_SPLIT_ORDER = ("train", "validation", "test")


def facts(run: AttentionRecords, name: str, round_number: int | None = None) -> tuple[str, ...]:
    """Sentences for the caption of a table.

    Args:
        run: the records behind the table.
        name: name of the network.
        round_number: number of attack iterations after which images are compared; None for all.

    Returns:
        One sentence each on network, data, accuracy, attack and explained class.
    """
    return (
        network_fact(run, name),
        data_fact(run),
        counts_fact(run),
        attack_fact(run.study, round_number),
        f"Maps explain the {_explained(run.study)}.",
    )


def network_fact(run: AttentionRecords, name: str) -> str:
    """A sentence on the network, its weights and its attention layer."""
    model = run.summaries[0].get("description", {}).get("model", {})
    config = model.get("config", {})
    kind = config.get("model") or model.get("network") or model.get("keras_model")
    height, width = run.study["grid"]
    return (
        f"Network: {name}{f' ({kind})' if kind else ''}, weights "
        f"{str(run.fingerprint['weights'])[:12]}, attention layer {run.study['attention_layer']} "
        f"({height} × {width} cells)."
    )


def data_fact(run: AttentionRecords) -> str:
    """A sentence on the data: copy, number of classes, number of images of each split."""
    data = run.fingerprint["dataset"] or {}
    known = _SPLITS.get(str(data.get("name")), {})
    sizes = ", ".join(
        f"{name} {int(m.sum()):,} images{f' ({known[name]})' if name in known else ''}"
        for name, m in single_splits(run)
    )
    source = f" ({data['source']})" if data.get("source") else ""
    classes = f"{len(run.class_names)} classes"
    return f"Data: {data.get('name', 'unnamed')}{source}, {classes}; {sizes}."


def counts_fact(run: AttentionRecords) -> str:
    """Sentences on the accuracy on clean images, and on how many correct images have no box."""
    correct, boxless = int(run.correct.sum()), int((run.correct & ~run.has_box).sum())
    parts = [f"{name} {100 * run.correct[m].mean():.1f} %" for name, m in single_splits(run)]
    by_split = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    boxes = "All of them have a box of their class."
    if boxless:
        boxes = (
            f"{boxless:,} of them have no box of their class and are left out where a box is "
            f"needed."
        )
    accuracy = f"{100 * correct / max(len(run), 1):.1f} %{by_split}"
    attacked = f"the {correct:,} images right of {len(run):,} are I_att"
    return f"Accuracy on clean images {accuracy}; {attacked}. {boxes}"


def attack_fact(study: Mapping[str, Any], round_number: int | None = None) -> str:
    """A sentence on the attack and its threat model.

    Args:
        study: settings of the study, the entry `study` of a summary.
        round_number: number of attack iterations that are compared; None for all.

    Returns:
        The sentence.
    """
    attack = study["attack"]
    rounds = study["rounds"] if round_number is None else round_number
    reach = total_epsilon(attack, rounds)
    kept = "projected into the budget" if attack["projected"] else "steps add up, no projection"
    start = ", from a random start" if attack.get("random_start") else ""
    which = f"round {rounds} of {study['rounds']}" if round_number else f"{rounds} rounds"
    low, high = attack.get("bounds", (0.0, 1.0))
    return (
        f"Attack: {attack['attack']}, white box, l∞; {which}, step size "
        f"{255 * attack['step_size'] / (high - low):.3g}/255, total ε {reach:.4f} in [0, 1] = "
        f"{255 * reach:.3g}/255 ({kept}{start}); {aim(attack)}."
    )


def aim(attack: Mapping[str, Any]) -> str:
    """The objective of a recorded attack in words, with its target class and A3's sigma."""
    objective, sigma = objective_of(attack)
    text = _AIMS.get(objective, objective)
    return text if sigma is None else f"{text}, attention-augmented (A3) with σ {sigma:g}"


def total_epsilon(attack: Mapping[str, Any], rounds: int) -> float:
    """The largest l-inf perturbation of an attack after some iterations, for images in [0, 1].

    Args:
        attack: a recorded threat model.
        rounds: number of iterations.

    Returns:
        A number in [0, 1].
    """
    bounds = Bounds(*attack.get("bounds", (0.0, 1.0)))
    recorded: Any = attack_from_record(attack)
    return recorded.epsilon_after(rounds, bounds)


def method_name(method: str) -> str:
    """The usual name of an attention method, e.g. `Grad-CAM` for `grad_cam`."""
    return _METHODS.get(method, method)


def gradient_method(run: AttentionRecords) -> str:
    """The gradient-based attention method of the records: Grad-CAM, or else the first other one.

    Returns:
        Its name in the records.

    Raises:
        ValueError: only LIME was recorded.
    """
    methods = [method for method in run.methods if method != "lime"]
    if not methods:
        raise ValueError("Tables 1 to 4 and 9 need Grad-CAM; the records hold LIME alone.")
    return "grad_cam" if "grad_cam" in methods else methods[0]


def main_cells(run: AttentionRecords) -> int:
    """The number of cells of areas in [AAD Table 9]: 10, or the first one that was recorded."""
    sizes = [int(size) for size in run.study["cells"]]
    return TOP_CELLS if TOP_CELLS in sizes else sizes[0]


def single_splits(run: AttentionRecords) -> list[tuple[str, np.ndarray]]:
    """The splits of the records: name and mask, bool `[n]`; train, validation, test, others."""
    names = sorted(
        set(run.split.tolist()),
        key=lambda name: (name not in _SPLIT_ORDER, (*_SPLIT_ORDER, name).index(name), name),
    )
    return [(name, run.split == name) for name in names]


def splits(run: AttentionRecords) -> Iterator[tuple[str, np.ndarray]]:
    """The splits of the records, name and mask, and last, if there are several, all together."""
    single = single_splits(run)
    yield from single
    if len(single) > 1:
        yield "both" if len(single) == 2 else "all", np.ones(len(run), bool)


def _explained(study: Mapping[str, Any]) -> str:
    return "true label" if study.get("explained", "label") == "label" else str(study["explained"])
