"""What all workers of a run must have in common."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import aad_tf
from aad_tf import configs
from aad_tf.configs import ExperimentConfig
from aad_tf.distribute.connecting import pack_bytes
from aad_tf.provenance import source_commit

# What decides on data, gradients and how they travel.
_COMPARED = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


def worker_card(config: ExperimentConfig, pack_megabytes: float) -> dict[str, str]:
    """What must be the same on every worker: versions, packs, and each entry of the config.

    Raises:
        ValueError: packs of no size.

    Example:
        >>> worker_card(ExperimentConfig(), 8.0)["config.batch_size"]
        '100'
    """
    versions = {name: metadata.version(name) for name in _COMPARED}
    packs = {"pack_megabytes": str(pack_bytes(pack_megabytes) / 2**20)}
    return {
        "aad_tf": aad_tf.__version__,
        "commit of aad_tf": str(source_commit()),
        **versions,
        **packs,
        **_flat(configs.to_dict(config), "config."),
    }


def _flat(values: dict[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = repr(value)
    return flat
