"""CIFAR-10 presets by the number of StepLL rounds in AAD's training: [AAD Table 6] and controls.

`rounds_1` to `rounds_4` are `train/configs/cifar10.py:aad_step_ll` with 1 to 4 rounds instead of 2.
Steps keep their size, so n rounds reach n times as far. Presets that end in `_8_0_0` are trained on
the same rounds without attention losses, which separates the effect of rounds from that of
attention. Presets that begin with `small_` train 4 epochs on 10,000 images, for CPUs.

    python -m train.main --config=train/configs/cifar10_rounds.py:rounds_3 --model_dir=runs/rounds_3
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ml_collections import config_dict

from aad_tf.configs import ExperimentConfig
from train.configs import cifar10, presets

ROUNDS = (1, 2, 3, 4)
# The paper states neither budget nor rounds of Iter-LL, nor whether its target is kept: both
# readings, two rounds of StepLL as the authors' scripts print them, and attacks that do not aim at
# the class that training aims at. PRIMARY decides, fixed beforehand: the size that rounds have.
STEP_LL = "step_ll(epsilon=0.075)"
ITER_LL = "iter_ll(epsilon=0.075, num_steps=3)"
ITER_LL_RELABELLED = "iter_ll(epsilon=0.075, num_steps=3, relabel=True)"
TWO_ROUNDS = "step_ll(epsilon=0.075, num_steps=2)"
PGD = "pgd(epsilon=0.05, step_size=0.005, num_steps=20)"
PRIMARY = "pgd(epsilon=0.075, step_size=0.005, num_steps=40, restarts=5)"
ATTACKS = (STEP_LL, ITER_LL, ITER_LL_RELABELLED, TWO_ROUNDS, PGD, PRIMARY)
# Attention on validation images after each epoch, and pictures of it: six of them, as in the
# paper's Figure 5, of 200 epochs.
MONITORED: dict[str, Any] = {
    "validation_attacks": ("fgsm(epsilon=0.075)", PGD),
    "monitor_examples": 500,
    "monitor_attack": PGD,
    "snapshot_epochs": 40,
}
SMALL: dict[str, Any] = {
    "budget": "400 updates: 15 minutes to an hour and a half on 1 CPU core",
    "train_examples": 10_000,
    "epochs": 4,
    "learning_rate": 1e-3,
    # Twice as fast where processors have instructions for it.
    "precision": "mixed_bfloat16",
    "snapshot_epochs": 1,
}


def _preset(rounds: int, attention: bool) -> ExperimentConfig:
    base = cifar10.PRESETS["aad_step_ll"]
    defense = dataclasses.replace(
        base.defense,
        attack=f"step_ll(epsilon=0.075, num_steps={rounds})",
        weights=base.defense.weights if attention else (8.0, 0.0, 0.0),
    )
    reference = f"AAD Table 6, row {rounds}" + ("" if attention else ", without attention losses")
    return dataclasses.replace(
        base, reference=reference, defense=defense, evaluation_attacks=ATTACKS, **MONITORED
    )


FULL = {
    f"rounds_{rounds}{suffix}": _preset(rounds, not suffix)
    for rounds in ROUNDS
    for suffix in ("", "_8_0_0")
}
PRESETS = FULL | {
    f"small_{name}": dataclasses.replace(preset, **SMALL) for name, preset in FULL.items()
}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `rounds_2`."""
    return presets.choose(PRESETS, preset, "rounds_2")
