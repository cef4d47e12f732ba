"""Attacks: one gradient-sign loop, many named presets, and A3 on top of any of them."""

from aad_tf.attacks.attention_augmented import AttentionAugmented, a3
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.objectives import (
    AwayFromLabel,
    ContextObjective,
    LogitsObjective,
    Objective,
    TowardsFirstLeastLikely,
    TowardsLeastLikely,
)
from aad_tf.attacks.parsing import WRAPPERS, parse_attack
from aad_tf.attacks.presets import PRESETS, fgsm, ifgsm, iter_ll, pgd, step_ll

__all__ = [
    "PRESETS",
    "WRAPPERS",
    "AttentionAugmented",
    "AwayFromLabel",
    "ContextObjective",
    "GradientSignAttack",
    "LogitsObjective",
    "Objective",
    "TowardsFirstLeastLikely",
    "TowardsLeastLikely",
    "a3",
    "fgsm",
    "ifgsm",
    "iter_ll",
    "parse_attack",
    "pgd",
    "step_ll",
]
