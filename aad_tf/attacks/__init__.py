"""Attacks: one gradient-sign loop, many named presets."""

from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.objectives import AwayFromLabel, Objective, TowardsLeastLikely
from aad_tf.attacks.parsing import parse_attack
from aad_tf.attacks.presets import PRESETS, fgsm, ifgsm, iter_ll, pgd, step_ll

__all__ = [
    "PRESETS",
    "AwayFromLabel",
    "GradientSignAttack",
    "Objective",
    "TowardsLeastLikely",
    "fgsm",
    "ifgsm",
    "iter_ll",
    "parse_attack",
    "pgd",
    "step_ll",
]
