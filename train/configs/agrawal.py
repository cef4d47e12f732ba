"""ResNet-50, CBAM + ResNet-50 and VGG-16 on four data sets: the networks of [Agrawal].

The paper names neither optimizer nor epochs, augmentation or stem. The full-size presets have the
recipe that is usual for these networks at 32x32: SGD with Nesterov momentum, a learning rate of 0.1
that falls along a cosine over 200 epochs, a weight decay of 5e-4, images moved and mirrored. They
have not been trained here. What to expect of them is what others report of the same networks:

- CIFAR-10, the same recipe: 93.6 % (ResNet-50), 92.6 % (VGG-16 with batch normalization), by
  kuangliu/pytorch-cifar. The paper has 80 to 83 %.
- CIFAR-100, a rate that falls in three steps instead: 77.4 % (ResNet-50), 72.9 % (VGG-16 with
  batch normalization and the original head), by weiaicunzai/pytorch-cifar100. The paper has 77.2
  (CBAM + ResNet-50: 75.7) and 71.5 %.

Nor has their time been measured. For each image of 32x32 ResNet-50 takes 1.3 billion
multiplications, each with an addition, VGG-16 0.31, and a training step three times as many. So 200
epochs of 50,000 images are 78 and 19 PFLOP: 2.2 hours and half an hour on a GPU that sustains 10
TFLOP/s, 9 days and 2 days on two CPU cores that sustain 0.1. CBAM adds a tenth to the parameters of
ResNet-50 and little to its computation.

    python -m train.main --config=train/configs/agrawal.py:cifar10_cbam_resnet50 \
        --model_dir=runs/cifar10_cbam_resnet50

Presets that begin with `small_` have a quarter of the channels and five epochs, for CPUs. Their
residual networks have a first convolution of stride 2, which leaves a quarter of the positions.
The data set `tiny_imagenet_100`, 100 classes of other images of 32x32 pixels, can replace CIFAR-100
where that is not available.

Presets such as `small_tiny_imagenet_spread_10_resnet50` train on 10, 20 or 50 of its classes, to
test the paper's conclusion that the effect of attention on robustness depends on their number.
The classes are spread evenly over the order of the list, from animals to objects, and each choice
holds the smaller ones. Equal for all numbers of classes are the images of a class (about 450 for
training), their size, network, optimizer, batch size and the 2,250 updates with their schedule of
the learning rate. Fewer classes mean fewer images, so that each image is seen ten times as often
with 10 classes (50 epochs) as with 100 (5 epochs), and fewer outputs of the last layer. The presets
without `spread_` take the first classes, all of them animals and easily confused: they are for no
such comparison.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ml_collections import config_dict

from aad_tf.configs import ExperimentConfig
from train.configs import presets

NETWORKS = {"resnet50": "ResNet-50", "cbam_resnet50": "CBAM+ResNet-50", "vgg16": "VGG-16"}
DATASETS = ("cifar10", "cifar100", "fashion_mnist", "tiny_imagenet_100")
# How many of the classes of tiny_imagenet_100, in the data sets `tiny_imagenet_spread_<number>`.
SPREAD = "tiny_imagenet_spread"
CLASSES = (10, 20, 50)
FGSM_EPSILONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
PGD_STEPS = (5, 10, 20)
# No random start: after n steps of 0.01 the budget is 0.01 n, whatever the epsilon of 0.2 says.
ATTACKS = (
    *(f"fgsm(epsilon={epsilon})" for epsilon in FGSM_EPSILONS),
    *(
        f"pgd(epsilon=0.2, step_size=0.01, num_steps={steps}, random_start=False)"
        for steps in PGD_STEPS
    ),
)
# Epsilons in 255ths at which networks without a defence keep part of their accuracy, and the same
# attacks within them.
SMALL_SIZES = (1, 2, 4, 8)
SMALL_ATTACKS = (
    *(f"fgsm(epsilon={size}/255)" for size in SMALL_SIZES),
    *(
        f"pgd(epsilon={size}/255, step_size={size / 4:g}/255, num_steps=10, random_start=False)"
        for size in SMALL_SIZES
    ),
)
# Of training with the presets that begin with `small_`, on one core of an AMD EPYC with AVX2, as
# recorded for seed 0 of CIFAR-10 in results/runs.
MINUTES = {"resnet50": 45, "cbam_resnet50": 76, "vgg16": 30}
FULL = ExperimentConfig(
    budget=(
        "200 epochs, not measured; ResNet-50 by its computation 2.2 hours on a GPU that sustains "
        "10 TFLOP/s and 9 days on 2 CPU cores, VGG-16 a quarter; small_ presets are for CPUs"
    ),
    optimizer="sgd",
    optimizer_options={"momentum": 0.9, "nesterov": True},
    learning_rate=0.1,
    learning_rate_schedule="cosine",
    warmup_epochs=1,
    augmentation="shift_flip",
    batch_size=128,
    epochs=200,
    validation_examples=2000,
    evaluation_attacks=ATTACKS,
)
SMALL = dataclasses.replace(
    FULL,
    budget=(
        "5 epochs at a quarter of the width and, in ResNet-50, of the positions: on one core of an "
        "AMD EPYC with AVX2 "
        + ", ".join(f"{MINUTES[name]} minutes ({text})" for name, text in NETWORKS.items())
    ),
    batch_size=100,
    epochs=5,
)
_OPTIONS = {"weight_decay": 5e-4}


def _of_classes(classes: int) -> ExperimentConfig:
    """As many updates, and as large a part of them to warm up, as with 100 classes."""
    factor = 100 // classes
    return dataclasses.replace(
        SMALL,
        budget=f"{SMALL.budget}; {SMALL.epochs * factor} epochs of {classes} classes take as long",
        epochs=SMALL.epochs * factor,
        warmup_epochs=SMALL.warmup_epochs * factor,
    )


def _preset(base: ExperimentConfig, dataset: str, network: str) -> ExperimentConfig:
    options: dict[str, Any] = dict(_OPTIONS)
    if base is not FULL:
        options["width"] = 0.25
        if network != "vgg16":
            options["stem"] = "small_stride_2"
    return dataclasses.replace(
        base,
        reference=f"Agrawal Tables II and III, {NETWORKS[network]}",
        dataset=dataset,
        model=network,
        model_options=options,
    )


PRESETS = {
    f"{prefix}{dataset}_{network}": _preset(base, dataset, network)
    for prefix, base in (("", FULL), ("small_", SMALL))
    for dataset in DATASETS
    for network in NETWORKS
} | {
    f"small_{part}_{classes}_{network}": _preset(_of_classes(classes), f"{part}_{classes}", network)
    for part in (SPREAD, "tiny_imagenet")
    for classes in CLASSES
    for network in ("resnet50", "cbam_resnet50")
}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `small_cifar10_resnet50`."""
    return presets.choose(PRESETS, preset, "small_cifar10_resnet50")
