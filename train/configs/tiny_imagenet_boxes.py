"""Tiny ImageNet with boxes: the networks whose attention is analysed as in [AAD Sec. 2].

40 classes, 64x64 images, 17,000 to train on. `clean` is a small network of InceptionV3's blocks
with attention maps of 8x8 cells, trained as is usual today: SGD with Nesterov momentum, a cosine
schedule with warm-up, weight decay, label smoothing, random crops and mirroring. `step_ll` and
`ensemble` start from its weights and train adversarially, for [AAD Figs. 12, 13]; `ensemble`
attacks the network `narrow`, too.

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
    evaluation_attacks=ATTACKS,
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
PRESETS = {"clean": CLEAN, "narrow": NARROW, "step_ll": STEP_LL, "ensemble": ENSEMBLE}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `clean`."""
    return presets.choose(PRESETS, preset, "clean")
