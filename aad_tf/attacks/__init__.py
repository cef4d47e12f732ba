"""Adversarial attacks in l-inf and, some of them, in l2: FGSM, PGD, AutoAttack, A3 and others.

A function such as `pgd(epsilon, step_size, num_steps)` returns an attack object, which is called
with a classifier, images and labels and returns adversarial images. An attack lowers an objective,
one number per image, step by step.

One iteration (gradient of the objective, step, projection onto the budget), the loops over
iterations and the rule of restarts are in `aad_tf.attacks.loop`, random starts in
`aad_tf.attacks.starts`. Direct calls, training and `aad_tf.evaluate_robustness` use that code. Two
attacks are the same if their parameters are, as `attack_to_dict` returns them; the name of an
attack is only a label.
"""

from aad_tf.attacks.adaptive import AADTotal, aad_total, adaptive_attacks
from aad_tf.attacks.attention_augmented import AttentionAugmented, a3
from aad_tf.attacks.auto_pgd import AutoPGD, apgd
from aad_tf.attacks.cascade import Attack, AttackCascade, auto_attack, quick_cascade
from aad_tf.attacks.draws import MeanOverDraws
from aad_tf.attacks.fab import FastAdaptiveBoundary, fab
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.margins import LogitsRatio, Margin, TargetedLogitsRatio, TargetedMargin
from aad_tf.attacks.objectives import (
    AwayFromLabel,
    AwayFromPrediction,
    ContextObjective,
    LogitsObjective,
    Objective,
    TowardsClass,
    TowardsFirstLeastLikely,
    TowardsLeastLikely,
)
from aad_tf.attacks.parsing import (
    WRAPPERS,
    as_attack,
    attack_call,
    attack_from_record,
    parse_attack,
    preset_of,
    recorded_parameters,
    with_unique_names,
)
from aad_tf.attacks.presets import (
    PRESETS,
    fgsm,
    ifgsm,
    iter_ll,
    nfgsm,
    pgd,
    rs_fgsm,
    step_ll,
    trades_pgd,
)
from aad_tf.attacks.serialization import attack_from_dict, attack_to_dict, register_kind
from aad_tf.attacks.square import SquareAttack, square
from aad_tf.attacks.starts import GaussianNoise, UniformNoise

__all__ = [
    "PRESETS",
    "WRAPPERS",
    "AADTotal",
    "Attack",
    "AttackCascade",
    "AttentionAugmented",
    "AutoPGD",
    "AwayFromLabel",
    "AwayFromPrediction",
    "ContextObjective",
    "FastAdaptiveBoundary",
    "GaussianNoise",
    "GradientSignAttack",
    "IterativeAttack",
    "LogitsObjective",
    "LogitsRatio",
    "Margin",
    "MeanOverDraws",
    "Objective",
    "SquareAttack",
    "TargetedLogitsRatio",
    "TargetedMargin",
    "TowardsClass",
    "TowardsFirstLeastLikely",
    "TowardsLeastLikely",
    "UniformNoise",
    "a3",
    "aad_total",
    "adaptive_attacks",
    "apgd",
    "as_attack",
    "attack_call",
    "attack_from_dict",
    "attack_from_record",
    "attack_to_dict",
    "auto_attack",
    "fab",
    "fgsm",
    "ifgsm",
    "iter_ll",
    "nfgsm",
    "parse_attack",
    "pgd",
    "preset_of",
    "quick_cascade",
    "recorded_parameters",
    "register_kind",
    "rs_fgsm",
    "square",
    "step_ll",
    "trades_pgd",
    "with_unique_names",
]
