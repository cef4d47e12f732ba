"""[AAD Table 5], CIFAR-10, for a CPU: every row, and AAD without its attention losses, by any and
by the last iterate, and under AutoAttack. Three seeds, the first one of all rows first."""

from __future__ import annotations

from train.studies import aad_table_5

STUDY = aad_table_5.study(
    "cifar10",
    "AAD Table 5, CIFAR-10, 10 of the paper's 200 epochs at ten times its learning rate; PGD in "
    "training has 3 steps, not 7",
    # Minutes of training on two cores, from those of two epochs in results/runs; of the presets
    # that are not there by their passes through the network.
    {
        "clean": 15.0,
        "fgsm": 30.0,
        "step_ll": 30.0,
        "madry_short": 40.0,
        "aad_pgd_short": 90.0,
        "aad_pgd_short_8_0_0": 60.0,
        "aad_step_ll": 75.0,
        "aad_step_ll_8_0_0": 45.0,
    },
    "auto_attack(0.05);auto_attack(0.075)",
    options={"config.epochs": "10", "config.learning_rate": "1e-3"},
    seeds=3,
)
