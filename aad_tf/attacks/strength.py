"""Which of several attacks should be at least as strong as others, on any network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from aad_tf.attacks.adaptive import AADTotal
from aad_tf.attacks.attention_augmented import AttentionAugmented
from aad_tf.attacks.auto_pgd import AutoPGD
from aad_tf.attacks.cascade import Attack, AttackCascade
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.objectives import chosen_target
from aad_tf.types import Bounds

_ROUNDING = 1e-9


def comparisons(attacks: Sequence[Attack], bounds: Bounds = Bounds()) -> list[list[str]]:
    """Finds pairs of attacks of which the first should leave no more accuracy than the second.

    If the accuracy under the first attack of a pair is higher, gradients may be masked. The second
    is always a `GradientSignAttack`, such as `fgsm` or `pgd`. There are three cases in which an
    attack is expected to be at least as strong as another.

    - It takes several steps and the other a single one; its budget is at least as large; and it
      raises the cross-entropy of the true label or has the same objective. This holds of `apgd`
      too, whatever its loss, if it is untargeted.
    - Both take several steps, with the same objective and start; its budget is larger, and it takes
      no fewer steps.
    - It is a cascade with such an `apgd`, `auto_attack` for instance, of no fewer steps than the
      other takes, and its budget is at least as large.

    Attacks in different norms are never compared. An attack with attention terms in its objective
    (`a3`, `aad_total`) is never the stronger one, and no cascade is compared with it: that it
    succeeds where others fail is no sign of masked gradients.

    Args:
        attacks: attacks whose names differ.
        bounds: pixel range of the images.

    Returns:
        A list of `[stronger, weaker, why]`: the names of two attacks, and the reason in words.
    """
    plain = [attack for attack in attacks if type(attack) is GradientSignAttack]
    pairs = itertools.product(attacks, plain)
    reasons = ((one, other, _why_stronger(one, other, bounds)) for one, other in pairs)
    return [[one.name, other.name, reason] for one, other, reason in reasons if reason]


def _why_stronger(stronger: Attack, weaker: GradientSignAttack, bounds: Bounds) -> str | None:
    """Why one attack should leave no more accuracy than another, or None if it need not."""
    if stronger.norm != weaker.norm:
        return None
    if isinstance(stronger, AttackCascade):
        steps = [stage.num_steps for stage in stronger.stages if _adapts_its_steps(stage)]
        if max(steps, default=0) < weaker.num_steps or _weighs_attention(weaker):
            return None
        wide_enough = _wider_by(stronger.stages[0], weaker, bounds) >= -_ROUNDING
        return "is a cascade with at least the same budget" if wide_enough else None
    if not isinstance(stronger, GradientSignAttack) or stronger is weaker:
        return None
    wider_by = _wider_by(stronger, weaker, bounds)
    # What also weighs attention need not succeed more often the better it is descended.
    if wider_by < -_ROUNDING or _weighs_attention(stronger):
        return None
    if stronger.num_steps > 1 and weaker.num_steps == 1:
        # Climbing the loss of the true label is the strongest aim of all here.
        untargeted = stronger.objective.name == "away_from_label" or _adapts_its_steps(stronger)
        comparable = untargeted or stronger.objective == weaker.objective
        return "takes several steps within at least the same budget" if comparable else None
    kinds = [(type(one), one.objective, one.random_start, one.noise) for one in (stronger, weaker)]
    same = kinds[0] == kinds[1]
    if wider_by > _ROUNDING and same and stronger.num_steps >= weaker.num_steps > 1:
        return "has a larger budget and no fewer steps"
    return None


def _wider_by(one: IterativeAttack, other: IterativeAttack, bounds: Bounds) -> float:
    return one.epsilon_after(bounds=bounds) - other.epsilon_after(bounds=bounds)


def _adapts_its_steps(attack: IterativeAttack) -> bool:
    """Whether it is APGD of several steps on the label alone, without a target chosen for it."""
    return (
        isinstance(attack, AutoPGD)
        and attack.num_steps > 1
        and not _weighs_attention(attack)
        and chosen_target(attack.objective) is None
    )


def _weighs_attention(attack: IterativeAttack) -> bool:
    return isinstance(attack.objective, (AttentionAugmented, AADTotal))
