"""CIFAR-10 presets by the weights of AAD's three losses: [AAD Fig. 7].

`weights_8_4_1` is `train/configs/cifar10.py:aad_step_ll`; the others differ in one of the weights
alpha (classification), beta (rectification) and gamma (preservation), which names state in this
order. Presets that begin with `small_` train 4 epochs on 10,000 images, for CPUs.

    python -m train.main --config=train/configs/cifar10_weights.py:weights_8_0_1 --model_dir=runs/w
"""

from __future__ import annotations

import dataclasses

from ml_collections import config_dict

from aad_tf.configs import ExperimentConfig
from train.configs import cifar10, cifar10_rounds, presets

PAPER = (8, 4, 1)
# The paper's axes cannot be read off; each panel has 0 and the ratio 8 : 4 : 1.
PANELS = {"alpha": (0, 2, 4, 8, 16), "beta": (0, 1, 2, 4, 8), "gamma": (0, 1, 2, 4)}
ATTACKS = (
    "fgsm(epsilon=0.075)",
    "ifgsm(epsilon=0.025, num_steps=3)",
    "step_ll(epsilon=0.075)",
    cifar10_rounds.PGD,
    cifar10_rounds.PRIMARY,
)


def weights_of(panel: str, value: int) -> tuple[int, int, int]:
    """Sets one of the weights 8 : 4 : 1 to another value.

    Args:
        panel: the weight that is set: "alpha", "beta" or "gamma".
        value: its value.

    Returns:
        The weights alpha, beta and gamma.

    Example:
        >>> weights_of("beta", 0)
        (8, 0, 1)
    """
    alpha, beta, gamma = (
        value if panel == name else weight for name, weight in zip(PANELS, PAPER, strict=True)
    )
    return alpha, beta, gamma


def name_of(panel: str, value: int) -> str:
    """Makes the name of the preset that has one of the weights 8 : 4 : 1 set to another value.

    Args:
        panel: the weight that is set: "alpha", "beta" or "gamma".
        value: its value.

    Returns:
        The name, without the prefix `small_`.

    Example:
        >>> name_of("beta", 0)
        'weights_8_0_1'
    """
    return "_".join(map(str, ("weights", *weights_of(panel, value))))


def _preset(panel: str, value: int) -> ExperimentConfig:
    base = cifar10.PRESETS["aad_step_ll"]
    weights = tuple(map(float, weights_of(panel, value)))
    return dataclasses.replace(
        base,
        reference=f"AAD Fig. 7, {panel} {value}",
        defense=dataclasses.replace(base.defense, weights=weights),
        evaluation_attacks=ATTACKS,
        **cifar10_rounds.MONITORED,
    )


FULL = {
    name_of(panel, value): _preset(panel, value)
    for panel, values in PANELS.items()
    for value in values
}
PRESETS = FULL | {
    f"small_{name}": dataclasses.replace(preset, **cifar10_rounds.SMALL)
    for name, preset in FULL.items()
}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `weights_8_4_1`."""
    return presets.choose(PRESETS, preset, "weights_8_4_1")
