"""Robust accuracy against the budget: from one pass of a minimum-norm attack, or by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from aad_tf.attacks import Attack
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.evaluation import inputs
from aad_tf.evaluation.cascade import pool_of
from aad_tf.evaluation.robustness import RobustnessReport, evaluate_robustness
from aad_tf.evaluation.summary import looks_for_nearest
from aad_tf.metrics import SecurityCurve
from aad_tf.utils.checks import check_count, name_of_call
from aad_tf.utils.norms import distance_of

_FIRST_OPTIONS = frozenset({"output", "description", "diagnostics", "progress", "verbose"})


def security_curve(
    records: RobustnessReport | Iterable[Mapping[str, Any]],
    epsilons: Sequence[float] | None = None,
    attack: str | None = None,
) -> SecurityCurve:
    """Robust accuracy for each of many budgets, from one evaluation of a minimum-norm attack.

    The attack `fab(None)` searches for the nearest misclassified image at any distance. So its
    records tell for each budget which images have a misclassified one within it. Another attack may
    find a nearer one: like every robust accuracy, the curve is an upper bound.

    Args:
        records: the report of an evaluation, or its records, as `aad_tf.records.read_records`
            reads them from a file.
        epsilons: budgets in the norm of the attack, in the unit of the images, finite and not
            negative. None for 101 equally far apart, from 0 to the largest distance that was found,
            or 0 alone if none is larger.
        attack: name of the attack whose records count; None if there is only one. The part before
            its parameters, `fab` of `fab(epsilon=None)`, is enough if no other attack has the same.

    Returns:
        A `SecurityCurve`: robust accuracies with Wilson's intervals, and the median distance to a
        misclassified image.

    Raises:
        ValueError: no records; `attack` is None although there are several, or names none of them;
            a report of an attack that is not minimum-norm or has an epsilon; or budgets that are
            negative or not finite.

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
        if not looks_for_nearest(models[attack]):
            raise ValueError(
                f"{attack} does not look for the nearest misclassified image at any distance. "
                f"Evaluate aad_tf.attacks.fab(None), whose distances make the curve."
            )
        records = records.records()
    by_attack: dict[str, list[float]] = {}
    norms: dict[str, str] = {}
    for record in records:
        by_attack.setdefault(record["attack"], []).append(_distance(record))
        norms[record["attack"]] = "l2" if "l2" in record else "linf"
    attack = _chosen(attack, by_attack)
    distances = np.array(by_attack[attack])
    if epsilons is None:
        largest = distances.max(where=np.isfinite(distances), initial=0.0)
        epsilons = np.linspace(0.0, largest, 101).tolist() if largest > 0 else [0.0]
    return SecurityCurve(distances, tuple(epsilons), norms[attack])


def bisected_curve(
    classifier: Classifier | keras.Model,
    dataset: tuple[Any, Any],
    attack: Callable[[float], Attack | str],
    largest: float,
    *,
    rounds: int = 5,
    epsilons: Sequence[float] | None = None,
    batch_size: int = 100,
    seed: int = 0,
    success: str = "any_iterate",
    first_index: int = 0,
    surrogate: Classifier | keras.Model | None = None,
    **options: Any,
) -> SecurityCurve:
    """Robust accuracy under any attack for each of many budgets, by bisection of the budget.

    Every image is first attacked within the largest budget. For an image that gets misclassified,
    the interval that holds its smallest budget of success is halved `rounds` times: it is attacked
    within the middle of the interval. This assumes that success within a budget means success
    within all larger ones. An attack may miss an image: like every robust accuracy, the curve is an
    upper bound.

    Args:
        classifier: a Classifier or Keras model.
        dataset: images `[n, H, W, C]` and labels `[n]` as arrays, which are kept in memory.
        attack: a function from a budget, in the unit of the images, to the attack within it.
        largest: the largest budget, positive and finite.
        rounds: how often intervals are halved, at least 1. Distances are rounded up to multiples of
            `largest / 2**rounds`.
        epsilons: budgets of the curve; None takes 0 and these multiples up to `largest`.
        batch_size: how many images are attacked at a time.
        seed: int64, seed of the random starts, which depend on it, the example's index
            and the restart alone: an image starts at the same points whichever others are attacked.
        success: `"any_iterate"` or `"last_iterate"`, as in `evaluate_robustness`.
        first_index: index of the first image in its data set.
        surrogate: another network whose gradients alone the attacks follow; None for those of the
            classifier.
        **options: of the first evaluation, that within the largest budget, the arguments `output`,
            `description`, `diagnostics`, `progress` and `verbose` of `evaluate_robustness`.

    Returns:
        A `SecurityCurve`: robust accuracies by budget, with Wilson's intervals, and the median of
        the images' smallest budgets of success. Images misclassified when clean have distance 0,
        those still correct within the largest budget an infinite distance.

    Raises:
        TypeError: `rounds` is not an integer, images that are not floating point, or another
            argument.
        ValueError: `largest` or `rounds` is not positive, `largest` exceeds the pixel range, images
            or labels are out of range, or `attack` returns text that is no attack.

    Example:
        >>> curve = bisected_curve(model, (images, labels), aad_tf.attacks.apgd, 8 / 255)
    """
    check_count(rounds, "rounds")
    if unknown := options.keys() - _FIRST_OPTIONS:
        raise TypeError(
            f"bisected_curve takes {', '.join(sorted(_FIRST_OPTIONS))} of evaluate_robustness, got "
            f"{', '.join(sorted(unknown))}. Choose the examples by the dataset."
        )
    if not 0 < largest < math.inf:
        raise ValueError(f"largest must be a budget above 0 and finite, got {largest}.")
    images, labels = (np.asarray(each) for each in dataset)
    classifier = inputs.as_classifier(classifier)
    if surrogate is not None:
        surrogate = inputs.as_surrogate(surrogate, classifier)
    (widest,) = inputs.check_attacks(attack(largest))
    report = evaluate_robustness(
        classifier,
        (images, labels),
        widest,
        batch_size=batch_size,
        seed=seed,
        success=success,
        first_index=first_index,
        surrogate=surrogate,
        **{"diagnostics": False, "verbose": 0, **options},
    )
    records = list(report.records())
    mistaken, fallen, predictions = (
        np.array([record[name] for record in records])
        for name in ("clean_mistake", "success", "clean_prediction")
    )
    seen = predictions
    if surrogate is not None:
        seen = np.array([record["surrogate_clean_prediction"] for record in records])
    images, labels = (each.numpy() for each in checked_inputs(classifier, images, labels))
    parts = 2**rounds
    holds, falls = np.zeros(len(labels), int), np.full(len(labels), parts)

    def fell(rows: np.ndarray, part: int) -> np.ndarray:
        """Whether the attack within a part of the largest budget succeeds, `[rows]`."""
        (within,) = inputs.check_attacks(attack(largest * part / parts))
        within = within.for_classes(classifier.num_classes)
        any_iterate = success == "any_iterate"
        pool = pool_of(
            classifier, within, batch_size, seed=seed, any_iterate=any_iterate, surrogate=surrogate
        )
        for begin in range(0, len(rows), batch_size):
            some = rows[begin : begin + batch_size]
            # Under their own indices, on which the random starts depend.
            slots = pool.slots(labels[some], first_index + some, predictions[some], seen[some])
            pool.add(images[some], slots)
        found = [record for batch in pool.run(drain=True) for record in batch]
        succeeded = {record["index"]: record["success"] for record in found}
        return np.array([succeeded[first_index + row] for row in rows])

    for _ in range(rounds):
        middle = (holds + falls) // 2
        for part in np.unique(middle[fallen & ~mistaken]):
            rows = np.flatnonzero(fallen & ~mistaken & (middle == part))
            successes = fell(rows, int(part))
            falls[rows[successes]], holds[rows[~successes]] = part, part
    distances = np.where(fallen, largest * falls / parts, math.inf)
    shown = largest * np.arange(parts + 1) / parts if epsilons is None else epsilons
    return SecurityCurve(np.where(mistaken, 0.0, distances), tuple(shown), widest.norm)


def _chosen(attack: str | None, known: Iterable[str]) -> str:
    names = list(known)
    if attack is None and len(names) == 1:
        return names[0]
    if not names:
        raise ValueError("There are no records to make a curve of.")
    if attack is not None:
        return name_of_call(attack, names)
    raise ValueError(f"Several attacks were run: pass attack=, one of {', '.join(names)}.")


def _distance(record: Mapping[str, Any]) -> float:
    if record["clean_mistake"]:
        return 0.0
    return distance_of(record) if record["success"] else math.inf
