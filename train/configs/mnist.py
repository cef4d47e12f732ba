"""MNIST presets: every row of [AAD Table 5], MNIST, at the paper's schedule.

LeNet, batch size 100, 5 epochs, Adam with learning rate 1e-3, dropout rate 0.5, epsilon in the unit
of images in [0, 1] [AAD Sec. 4.1]. The `_short` presets train on 7 PGD steps of 0.1 instead of 40
of 0.01. In Madry's training perturbations grow to full size over the first epoch: without that,
LeNet was still at chance late in its second epoch. The authors published no MNIST training:
`aad_step_ll_reference_code` has the losses of their CIFAR-10 code in the paper's two rounds, but no
weight decay, as TF-slim's LeNet, and no mirroring.

Further presets are later defences and controls (`presets.baselines`), and AAD without attention
losses (`presets.without_attention`). `rs_fgsm` has its authors' recipe for MNIST: 10 epochs, Adam
with a learning rate that grows to 5e-3 over 4 of them and falls to 0. `nfgsm`, whose authors did
not train on MNIST, has the same. In both, perturbations grow as in Madry's training: without that,
LeNet was at chance under N-FGSM after 80 updates. Both log accuracy under FGSM and PGD after each
epoch; the two differ if training overfits to a single step. `trades` has its authors' attack and
beta for MNIST at the schedule of Table 5, while they train 100 epochs.

    python -m train.main --config=train/configs/mnist.py:aad_step_ll --model_dir=runs/mnist_aad
"""

from __future__ import annotations

from ml_collections import config_dict

from aad_tf.configs import ExperimentConfig
from train.configs import presets

ATTACKS = (
    "fgsm(epsilon=0.15)",
    "ifgsm(epsilon=0.15, num_steps=3)",
    "step_ll(epsilon=0.15)",
    "pgd(epsilon=0.3, step_size=0.01, num_steps=30)",
    "pgd(epsilon=0.3, step_size=0.01, num_steps=100)",
)
# What the paper's 0.3 would be if its images lay in [-1, 1], as those of the authors' code do.
FURTHER_ATTACKS = ("pgd(epsilon=0.15, step_size=0.01, num_steps=40)",)
# What the single-step presets differ in.
SINGLE_STEP = {
    "epochs": 10,
    "learning_rate": 5e-3,
    "learning_rate_schedule": "triangular",
    "warmup_epochs": 4,
    "budget": "10 epochs of two passes more than plain training; minutes on 2 CPU cores",
    "validation_attacks": (
        "fgsm(epsilon=0.3)",
        "pgd(epsilon=0.3, step_size=0.1, num_steps=7)",
    ),
}
DEFENSES = presets.table_5_defenses(
    epsilon="0.15",
    rounds_epsilon="0.15",
    pgd="pgd(epsilon=0.3, step_size=0.01, num_steps=40)",
    short_pgd="pgd(epsilon=0.3, step_size=0.1, num_steps=7)",
    warmup_steps=550,
    # The background of the digits, and LeNet's own zero.
    fill="0",
)
PRESETS = {
    name: ExperimentConfig(
        reference=f"AAD Table 5, MNIST, row {presets.ROWS[name]!r}",
        budget="the paper's schedule; minutes on 2 CPU cores, see results/ for measured times",
        dataset="mnist",
        model="lenet",
        model_options={"dropout_rate": 0.5},
        defense=defense,
        evaluation_attacks=(*ATTACKS, *FURTHER_ATTACKS),
    )
    for name, defense in DEFENSES.items()
}
PRESETS |= presets.without_attention(PRESETS)
PRESETS |= presets.baselines(
    PRESETS,
    epsilon="0.3",
    trades="trades_pgd(epsilon=0.3, step_size=0.01, num_steps=40)",
    short_trades="trades_pgd(epsilon=0.3, step_size=0.1, num_steps=7)",
    beta=1.0,
    rs_fgsm=SINGLE_STEP,
    nfgsm=SINGLE_STEP,
)


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `aad_step_ll`."""
    return presets.choose(PRESETS, preset, "aad_step_ll")
