"""[AAD Table 5], MNIST: every row that two cores afford, and AAD without its attention losses, by
any and by the last iterate, and under AutoAttack. Three seeds, the first one of all rows first."""

from __future__ import annotations

from train.studies import aad_table_5

# Nearly every image holds at the smaller size, which costs an hour and tells little.
_OF_TRAINING = "auto_attack(0.3)"
STUDY = aad_table_5.study(
    "mnist",
    "AAD Table 5, MNIST, at the paper's schedule; PGD in training has 7 steps, not 40",
    # Minutes of training on one core, as results/runs records them; of 8:0:0 by measured steps.
    {
        "clean": 5.0,
        "fgsm": 14.0,
        "step_ll": 13.0,
        "madry_short": 31.0,
        "aad_pgd_short": 26.5,
        "aad_pgd_short_8_0_0": 20.0,
        "aad_step_ll": 34.0,
        "aad_step_ll_8_0_0": 17.0,
    },
    "auto_attack(0.15);auto_attack(0.3)",
    strict_of=dict.fromkeys(("madry_short", "aad_pgd_short", "aad_pgd_short_8_0_0"), _OF_TRAINING),
    seeds=3,
)
