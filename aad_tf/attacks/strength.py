"""Which attacks ought to be at least as strong as others, whatever the network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from aad_tf.attacks.adaptive import AADTotal
from aad_tf.attacks.attention_augmented import AttentionAugmented
from aad_tf.attacks.cascade import Attack
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.types import Bounds


def comparisons(attacks: Sequence[Attack], bounds: Bounds = Bounds()) -> list[list[str]]:
    """Which attacks should leave no more accuracy than others.

    The stronger one takes several steps against one, or has a larger epsilon and no fewer steps,
    and is alike otherwise.

    Args:
        attacks: attacks with names that differ.
        bounds: pixel range of the images.

    Returns:
        Entries `[stronger, weaker, why]`: the names of two attacks, and the reason in words.
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
