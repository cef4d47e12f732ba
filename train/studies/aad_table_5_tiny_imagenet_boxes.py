"""The stand-in for [AAD Table 5]'s ImageNet2012, 40 classes of Tiny ImageNet: every row, and AAD
without its attention losses, by any and by the last iterate, and under AutoAttack."""

from __future__ import annotations

from train.studies import aad_table_5

STUDY = aad_table_5.study(
    "tiny_imagenet_boxes",
    "AAD Table 5, ImageNet2012, on 40 classes of Tiny ImageNet with attacks of 4/255",
    # Minutes of training on two cores, as results/runs records them; of AAD by its passes.
    {
        "clean": 41.0,
        "ensemble": 13.0,
        "step_ll": 16.0,
        "aad_step_ll": 48.0,
        "aad_step_ll_8_0_0": 30.0,
    },
    "auto_attack(4/255)",
    # The ensemble attacks it.
    sources={"narrow": 9.5},
)
