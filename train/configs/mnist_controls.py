"""MNIST presets that test how much of AAD's robustness comes from its attention losses.

Each is `train/configs/mnist.py:aad_step_ll`, or a defence it is compared with, with one thing
changed. All are trained for 2 of the paper's 5 epochs with the same seeds, so that two of them can
be compared seed by seed, and in bfloat16, which processors with instructions for it compute twice
as fast; presets that end in `_float32` show whether that changes anything. `analysis/controls.py`
lists the comparisons.

    python -m train.main --config=train/configs/mnist_controls.py:aad_8_0_0 --model_dir=runs/control
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ml_collections import config_dict

from aad_tf.configs import ExperimentConfig
from train.configs import mnist, presets

_TEN_STEPS = "pgd(epsilon=0.15, step_size=0.03, num_steps=10)"
# The first is the one that decides, fixed beforehand: the budget that the defences train within.
ATTACKS = (
    "pgd(epsilon=0.15, step_size=0.01, num_steps=40)",
    "pgd(epsilon=0.075, step_size=0.005, num_steps=40)",
    "fgsm(epsilon=0.15)",
    "ifgsm(epsilon=0.15, num_steps=3)",
    "step_ll(epsilon=0.15)",
    "pgd(epsilon=0.3, step_size=0.01, num_steps=100)",
)
# StepLL as AAD trains on it and with further rounds, [AAD Sec. 3.3]: whether each round is harder
# than the one before, with the target chosen anew and kept.
ROUNDS = {
    (rounds, relabel): f"step_ll(epsilon=0.15, num_steps={rounds}"
    + (")" if relabel else ", relabel=False)")
    for relabel in (True, False)
    for rounds in (2, 3, 4)
}
# Half the sizes, of images taken to lie in [-1, 1].
HALF_SIZES = ("fgsm(epsilon=0.075)", "ifgsm(epsilon=0.075, num_steps=3)", "step_ll(epsilon=0.075)")
ALL_ATTACKS = (*ATTACKS, *HALF_SIZES, *ROUNDS.values())
# After each epoch, on validation images: whether attention moves under attack and how much of the
# gradient each loss has, so that a loss without effect can be told from one that is switched off.
_MONITORED: dict[str, Any] = {
    "validation_attacks": ("fgsm(epsilon=0.15)", _TEN_STEPS),
    "monitor_examples": 500,
    "monitor_attack": _TEN_STEPS,
}
_OFF = (8.0, 0.0, 0.0)
_HALF = "step_ll(epsilon=0.075, num_steps=2)"
_KEPT = "step_ll(epsilon=0.15, num_steps=2, relabel=False)"
_ONE_ROUND = "step_ll(epsilon=0.15)"
# Published with 10 epochs, where the others have 5.
_HALF_OF_10_EPOCHS = {"epochs": 5, "warmup_epochs": 2}
_FLOAT32 = {"precision": "float32"}


def _control(base: str, fields: dict[str, Any] | None = None, **defense: Any) -> ExperimentConfig:
    preset = mnist.PRESETS[base]
    return dataclasses.replace(
        preset,
        reference="controls of AAD Table 5, MNIST",
        budget="2 of the paper's 5 epochs unless the name tells; up to an hour on 1 CPU core",
        defense=dataclasses.replace(preset.defense, **defense),
        **{
            "epochs": 2,
            "precision": "mixed_bfloat16",
            "evaluation_attacks": ALL_ATTACKS,
            **_MONITORED,
            **(fields or {}),
        },
    )


PRESETS = {
    "aad": _control("aad_step_ll"),
    "aad_8_0_0": _control("aad_step_ll", weights=_OFF),
    "paper": _control("aad_step_ll_paper"),
    "paper_8_0_0": _control("aad_step_ll_paper", weights=_OFF),
    "reference_code": _control("aad_step_ll_reference_code"),
    "reference_code_8_0_0": _control("aad_step_ll_reference_code", weights=_OFF),
    "step_ll": _control("step_ll"),
    "step_ll_double_size": _control("step_ll", attack="step_ll(epsilon=0.3)"),
    "step_ll_two_rounds": _control("step_ll_two_rounds"),
    # 13 epochs cost what 5 of two-round AAD cost, counted in passes through the network.
    "step_ll_5_epochs": _control("step_ll", {"epochs": 5}),
    "one_round": _control("aad_step_ll", attack=_ONE_ROUND),
    "one_round_8_0_0": _control("aad_step_ll", attack=_ONE_ROUND, weights=_OFF),
    "aad_8_4_0": _control("aad_step_ll", weights=(8.0, 4.0, 0.0)),
    "aad_8_0_1": _control("aad_step_ll", weights=(8.0, 0.0, 1.0)),
    "kept_target": _control("aad_step_ll", attack=_KEPT),
    "kept_target_8_0_0": _control("aad_step_ll", attack=_KEPT, weights=_OFF),
    "half_size": _control("aad_step_ll", attack=_HALF),
    "half_size_8_0_0": _control("aad_step_ll", attack=_HALF, weights=_OFF),
    "aad_pgd": _control("aad_pgd_short"),
    "aad_pgd_8_0_0": _control("aad_pgd_short", weights=_OFF),
    "shared_dropout": _control("aad_step_ll", attention_noise="shared"),
    "no_dropout": _control("aad_step_ll", attention_noise="none"),
    "clean": _control("clean"),
    "fgsm": _control("fgsm"),
    "pgd": _control("madry_short"),
    "trades": _control("trades_short"),
    "rs_fgsm": _control("rs_fgsm", _HALF_OF_10_EPOCHS),
    "nfgsm": _control("nfgsm", _HALF_OF_10_EPOCHS),
    "pairing": _control("pairing_short"),
    "aad_float32": _control("aad_step_ll", _FLOAT32),
    "aad_8_0_0_float32": _control("aad_step_ll", _FLOAT32, weights=_OFF),
    "step_ll_float32": _control("step_ll", _FLOAT32),
}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `aad`."""
    return presets.choose(PRESETS, preset, "aad")
