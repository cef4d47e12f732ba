"""Which of several attacks should be at least as strong as others, on any network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from aad_tf.attacks.adaptive import AADTotal
from aad_tf.attacks.attention_augmented import AttentionAugmented
from aad_tf.attacks.cascade import Attack
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.types import Bounds


def comparisons(attacks: Sequence[Attack], bounds: Bounds = Bounds()) -> list[list[str]]:
    """Finds pairs of attacks of which the first should leave no more accuracy than the second.

    If the accuracy under the first attack of a pair is higher, gradients may be masked. Only
    attacks of the class `GradientSignAttack` itself are compared, such as `fgsm` and `pgd`. There
    are two cases in which one is expected to be stronger than another.

    - It takes several steps and the other a single one; its budget is at least as large; and it
      raises the cross-entropy of the true label or has the same objective.
    - Both take several steps, with the same objective and start; its budget is larger, and it takes
      no fewer steps.

    An attack with attention terms in its objective (`a3`, `aad_total`) is never the stronger one.

    Args:
        attacks: attacks whose names differ; those of other classes are left out.
        bounds: pixel range of the images.

    Returns:
        A list of `[stronger, weaker, why]`: the names of two attacks, and the reason in words.
    """
    plain = [attack for attack in attacks if type(attack) is GradientSignAttack]
    pairs = itertools.product(plain, repeat=2)
    reasons = ((one, other, _why_stronger(one, other, bounds)) for one, other in pairs)
    return [[one.name, other.name, reason] for one, other, reason in reasons if reason]


def _why_stronger(
    stronger: GradientSignAttack, weaker: GradientSignAttack, bounds: Bounds
) -> str | None:
    """Why one attack should leave no more accuracy than another, or None if it need not."""
    wider_by = stronger.epsilon_after(bounds=bounds) - weaker.epsilon_after(bounds=bounds)
    if stronger is weaker or wider_by < -1e-9:
        return None
    # What also weighs attention need not succeed more often the better it is descended.
    if isinstance(stronger.objective, (AttentionAugmented, AADTotal)):
        return None
    if stronger.num_steps > 1 and weaker.num_steps == 1:
        # Climbing the loss of the true label is the strongest aim of all here.
        untargeted = stronger.objective.name == "away_from_label"
        comparable = untargeted or stronger.objective == weaker.objective
        return "takes several steps within at least the same budget" if comparable else None
    kinds = [(one.objective, one.random_start, one.noise) for one in (stronger, weaker)]
    same = kinds[0] == kinds[1]
    if wider_by > 1e-9 and same and stronger.num_steps >= weaker.num_steps > 1:
        return "has a larger budget and no fewer steps"
    return None
