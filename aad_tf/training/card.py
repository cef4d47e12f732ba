"""What all workers of a run must have in common."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

import aad_tf
from aad_tf import configs
from aad_tf.configs import ExperimentConfig


def worker_card(config: ExperimentConfig, pack_megabytes: float) -> dict[str, str]:
    """What must be the same on every worker: versions, packs, and each entry of the config.

    Example:
        >>> worker_card(ExperimentConfig(), 8.0)["config.batch_size"]
        '100'
    """
    versions = {
        "aad_tf": aad_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    entries = _flat(configs.to_dict(config), "config.")
    return {**versions, "pack_megabytes": repr(float(pack_megabytes)), **entries}


def _flat(values: dict[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = repr(value)
    return flat
