"""From outcomes to accuracies under a stated threat model, and signs that they mislead."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf.attacks import (
    AwayFromLabel,
    attack_to_dict,
)
from aad_tf.evaluation.example_log import CLEAN_MISTAKE, MISCLASSIFIED, ROBUST, OutcomeCounts
from aad_tf.metrics import wilson_interval
from aad_tf.types import Bounds
from aad_tf.utils.checks import small_epsilon

# One-sided 5% of the normal distribution.
_SIGNIFICANT = 1.645

# What plain attacks on the classification descend.
_CROSS_ENTROPY = attack_to_dict(AwayFromLabel())

# Of all examples, by Square alone: flag of the AutoAttack code.
_GRADIENT_FREE = 0.002
# Of findings of `aad_tf.evaluation.diagnostics`; what any part has first counts for the whole.
STATUSES = FLAGGED, NOT_FLAGGED, NOT_COMPARED = (
    "flagged",
    "not flagged",
    "nothing comparable was run",
)

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
    """Accuracies under attacks with their threat models, and signs that they mislead.

    Args:
        threat_models: one for each attack, which it names under `attack`.
        timings: one for each attack, as `timing` gives it.
        counts: outcomes of all examples.
        success_rule: the sentence of `SUCCESS_RULES` that outcomes follow.
        compared: as `comparisons` gives it.

    Returns:
        `attacks` (one entry per attack; `interval` is Wilson's of the robust accuracy),
        `success_rule` and `warnings`, all of which `json` can write. Of a targeted attack,
        `target_reached` is the fraction of the attacked images that the classifier takes for their
        target, and `own_class` counts those that were not attacked because their class is the
        target. Of a transfer attack, `surrogate_clean_accuracy` is the surrogate's on all
        examples, and `surrogate_misclassified` the fraction of the attacked images that it
        misclassifies. Fractions of no image are None. Of a cascade, `stages` holds the robust
        accuracy after each of its attacks. Where adaptive attacks were run beside the plain ones
        that they depart from, `adaptive` is what `adaptive_section` returns.
    """
    return {
        "attacks": [
            {
                **_accuracies(model["attack"], counts),
                **_goals(model, counts),
                **_stages(model, counts),
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
    """Seconds spent in an attack, images attacked, and images per second, for a summary."""
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
    """Wilson's 95% interval of a proportion as summaries hold it."""
    interval = wilson_interval(successes, count)
    return {"method": "wilson", "confidence": 0.95, **interval._asdict()}


def sanity_warnings(threat_models: Sequence[Mapping[str, Any]], counts: OutcomeCounts) -> list[str]:
    """Plain sentences on numbers that cannot be meant: no accuracy to lose, or no perturbation.

    Both come of images in another range than the network or the attack was given for. Chance is
    the accuracy of always answering the most frequent class; of a single class nothing is said.

    Args:
        threat_models: one for each attack that was run.
        counts: outcomes of all examples under each.

    Returns:
        Warnings, empty if nothing looks wrong.
    """
    mistakes = counts.outcomes(counts.attacks[0]) == CLEAN_MISTAKE
    correct = int(np.count_nonzero(~mistakes))
    return [
        *chance_warning("The clean accuracy", correct, counts.labels()),
        *small_epsilon_warnings(threat_models),
    ]


def chance_warning(begin: str, correct: int, labels: Mapping[int, int]) -> list[str]:
    """A sentence on an accuracy that is no better than chance; see `sanity_warnings`.

    Args:
        begin: whose accuracy it is.
        correct: how many examples are classified correctly.
        labels: how many examples each class has.
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
    """A sentence on each attack that hardly moves an image; see `sanity_warnings`."""
    warnings = []
    for model in threat_models:
        bounds = Bounds(*model.get("bounds", (0.0, 1.0)))
        too_small = small_epsilon(model["attack"], model["epsilon"], bounds)
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


def adaptive_pairs(
    threat_models: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Adaptive attacks, each with the plain attack of equal steps and budget.

    Plain is the attack that differs in nothing else: on the cross-entropy, where the other
    descends AAD's total loss; on the loss alone, where it descends A3's; on the classifier's own
    gradients, where it follows those of a surrogate. Transfer is adaptive only from a twin of the
    defended network, so it counts only where one of the other two was run as well.

    Args:
        threat_models: one for each attack that was run.

    Yields:
        The threat models of both.
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
    """What attacks that know the defence find beyond plain ones, and what survives all of them.

    Args:
        threat_models: one for each attack that was run.
        counts: outcomes of all examples under each.

    Returns:
        Nothing if no adaptive attack was run beside its plain one, else under `adaptive`:
        `attacks`, for each pair of `adaptive_pairs` both names and robust accuracies, and how many
        images fall to one of the two alone; and `worst`, for each budget of an adaptive attack the
        fraction of the images that survive all attacks within that budget, with Wilson's interval.
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
    budgets = sorted({model["epsilon"] for model, _ in pairs})
    worst = [_worst_case(threat_models, epsilon, counts) for epsilon in budgets]
    return {"adaptive": {"attacks": attacks, "worst": worst}}


def _worst_case(
    threat_models: Sequence[Mapping[str, Any]], epsilon: float, counts: OutcomeCounts
) -> dict[str, Any]:
    """Over all attacks within a budget: an image is robust only if it survives each of them."""
    names = [m["attack"] for m in threat_models if m["epsilon"] <= epsilon * (1 + 1e-9)]
    survive = np.all([counts.outcomes(name) == ROBUST for name in names], axis=0)
    robust, count = int(np.count_nonzero(survive)), len(survive)
    return {
        "epsilon": epsilon,
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
    """Plain sentences on results that no honest gradient would give (Athalye et al. 2018).

    There are two kinds: an attack left images that it did not get misclassified exactly as they
    were, or a stronger attack left significantly more of them correct than a weaker one.

    A stronger attack may by chance leave a few examples correct that a weaker one does not, so a
    difference is reported only where a one-sided sign test over the examples on which the two
    disagree finds it significant at 5%.

    Args:
        threat_models: one for each attack that was run.
        compared: which attack should leave no more of them correct than which: entries
            `[stronger, weaker, why]` of two names and a reason, as `comparisons` makes them.
        counts: outcomes of all examples under each.

    Returns:
        Warnings, empty if nothing looks wrong.
    """
    warnings = []
    for model in threat_models:
        name = model["attack"]
        # What looks for the nearest image leaves the original one where it finds none.
        moved = model["epsilon"] > 0 and not model.get("minimum_norm")
        warnings += _unmoved_warning(name, counts) if moved else []
        for stronger, weaker, reason in compared:
            if stronger == name:
                warnings += _comparison_warning(stronger, weaker, reason, counts)
    return warnings


def leaves_more(stronger: str, weaker: str, counts: OutcomeCounts) -> bool:
    """Whether the stronger of two attacks leaves significantly more examples correct.

    That is decided by a one-sided sign test at 5% over the examples on which the two disagree.

    Args:
        stronger: name of the attack that should leave fewer of them correct.
        weaker: name of the other one.
        counts: outcomes of all examples under both.
    """
    spared = counts.outcomes(stronger) == ROBUST
    spared_by_weaker = counts.outcomes(weaker) == ROBUST
    only_weaker_succeeds = int(np.count_nonzero(spared & ~spared_by_weaker))
    only_stronger_succeeds = int(np.count_nonzero(~spared & spared_by_weaker))
    difference = only_weaker_succeeds - only_stronger_succeeds
    return difference > _SIGNIFICANT * math.sqrt(only_weaker_succeeds + only_stronger_succeeds)


def format_summary(summary: Mapping[str, Any]) -> str:
    """A summary as a table to print, with its warnings and diagnostics below."""
    rows = [("attack", "budget", "robust accuracy (95%)", "clean", "images", "time")]
    for entry in summary["attacks"]:
        interval = entry["interval"]
        rows.append(
            (
                entry["attack"],
                f"{entry['threat_model']['epsilon']:.4g}",
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
    lines.append(f"{access}; l-inf{unit}, true labels; {summary['success_rule']}.")
    lines += [f"Warning: {warning}" for warning in summary["warnings"]]
    return "\n".join(lines + _diagnostics_lines(summary.get("diagnostics")))


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
            f"Worst over all {len(worst['attacks'])} attacks within {worst['epsilon']:.4g}: "
            f"{worst['robust_accuracy']:.2%} ({interval['low']:.2%} to {interval['high']:.2%}) of "
            f"the images survive every one."
        )
    return lines


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows of a table as lines, in columns of equal width."""
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
