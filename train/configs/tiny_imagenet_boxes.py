"""Tiny ImageNet with boxes: the networks whose attention is analysed as in [AAD Sec. 2].

40 classes, 64x64 pictures, 17,000 to train on. `clean` is a small relative of InceptionV3 with an
8x8 attention grid, trained as is usual today: SGD with Nesterov momentum, a cosine schedule with
warm-up, weight decay, label smoothing, random crops and mirroring. `step_ll` goes on from it with
adversarial training, for [AAD Fig. 13].

    python -m train.main --config=train/configs/tiny_imagenet_boxes.py:clean --model_dir=runs/tiny
"""

from __future__ import annotations

import dataclasses

from ml_collections import config_dict

from aad_tf.configs import DefenseConfig, ExperimentConfig
from train.configs import presets

ATTACKS = (
    "fgsm(epsilon=4/255)",
    "step_ll(epsilon=4/255)",
    "pgd(epsilon=4/255, step_size=1/255, num_steps=20)",
)
CLEAN = ExperimentConfig(
    reference="AAD Sec. 2, the analysed network, on pictures that two CPU cores can afford",
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
    evaluation_attacks=ATTACKS,
)
STEP_LL = dataclasses.replace(
    CLEAN,
    reference="AAD Fig. 13, adversarial training with StepLL",
    budget="6 epochs from the clean network; half an hour on 2 CPU cores",
    defense=DefenseConfig("adversarial", "step_ll(epsilon=4/255)"),
    initial_weights="runs/tiny_imagenet_boxes_clean",
    learning_rate=0.02,
    warmup_epochs=1,
    epochs=6,
)
PRESETS = {"clean": CLEAN, "step_ll": STEP_LL}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """The ConfigDict of a preset; `clean` by default."""
    return presets.choose(PRESETS, preset, "clean")
