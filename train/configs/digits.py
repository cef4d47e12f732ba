"""Presets on the embedded digits: the MNIST rows in a minute each, with no data to fetch.

python -m train.main --config=train/configs/digits.py:aad_step_ll --model_dir=runs/digits_aad
"""

from __future__ import annotations

from ml_collections import config_dict

from aad_tf.configs import ExperimentConfig
from train.configs import presets
from train.configs.mnist import ATTACKS, DEFENSES

PRESETS = {
    name: ExperimentConfig(
        reference=f"AAD Table 5, MNIST, row {presets.ROWS[name]!r}, on scikit-learn's digits",
        budget="about a minute on 2 CPU cores",
        dataset="digits",
        model="lenet",
        model_options={"dropout_rate": 0.5},
        defense=defense,
        batch_size=50,
        epochs=8,
        evaluation_attacks=ATTACKS,
    )
    for name, defense in DEFENSES.items()
}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` takes; None is `aad_step_ll`."""
    return presets.choose(PRESETS, preset, "aad_step_ll")
