"""From outcomes to accuracies under a stated threat model, and signs of gradient masking."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf.attacks import AttentionAugmented, GradientSignAttack
from aad_tf.evaluation.example_log import CLEAN_MISTAKE, MISCLASSIFIED, ROBUST, OutcomeCounts
from aad_tf.metrics import wilson_interval
from aad_tf.types import Bounds

# One-sided 5% of the normal distribution.
_SIGNIFICANT = 1.645

SUCCESS_RULES = {
    "any_iterate": "an example is not robust if any iterate (or random start) is misclassified",
    "last_iterate": "an example is not robust if the last iterate is misclassified",
}


def summarize_attack(
    attack: GradientSignAttack,
    counts: OutcomeCounts,
    success: str,
    timing: Mapping[str, float],
    bounds: Bounds = Bounds(0.0, 1.0),
) -> dict[str, Any]:
    """Accuracies of one attack with their threat model, for a summary.

    Args:
        attack: the attack that was run.
        counts: outcomes of all examples.
        success: key of `SUCCESS_RULES`.
        timing: further entries, such as seconds.
        bounds: pixel range of the images; part of the threat model unless it is (0, 1).

    Returns:
        Entries that `json` can write. `interval` is Wilson's of the robust accuracy.
    """
    threat_model = {**attack.threat_model(bounds), "success": success}
    return attack_entry(attack.name, counts, threat_model, timing)


def attack_entry(
    name: str, counts: OutcomeCounts, threat_model: Mapping[str, Any], timing: Mapping[str, float]
) -> dict[str, Any]:
    """The entry of one attack in a summary, from its name and threat model alone."""
    outcomes = counts.outcomes(name)
    count = len(outcomes)
    robust, misclassified, mistakes = (
        int(np.count_nonzero(outcomes == kind)) for kind in (ROBUST, MISCLASSIFIED, CLEAN_MISTAKE)
    )
    interval = wilson_interval(robust, count)
    return {
        "attack": name,
        "robust_accuracy": robust / count,
        "clean_accuracy": (count - mistakes) / count,
        "count": count,
        "robust": robust,
        "fooled": misclassified,
        "clean_mistakes": mistakes,
        "interval": {"method": "wilson", "confidence": 0.95, **interval._asdict()},
        "threat_model": dict(threat_model),
        **timing,
    }


def masking_warnings(attacks: Sequence[GradientSignAttack], counts: OutcomeCounts) -> list[str]:
    """Plain sentences on results that no honest gradient would give (Athalye et al. 2018).

    A stronger attack may by chance leave a few examples correct that a weaker one does not, so a
    difference is reported only where a one-sided sign test over the examples on which the two
    disagree finds it significant at 5%.

    Args:
        attacks: the attacks that were run.
        counts: outcomes of all examples under each.

    Returns:
        Warnings, empty if nothing looks wrong.
    """
    budgets = {attack.name: attack.total_epsilon for attack in attacks}
    return warnings_by_name(budgets, comparisons(attacks), counts)


def comparisons(attacks: Sequence[GradientSignAttack]) -> list[list[str]]:
    """Which attacks should leave no more accuracy than others: [stronger, weaker, why], by name."""
    pairs = itertools.product(attacks, repeat=2)
    reasons = ((one, other, _why_stronger(one, other)) for one, other in pairs)
    return [[one.name, other.name, reason] for one, other, reason in reasons if reason]


def warnings_by_name(
    budgets: Mapping[str, float], compared: Sequence[Sequence[str]], counts: OutcomeCounts
) -> list[str]:
    """What `masking_warnings` says, from names alone.

    Args:
        budgets: from the name of each attack to its largest perturbation.
        compared: as `comparisons` gives it.
        counts: outcomes of all examples under each attack.
    """
    warnings = []
    for name, budget in budgets.items():
        warnings += _unmoved_warning(name, counts) if budget > 0 else []
        for stronger, weaker, reason in compared:
            if stronger == name:
                warnings += _comparison_warning(stronger, weaker, reason, counts)
    return warnings


def format_summary(summary: Mapping[str, Any]) -> str:
    """A summary as a table to print, with its warnings below."""
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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if shard := summary.get("evaluated", {}).get("shard"):
        lines.append(f"Only shard {shard[0]}/{shard[1]} of the examples.")
    lines.append(f"White box, l-inf, true labels; {summary['success_rule']}.")
    return "\n".join(lines + [f"Warning: {warning}" for warning in summary["warnings"]])


def _why_stronger(stronger: GradientSignAttack, weaker: GradientSignAttack) -> str | None:
    """Why one attack should leave no more accuracy than another, or None if it need not."""
    if stronger is weaker or stronger.total_epsilon < weaker.total_epsilon - 1e-9:
        return None
    # What also weighs attention need not succeed more often the better it is descended.
    if isinstance(stronger.objective, AttentionAugmented):
        return None
    if stronger.num_steps > 1 and weaker.num_steps == 1:
        comparable = stronger.objective in (weaker.objective, _untargeted(stronger))
        return "takes several steps within at least the same budget" if comparable else None
    wider = stronger.total_epsilon > weaker.total_epsilon + 1e-9
    same = (stronger.objective, stronger.random_start) == (weaker.objective, weaker.random_start)
    if wider and same and stronger.num_steps >= weaker.num_steps > 1:
        return "has a larger budget and no fewer steps"
    return None


def _untargeted(attack: GradientSignAttack) -> Any:
    """The attack's objective if it climbs the loss of the true label, the strongest of all here."""
    return attack.objective if attack.objective.name == "away_from_label" else None


def _comparison_warning(
    stronger: str, weaker: str, reason: str, counts: OutcomeCounts
) -> list[str]:
    spared = counts.outcomes(stronger) == ROBUST
    spared_by_weaker = counts.outcomes(weaker) == ROBUST
    only_weaker_succeeds = int(np.count_nonzero(spared & ~spared_by_weaker))
    only_stronger_succeeds = int(np.count_nonzero(~spared & spared_by_weaker))
    difference = only_weaker_succeeds - only_stronger_succeeds
    if difference <= _SIGNIFICANT * math.sqrt(only_weaker_succeeds + only_stronger_succeeds):
        return []
    return [
        f"{stronger} {reason} yet leaves more accuracy ({spared.mean():.1%}) than "
        f"{weaker} ({spared_by_weaker.mean():.1%}). Gradients may be masked: the network is "
        f"likely less robust than these numbers say. Try attacks with random starts, more steps, "
        f"transfer from another network, or none of its gradients at all."
    ]


def _unmoved_warning(attack: str, counts: OutcomeCounts) -> list[str]:
    unmoved = counts.unmoved(attack)
    if unmoved == 0:
        return []
    robust = np.count_nonzero(counts.outcomes(attack) == ROBUST)
    return [
        f"{attack} left {unmoved} of the {robust} images that it did not misclassify exactly as "
        f"they were: their gradient is zero, as with saturated losses or flat activations, or "
        f"leads nowhere. They count as robust but were not really attacked."
    ]
