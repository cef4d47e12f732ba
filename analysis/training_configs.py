"""Whether two trainings are the same, or one a sketch of the other, by their configs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aad_tf import configs
from aad_tf.model_directory import MAY_DIFFER


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the settings that came after a config was written.

    Args:
        config: the content of a run's `config.json`, of any version.

    Returns:
        All settings, as JSON holds them; empty for an empty config.

    Raises:
        ValueError, TypeError: it is no config.

    Example:
        >>> complete({"defense": {"kind": "aad", "attack": "fgsm(0.1)"}})["defense"]["fill"]
        '0'
    """
    if not config:
        return {}
    # As JSON, so that tuples and lists compare alike.
    return dict(json.loads(json.dumps(configs.to_dict(configs.from_stored(dict(config))))))


def differing(
    first: Mapping[str, Any], second: Mapping[str, Any], *, but: Sequence[str] = ()
) -> list[str]:
    """Finds the settings in which two trainings differ.

    Names, texts, attacks and pictures that change no weight, and how often a run is saved may
    differ always (`aad_tf.model_directory.MAY_DIFFER`).

    Args:
        first: the content of a run's `config.json`.
        second: that of another one.
        but: further settings that may differ, such as `seed`.

    Returns:
        Names of settings; empty if there are none, or if one config is empty.

    Raises:
        ValueError, TypeError: one of them is no config.

    Example:
        >>> differing({"epochs": 5, "seed": 0}, {"epochs": 2, "seed": 1}, but=("seed",))
        ['epochs']
    """
    one, other = complete(first), complete(second)
    ignored = {*MAY_DIFFER, *but}
    return [key for key in one if other and key not in ignored and one[key] != other[key]]


def reduced(config: Mapping[str, Any], full: Mapping[str, Any]) -> str:
    """Says how far a training is a sketch of what it should be.

    Args:
        config: the content of a run's `config.json`.
        full: the same of the training that it stands for.

    Returns:
        Such as `2 of 200 epochs, the first 10,000 training images`; empty if nothing was reduced or
        one of them is empty.

    Example:
        >>> reduced({"epochs": 2}, {"epochs": 200})
        '2 of 200 epochs'
    """
    if not (config and full):
        return ""
    notes = []
    epochs, all_epochs = (each.get("epochs", 0) for each in (config, full))
    if epochs < all_epochs and "epochs" in config:
        notes.append(f"{epochs} of {all_epochs} epochs")
    # 0 stands for all of them.
    images, all_images = (each.get("train_examples", 0) for each in (config, full))
    if images and (images < all_images or not all_images):
        notes.append(f"the first {images:,} training images")
    return ", ".join(notes)
