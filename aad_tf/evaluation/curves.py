"""Robust accuracy against the budget, from the records of one pass of a minimum-norm attack."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf.evaluation.robustness import RobustnessReport
from aad_tf.metrics import SecurityCurve


def security_curve(
    records: RobustnessReport | Iterable[Mapping[str, Any]],
    epsilons: Sequence[float],
    attack: str | None = None,
) -> SecurityCurve:
    """Accuracy under attack for each of many budgets, from one evaluation.

    `fab(None)` looks for the nearest misclassified image, however far, so its records tell for each
    budget which images have a misclassified one within it. Another attack may find a nearer one:
    like every robust accuracy, the curve is an upper bound.

    Args:
        records: the report of an evaluation, or its records, as `aad_tf.records.read_records`
            reads them from a file.
        epsilons: l-inf budgets, in the unit of the images.
        attack: name of the attack whose records count; None if there is only one.

    Returns:
        The curve, with Wilson's intervals of accuracies and the median distance.

    Raises:
        ValueError: several attacks or none of this name, an attack that stays within a budget or
            does not look for the nearest image, or budgets that are negative or not finite.

    Example:
        >>> report = evaluate_robustness(model, (images, labels), aad_tf.attacks.fab(None))
        >>> curve = security_curve(report, np.linspace(0, 16 / 255, 33))
        >>> curve.median_distance, curve.median_interval()
        (0.0121, Interval(low=0.0114, high=0.0128))
        >>> aad_tf.plots.save_png(aad_tf.plots.security_curves({"model": curve}), "curve.png")
    """
    if isinstance(records, RobustnessReport):
        models = {entry["attack"]: entry["threat_model"] for entry in records.summary["attacks"]}
        attack = _chosen(attack, models)
        model = models[attack]
        if not model.get("minimum_norm") or model["parameters"]["epsilon"] is not None:
            raise ValueError(
                f"{attack} does not look for the nearest misclassified image at any distance. "
                f"Evaluate aad_tf.attacks.fab(None), whose distances make the curve."
            )
        records = records.records()
    by_attack: dict[str, list[float]] = {}
    for record in records:
        by_attack.setdefault(record["attack"], []).append(_distance(record))
    return SecurityCurve(np.array(by_attack[_chosen(attack, by_attack)]), tuple(epsilons))


def _chosen(attack: str | None, known: Iterable[str]) -> str:
    names = list(known)
    if attack is None and len(names) == 1:
        return names[0]
    if attack in names:
        return attack
    if not names:
        raise ValueError("There are no records to make a curve of.")
    wanted = "Several attacks were run" if attack is None else f"No attack is named {attack!r}"
    raise ValueError(f"{wanted}: pass attack=, one of {', '.join(names)}.")


def _distance(record: Mapping[str, Any]) -> float:
    if record["clean_mistake"]:
        return 0.0
    return record["linf"] if record["success"] else math.inf
