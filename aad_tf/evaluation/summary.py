"""Accuracies under attack with their threat models, and warnings where they may mislead."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf.attacks import (
    AwayFromLabel,
    attack_to_dict,
)
from aad_tf.evaluation.example_log import CLEAN_MISTAKE, MISCLASSIFIED, ROBUST, OutcomeCounts
from aad_tf.metrics import median_interval, wilson_interval
from aad_tf.records.findings import FLAGGED, NOT_COMPARED, NOT_FLAGGED, STATUSES, is_within
from aad_tf.types import Bounds
from aad_tf.utils.checks import small_epsilon
from aad_tf.utils.norms import NORMS, budget_of, norm_of

# One-sided 5% of the normal distribution.
_SIGNIFICANT = 1.645

# What plain attacks on the classification descend.
_CROSS_ENTROPY = attack_to_dict(AwayFromLabel())

SUCCESS_RULES = {
    "any_iterate": "an example is not robust if any iterate (or random start) is misclassified",
    "last_iterate": "an example is not robust if the last iterate is misclassified",
}


def summarize(
    threat_models: Sequence[Mapping[str, Any]],
    timings: Sequence[Mapping[str, float]],
    counts: OutcomeCounts,
    success_rule: str,
    compared: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Computes accuracies under attacks, and warnings that they mislead.

    Args:
        threat_models: one dict for each attack, with the attack's name under `attack`.
        timings: one for each attack: `seconds`, `images_attacked`, `images_per_second`.
        counts: outcomes of all examples under each attack.
        success_rule: a sentence on when an example counts as not robust, for the result.
        compared: entries `[stronger, weaker, why]`: names of two attacks of which the first should
            leave no more examples correct, and a reason.

    Returns:
        A dict that `json` can write: `attacks`, a list of entries; `success_rule`; `warnings`, a
        list of sentences; and `adaptive`, a comparison of attacks that know the defence with plain
        attacks, if both were run. Every entry has `attack` (its name), `robust_accuracy` and its
        Wilson `interval`, `clean_accuracy`, the numbers of examples `count`, `robust`, `fooled`
        (correct when clean and misclassified under attack) and `clean_mistakes`, the
        `threat_model`, and the timing. Targeted attacks: `target_reached`, the fraction of attacked
        images classified as the target, and `own_class`, how many were not attacked because their
        label is the target. Transfer attacks: `surrogate_clean_accuracy` over all examples, and
        `surrogate_misclassified`, the fraction of attacked images that the surrogate misclassifies.
        Cascades: `stages`, the robust accuracy after each attack. Attacks that look for the nearest
        misclassified image at any distance: `median_distance` of that image over the images that
        are correct when clean, None where the attack found none for half of them or more, and its
        95% interval `median_distance_interval`, whose bounds are distances (None for infinity), or
        None if there are too few images. A fraction of no images is None.
    """
    return {
        "attacks": [
            {
                **_accuracies(model["attack"], counts),
                **_goals(model, counts),
                **_stages(model, counts),
                **_median_distance(model, counts),
                "threat_model": dict(model),
                **seconds,
            }
            for model, seconds in zip(threat_models, timings, strict=True)
        ],
        **adaptive_section(threat_models, counts),
        "success_rule": success_rule,
        "warnings": [
            *sanity_warnings(threat_models, counts),
            *masking_warnings(threat_models, compared, counts),
        ],
    }


def timing(seconds: float, attacked: int) -> dict[str, float]:
    """Computes images per second for a summary.

    Args:
        seconds: time spent in an attack.
        attacked: how many images were attacked.

    Returns:
        `seconds`, `images_attacked`, and `images_per_second`, 0 without any time.
    """
    return {
        "seconds": round(seconds, 3),
        "images_attacked": attacked,
        "images_per_second": round(attacked / seconds, 3) if seconds else 0.0,
    }


def _accuracies(name: str, counts: OutcomeCounts) -> dict[str, Any]:
    outcomes = counts.outcomes(name)
    count = len(outcomes)
    robust, misclassified, mistakes = (
        int(np.count_nonzero(outcomes == kind)) for kind in (ROBUST, MISCLASSIFIED, CLEAN_MISTAKE)
    )
    return {
        "attack": name,
        "robust_accuracy": robust / count,
        "clean_accuracy": (count - mistakes) / count,
        "count": count,
        "robust": robust,
        "fooled": misclassified,
        "clean_mistakes": mistakes,
        "interval": wilson_entry(robust, count),
    }


def wilson_entry(successes: int, count: int) -> dict[str, Any]:
    """Wilson's 95% interval of a proportion, as a dict for summaries.

    Args:
        successes: number of successes, in [0, count].
        count: number of trials, at least 1.

    Returns:
        `method`, `confidence`, and the bounds `low` and `high`, fractions in [0, 1].

    Raises:
        ValueError: a number out of range.
    """
    interval = wilson_interval(successes, count)
    return {"method": "wilson", "confidence": 0.95, **interval._asdict()}


def sanity_warnings(threat_models: Sequence[Mapping[str, Any]], counts: OutcomeCounts) -> list[str]:
    """Warns of a clean accuracy no better than chance, and of budgets too small to matter.

    Both are usual if images lie in another pixel range than the network or the attack expects.

    Args:
        threat_models: for each attack that was run a dict with its name under `attack`, its
            `epsilon` and the `bounds` of the images.
        counts: outcomes of all examples under each attack.

    Returns:
        Sentences, none if nothing looks wrong.
    """
    mistakes = counts.outcomes(counts.attacks[0]) == CLEAN_MISTAKE
    correct = int(np.count_nonzero(~mistakes))
    return [
        *chance_warning("The clean accuracy", correct, counts.labels()),
        *small_epsilon_warnings(threat_models),
    ]


def chance_warning(begin: str, correct: int, labels: Mapping[int, int]) -> list[str]:
    """Warns of an accuracy that is not significantly better than chance.

    Chance is the accuracy of always answering the most frequent class. There is a warning if the
    lower bound of the accuracy's 95% Wilson interval does not exceed chance.

    Args:
        begin: how the sentence begins, such as `"The clean accuracy"`.
        correct: how many examples are classified correctly.
        labels: how many examples each class has, by class number; at least one example.

    Returns:
        A list of one sentence, or an empty one; empty if all examples have the same class or all
        are correct.
    """
    count = sum(labels.values())
    chance, interval = max(labels.values()) / count, wilson_interval(correct, count)
    if len(labels) == 1 or correct == count or interval.low > chance:
        return []
    return [
        f"{begin}, {correct / count:.1%} ({interval.low:.1%} to {interval.high:.1%}), is no better "
        f"than chance: always answering the most frequent class gives {chance:.1%}. Do the images "
        f"lie in the pixel range that the network was trained on, and are the labels its class "
        f"numbers?"
    ]


def small_epsilon_warnings(threat_models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warns of attacks that change pixels by less than half of one of 255 gray levels.

    Args:
        threat_models: for each attack that was run a dict with its name under `attack`, its
            `epsilon` and the `bounds` of the images.

    Returns:
        One sentence for each such attack.
    """
    warnings = []
    for model in threat_models:
        bounds = Bounds(*model.get("bounds", (0.0, 1.0)))
        too_small = small_epsilon(model["attack"], budget_of(model), bounds)
        warnings += [too_small] if too_small else []
    return warnings


def _goals(model: Mapping[str, Any], counts: OutcomeCounts) -> dict[str, Any]:
    """What a targeted attack reached, and what became of the surrogate of a transfer attack."""
    outcomes, tally = counts.outcomes(model["attack"]), counts.tally(model["attack"])
    attacked = int(np.count_nonzero(outcomes != CLEAN_MISTAKE)) - tally["own_class"]
    entries: dict[str, Any] = {}
    if "target" in model:
        entries["target_reached"] = tally["target_reached"] / attacked if attacked else None
        entries["own_class"] = tally["own_class"]
    if "surrogate" in model:
        fooled = tally["surrogate_misclassified"] / attacked if attacked else None
        entries["surrogate_clean_accuracy"] = tally["surrogate_correct"] / len(outcomes)
        entries["surrogate_misclassified"] = fooled
    return entries


def _stages(model: Mapping[str, Any], counts: OutcomeCounts) -> dict[str, Any]:
    """What each attack of a cascade broke, and the accuracy that it left."""
    if "stages" not in model:
        return {}
    outcomes, tally = counts.outcomes(model["attack"]), counts.tally(model["attack"])
    left = int(np.count_nonzero(outcomes != CLEAN_MISTAKE))
    stages = []
    for name in model["stages"]:
        broken = tally[f"broken_by {name}"]
        left -= broken
        stages.append({"attack": name, "broken": broken, "robust_accuracy": left / len(outcomes)})
    return {"stages": stages}


def looks_for_nearest(model: Mapping[str, Any]) -> bool:
    """Whether an attack looks for the nearest misclassified image at any distance.

    Args:
        model: the attack's threat model, as its method `threat_model` returns it.

    Returns:
        True for a minimum-norm attack without a budget, as `fab(None)` is.
    """
    # A cascade has no budget among its own parameters.
    return bool(model.get("minimum_norm")) and model["parameters"].get("epsilon", 0) is None


def _median_distance(model: Mapping[str, Any], counts: OutcomeCounts) -> dict[str, Any]:
    """The median distance to the nearest misclassified image, of attacks that look for it."""
    if not looks_for_nearest(model):
        return {}
    distances = counts.distances(model["attack"])
    interval = median_interval(distances)
    return {
        "median_distance": _finite(float(np.median(distances))) if len(distances) else None,
        "median_distance_interval": interval
        and {
            "method": "order statistics",
            "confidence": 0.95,
            **{name: _finite(bound) for name, bound in interval._asdict().items()},
        },
    }


def _finite(value: float) -> float | None:
    """The number, or None for infinity and NaN, which JSON does not have."""
    return value if math.isfinite(value) else None


def adaptive_pairs(
    threat_models: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Finds attacks that know the defence, each with a plain attack that is otherwise equal.

    Adaptive attacks are: attacks on AAD's total loss, whose plain attack is on the cross-entropy;
    attacks on the attention-augmented loss A3, whose plain attack is on the loss inside it; and,
    only if one of these two was run, transfer attacks, whose plain attack follows the classifier's
    own gradients. All other parameters, steps and budget included, are equal within a pair.

    Args:
        threat_models: for each attack that was run a dict with its `parameters` and its `access`,
            "white_box" or "transfer".

    Yields:
        Two of these dicts, that of the adaptive and that of the plain attack.
    """
    by_identity = {_identity(model): model for model in reversed(threat_models)}
    adaptive = any(_plain_objective(model) is not None for model in threat_models)
    for model in threat_models:
        plain = _without_knowledge(model) if adaptive else None
        if plain is not None and (found := by_identity.get(_identity(plain))) is not None:
            yield model, found


def _identity(model: Mapping[str, Any]) -> str:
    return json.dumps([model.get("access"), model.get("parameters")], sort_keys=True)


def _without_knowledge(model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What an attack is without what makes it adaptive; None if nothing does."""
    plain = _plain_objective(model)
    if plain is not None:
        return {**model, "parameters": {**model["parameters"], "objective": plain}}
    return {**model, "access": "white_box"} if model.get("access") == "transfer" else None


def _plain_objective(model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The objective of an attack without the losses of a defence; None if it has none of them."""
    objective = model.get("parameters", {}).get("objective", {})
    plain = {"aad_total": _CROSS_ENTROPY, "a3": objective.get("objective")}
    return plain.get(str(objective.get("kind")))


def adaptive_section(
    threat_models: Sequence[Mapping[str, Any]], counts: OutcomeCounts
) -> dict[str, Any]:
    """Compares attacks that know the defence with plain attacks that are otherwise equal.

    Args:
        threat_models: for each attack that was run a dict of its name `attack`, its `parameters`,
            `access`, `steps` and `epsilon`.
        counts: outcomes of all examples under each attack.

    Returns:
        An empty dict if no attack that knows the defence was run beside an otherwise equal plain
        one, else a dict under `adaptive` with two lists. `attacks` has an entry per pair: both
        names and robust accuracies, and how many images only one of the two got misclassified.
        `worst` has an entry for each budget of an adaptive attack: the fraction of all images that
        stay correct under every attack of that norm within that budget, with its Wilson interval,
        and `norm` where it is not l-inf.
    """
    pairs = list(adaptive_pairs(threat_models))
    if not pairs:
        return {}
    attacks = []
    for model, plain in pairs:
        survive = counts.outcomes(model["attack"]) == ROBUST
        survive_plain = counts.outcomes(plain["attack"]) == ROBUST
        attacks.append(
            {
                "attack": model["attack"],
                "robust_accuracy": float(np.mean(survive)),
                "plain": plain["attack"],
                "plain_robust_accuracy": float(np.mean(survive_plain)),
                "steps": model["steps"],
                "epsilon": model["epsilon"],
                "broken_by_it_alone": int(np.count_nonzero(survive_plain & ~survive)),
                "broken_by_plain_alone": int(np.count_nonzero(survive & ~survive_plain)),
            }
        )
    budgets = sorted({(norm_of(model), budget_of(model)) for model, _ in pairs})
    worst = [_worst_case(threat_models, norm, epsilon, counts) for norm, epsilon in budgets]
    return {"adaptive": {"attacks": attacks, "worst": worst}}


def _worst_case(
    threat_models: Sequence[Mapping[str, Any]], norm: str, epsilon: float, counts: OutcomeCounts
) -> dict[str, Any]:
    """Over all attacks within a budget: an image is robust only if it survives each of them."""
    names = [m["attack"] for m in threat_models if is_within(m, norm, epsilon)]
    survive = np.all([counts.outcomes(name) == ROBUST for name in names], axis=0)
    robust, count = int(np.count_nonzero(survive)), len(survive)
    return {
        **({} if norm == "linf" else {"norm": norm}),
        "epsilon": epsilon if math.isfinite(epsilon) else None,
        "attacks": names,
        "robust_accuracy": robust / count,
        "robust": robust,
        "count": count,
        "interval": wilson_entry(robust, count),
    }


def masking_warnings(
    threat_models: Sequence[Mapping[str, Any]],
    compared: Sequence[Sequence[str]],
    counts: OutcomeCounts,
) -> list[str]:
    """Warns of results that suggest masked gradients (Athalye et al. 2018).

    There is a warning if an attack left images that it did not misclassify exactly as they were
    (other than attacks of epsilon 0, and those that look for the nearest image), and if a stronger
    attack leaves significantly more images correct than a weaker one: at 5%, by a one-sided sign
    test over the images on which the two disagree.

    Args:
        threat_models: for each attack that was run a dict with its name under `attack`, its
            `epsilon`, and `minimum_norm`, True for an attack that looks for the nearest image.
        compared: entries `[stronger, weaker, why]`: names of two attacks of which the first should
            leave no more examples correct, and a reason.
        counts: outcomes of all examples under each attack.

    Returns:
        Sentences, none if nothing looks wrong.
    """
    warnings = []
    for model in threat_models:
        name = model["attack"]
        # What looks for the nearest image leaves the original one where it finds none.
        moved = budget_of(model) > 0 and not model.get("minimum_norm")
        warnings += _unmoved_warning(name, counts) if moved else []
        for stronger, weaker, reason in compared:
            if stronger == name:
                warnings += _comparison_warning(stronger, weaker, reason, counts)
    return warnings


def leaves_more(stronger: str, weaker: str, counts: OutcomeCounts) -> bool:
    """Whether the stronger of two attacks leaves significantly more examples correct.

    This is a one-sided sign test at 5% over the examples that only one of the two leaves correct.

    Args:
        stronger: name of the attack that should leave fewer examples correct.
        weaker: name of the other attack.
        counts: outcomes of all examples under both.

    Returns:
        True if the test is significant.
    """
    return significantly_more(*(counts.outcomes(each) == ROBUST for each in (stronger, weaker)))


def significantly_more(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the first of two paired outcomes is True significantly more often.

    Args:
        one: bool `[examples]`, an outcome of each example.
        other: bool `[examples]`, another outcome of the same examples.

    Returns:
        True if the one-sided sign test at 5% over the examples in which they differ is significant.
    """
    only_one, only_other = np.count_nonzero(one & ~other), np.count_nonzero(~one & other)
    return bool(only_one - only_other > _SIGNIFICANT * math.sqrt(only_one + only_other))


def format_summary(summary: Mapping[str, Any]) -> str:
    """A summary as text to print.

    Args:
        summary: the summary of a report of `evaluate_robustness`.

    Returns:
        A table with a row per attack, the threat model, warnings and diagnostics.

    Example:
        >>> report = evaluate_robustness(model, (images, labels), fgsm(0.1))
        >>> text = format_summary(report.summary)
    """
    models = [entry["threat_model"] for entry in summary["attacks"]]
    rows = [("attack", "budget", "robust accuracy (95%)", "clean", "images", "time")]
    for entry in summary["attacks"]:
        interval = entry["interval"]
        rows.append(
            (
                entry["attack"],
                budget_text(entry["threat_model"], models),
                f"{entry['robust_accuracy']:.2%} ({interval['low']:.2%} to {interval['high']:.2%})",
                f"{entry['clean_accuracy']:.2%}",
                f"{entry['count']}",
                f"{entry['seconds']:.1f} s",
            )
        )
    lines = aligned(rows)
    if shard := summary.get("evaluated", {}).get("shard"):
        lines.append(f"Only shard {shard[0]}/{shard[1]} of the examples.")
    lines += [_stages_line(entry) for entry in summary["attacks"] if "stages" in entry]
    lines += [_distance_line(entry) for entry in summary["attacks"] if "median_distance" in entry]
    lines += [_target_line(entry) for entry in summary["attacks"] if "target_reached" in entry]
    lines += _adaptive_lines(summary.get("adaptive"))
    transfer = [e for e in summary["attacks"] if e["threat_model"].get("access") == "transfer"]
    access = "White box"
    if transfer:
        correct, source = transfer[0]["surrogate_clean_accuracy"], transfer[0]["threat_model"]
        begin = (
            "Transfer" if len(transfer) == len(summary["attacks"]) else "White box; transfer(...)"
        )
        access = f"{begin} from {_surrogate_name(source)}, clean accuracy {correct:.2%}"
    model = summary["attacks"][0]["threat_model"]
    bounds = model.get("bounds")
    unit = f" of images in [{bounds[0]:g}, {bounds[1]:g}]" if bounds else ""
    norms = norms_text(models)
    lines.append(f"{access}; {norms}{unit}, true labels; {summary['success_rule']}.")
    lines += [f"Warning: {warning}" for warning in summary["warnings"]]
    return "\n".join(lines + _diagnostics_lines(summary.get("diagnostics")))


def norms_text(models: Iterable[Mapping[str, Any]]) -> str:
    """Names the norms of attacks.

    Args:
        models: threat models of the attacks.

    Returns:
        `"l-inf"`, `"l2"`, or `"l-inf and l2"`.

    Example:
        >>> norms_text([{"norm": "l2"}, {"norm": "linf"}])
        'l-inf and l2'
    """
    found = {norm_of(model) for model in models}
    return " and ".join(text for norm, text in NORMS.items() if norm in found)


def budget_text(model: Mapping[str, Any], models: Iterable[Mapping[str, Any]]) -> str:
    """Writes the budget of an attack, with its norm where attacks beside it have another one.

    Args:
        model: threat model of the attack.
        models: threat models of all attacks of a table.

    Returns:
        Such as `"0.5"`, or `"0.5 (l2)"`.

    Example:
        >>> one, other = {"epsilon": 0.5, "norm": "l2"}, {"epsilon": 0.1, "norm": "linf"}
        >>> budget_text(one, [one]), budget_text(one, [one, other])
        ('0.5', '0.5 (l2)')
    """
    alone = len({norm_of(each) for each in models}) == 1
    budget = "none" if model["epsilon"] is None else f"{model['epsilon']:.4g}"
    return budget + ("" if alone else f" ({NORMS[norm_of(model)]})")


def _diagnostics_lines(diagnostics: Mapping[str, Any] | None) -> list[str]:
    """What was flagged, in full; of the rest the names."""
    if diagnostics is None:
        return []
    batches = diagnostics["first_batch"]
    findings: dict[str, list[Mapping[str, Any]]] = {}
    parts = [batch["findings"] for batch in batches]
    for finding in itertools.chain(*parts, diagnostics["outcomes"]):
        findings.setdefault(finding["name"], []).append(finding)
    by_status: dict[str, list[str]] = {}
    probed = sum(batch["examples"] for batch in batches)
    lines = [f"Diagnostics, of all outcomes and of passes over {probed} images:"]
    for name, found in findings.items():
        statuses = [finding["status"] for finding in found]
        status = next(each for each in STATUSES if each in statuses)
        by_status.setdefault(status, []).append(name)
        if status == FLAGGED:
            first = found[statuses.index(status)]
            often = f"; in {statuses.count(status)} of {len(found)} parts" if found[1:] else ""
            lines.append(
                f"  flagged: {name}: {first['measured']} ({first['value']:.3g}, "
                f"threshold {first['threshold']:.3g}"
                f"{often}). Run next: {first['run_next']}."
            )
    if unflagged := by_status.get(NOT_FLAGGED):
        lines.append(f"  not flagged, which proves nothing: {', '.join(unflagged)}.")
    if missing := by_status.get(NOT_COMPARED):
        lines.append(f"  nothing comparable was run: {', '.join(missing)}.")
    return lines


def _adaptive_lines(adaptive: Mapping[str, Any] | None) -> list[str]:
    """Each adaptive attack beside its plain one, and what survives all."""
    if adaptive is None:
        return []
    header = (
        "adaptive attack",
        "steps",
        "robust",
        "plain attack",
        "robust",
        "only it",
        "only plain",
    )
    rows = [
        (
            pair["attack"],
            str(pair["steps"]),
            f"{pair['robust_accuracy']:.2%}",
            pair["plain"],
            f"{pair['plain_robust_accuracy']:.2%}",
            str(pair["broken_by_it_alone"]),
            str(pair["broken_by_plain_alone"]),
        )
        for pair in adaptive["attacks"]
    ]
    lines = [
        "Adaptive attacks beside plain ones of equal steps and budget, and how many images fall to",
        "only one of the two:",
        *aligned([header, *rows], "  "),
    ]
    for worst in adaptive["worst"]:
        interval = worst["interval"]
        lines.append(
            f"Worst over all {len(worst['attacks'])} attacks within {budget_of(worst):.4g}"
            f"{' in l2' if norm_of(worst) == 'l2' else ''}: "
            f"{worst['robust_accuracy']:.2%} ({interval['low']:.2%} to {interval['high']:.2%}) of "
            f"the images survive every one."
        )
    return lines


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Lays out the rows of a table in columns of equal width.

    Args:
        rows: cells of each row, equally many.
        indent: put in front of each line.

    Returns:
        One line per row, without trailing spaces.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _surrogate_name(model: Mapping[str, Any]) -> str:
    surrogate = model["surrogate"]
    return f"{surrogate['name']} (weights {surrogate['weights']})"


def _stages_line(entry: Mapping[str, Any]) -> str:
    stages = (f"{stage['attack']} {stage['robust_accuracy']:.2%}" for stage in entry["stages"])
    return f"{entry['attack']}, robust accuracy after each attack: {', '.join(stages)}."


def _distance_line(entry: Mapping[str, Any]) -> str:
    begin = f"{entry['attack']}, median distance to the nearest misclassified image found: "
    median, interval = entry["median_distance"], entry["median_distance_interval"]
    found = "none for half of the images or more" if median is None else f"{median:.4g}"
    if interval is None:
        return f"{begin}{found}."
    low, high = (
        "unknown" if bound is None else f"{bound:.4g}"
        for bound in (interval["low"], interval["high"])
    )
    return f"{begin}{found} ({low} to {high} at 95%)."


def _target_line(entry: Mapping[str, Any]) -> str:
    reached, target = entry["target_reached"], entry["threat_model"]["target"]
    found = (
        "no image attacked" if reached is None else f"{reached:.2%} of the images attacked reach it"
    )
    own = entry["own_class"]
    left_out = f"; {own} of class {target} not attacked, counted as robust" if own else ""
    return f"{entry['attack']} is targeted at {target}: {found}{left_out}."


def _comparison_warning(
    stronger: str, weaker: str, reason: str, counts: OutcomeCounts
) -> list[str]:
    if not leaves_more(stronger, weaker, counts):
        return []
    spared, spared_by_weaker = (
        np.mean(counts.outcomes(name) == ROBUST) for name in (stronger, weaker)
    )
    return [
        f"{stronger} {reason} yet leaves more accuracy ({spared:.1%}) than "
        f"{weaker} ({spared_by_weaker:.1%}). Gradients may be masked: the network is "
        f"likely less robust than these numbers say. Try attacks with random starts, more steps, "
        f"transfer from another network, or none of its gradients at all."
    ]


def _unmoved_warning(attack: str, counts: OutcomeCounts) -> list[str]:
    unmoved = counts.tally(attack)["unmoved"]
    if unmoved == 0:
        return []
    robust = np.count_nonzero(counts.outcomes(attack) == ROBUST)
    return [
        f"{attack} left {unmoved} of the {robust} images that it did not misclassify exactly as "
        f"they were: their gradient is zero, as with saturated losses or flat activations, or "
        f"leads nowhere. They count as robust but were not really attacked."
    ]
