"""Tiny ImageNet with boxes: the networks whose attention is analysed as in [AAD Sec. 2].

40 classes, 64x64 images, 17,000 to train on. `clean` is a small network of InceptionV3's blocks
with attention maps of 8x8 cells, trained as is usual today: SGD with Nesterov momentum, a cosine
schedule with warm-up, weight decay, label smoothing, random crops and mirroring. The others start
from its weights, as the paper's defences of ImageNet2012 start from a trained network: `step_ll`
and `ensemble`, for [AAD Figs. 12, 13], `aad_step_ll`, and `aad_step_ll_8_0_0` without attention
losses; `ensemble` attacks the network `narrow`, too. Together they stand in for ImageNet2012 in
[AAD Table 5], with attacks of the same proportions, 4/255 in place of 0.3.

    python -m train.main --config=train/configs/tiny_imagenet_boxes.py:clean --model_dir=runs/tiny
"""

from __future__ import annotations

import dataclasses

from ml_collections import config_dict

from aad_tf.configs import DefenseConfig, ExperimentConfig
from train.configs import presets

# The columns of AAD Table 5, and one that is stronger than all of them.
ATTACKS = (
    "fgsm(epsilon=4/255)",
    "ifgsm(epsilon=2/255, num_steps=3)",
    "step_ll(epsilon=4/255)",
)
FURTHER_ATTACKS = ("pgd(epsilon=4/255, step_size=1/255, num_steps=20)",)
# Rows of AAD Table 5 by preset.
ROWS = {
    "clean": "clean model",
    "ensemble": "Tramèr et al. (trained here)",
    "step_ll": "Adv. train with StepLL",
    "aad_step_ll": "AAD with StepLL",
    "aad_step_ll_8_0_0": "AAD without attention losses",
}
CLEAN = ExperimentConfig(
    reference="AAD Sec. 2, the analysed network, on images that two CPU cores can afford",
    budget="30 epochs; under an hour on 2 CPU cores, see results/ for the measured time",
    dataset="tiny_imagenet_boxes",
    model="inception_small",
    optimizer="sgd",
    optimizer_options={"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    learning_rate=0.1,
    learning_rate_schedule="cosine",
    warmup_epochs=2,
    label_smoothing=0.1,
    augmentation="crop_flip",
    batch_size=64,
    epochs=30,
    validation_examples=3000,
    checkpoint_steps=100,
    evaluation_attacks=(*ATTACKS, *FURTHER_ATTACKS),
)
NARROW = dataclasses.replace(
    CLEAN,
    reference="a static source for ensemble training (Tramer et al. 2018)",
    budget="10 epochs; minutes on 2 CPU cores",
    model_options={"width": 0.5},
    epochs=10,
)
STEP_LL = dataclasses.replace(
    CLEAN,
    reference="AAD Fig. 13, adversarial training with StepLL",
    budget="4 epochs from the clean network; under half an hour on 2 CPU cores",
    defense=DefenseConfig("adversarial", "step_ll(epsilon=4/255)"),
    initial_weights="runs/tiny_imagenet_boxes_clean",
    learning_rate=0.02,
    warmup_epochs=1,
    epochs=4,
)
ENSEMBLE = dataclasses.replace(
    STEP_LL,
    reference="AAD Fig. 12, ensemble adversarial training",
    budget="4 epochs from the clean network, two static sources; under half an hour on 2 CPU cores",
    defense=DefenseConfig(
        "ensemble",
        "step_ll(epsilon=4/255)",
        sources=("runs/tiny_imagenet_boxes_clean", "runs/tiny_imagenet_boxes_narrow"),
    ),
)
AAD = dataclasses.replace(
    STEP_LL,
    reference="AAD Table 5, ImageNet2012, row 'AAD with StepLL', on images that CPUs can afford",
    budget="4 epochs from the clean network; some three times as long as step_ll",
    defense=DefenseConfig("aad", "step_ll(epsilon=4/255, num_steps=2)"),
)
PRESETS = {
    "clean": CLEAN,
    "narrow": NARROW,
    "step_ll": STEP_LL,
    "ensemble": ENSEMBLE,
    "aad_step_ll": AAD,
    "aad_step_ll_8_0_0": dataclasses.replace(
        AAD,
        reference="a control of AAD Table 5: two rounds of StepLL without attention losses",
        defense=dataclasses.replace(AAD.defense, weights=(8.0, 0.0, 0.0)),
    ),
}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `clean`."""
    return presets.choose(PRESETS, preset, "clean")
