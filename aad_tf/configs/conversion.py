"""Converts configs to and from nested dictionaries, as JSON files and flags hold them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from aad_tf.configs.experiment import ExperimentConfig
from aad_tf.utils.checks import near_names


def to_dict(config: ExperimentConfig) -> dict[str, Any]:
    """Converts the config of a training run to nested dictionaries.

    Args:
        config: the config.

    Returns:
        The attributes by name; values are numbers, texts, tuples and dictionaries, as JSON and
        `ml_collections.ConfigDict` can hold them. `from_dict` makes the same config of it.
    """
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> ExperimentConfig:
    """Builds a config from nested mappings.

    Args:
        values: attributes of `ExperimentConfig` by name, as `to_dict` returns them; `defense` is a
            mapping of the attributes of `DefenseConfig`. Missing keys get their defaults.

    Returns:
        The config.

    Raises:
        ValueError: an unknown key (the message lists near ones), or a value out of range or not
            among those that its key may have.
        TypeError: a value of another type than its key has.

    Example:
        >>> from_dict({"dataset": "digits", "epochs": 3}).epochs
        3
    """
    return _build(ExperimentConfig, values, "")


def from_stored(values: Mapping[str, Any]) -> ExperimentConfig:
    """Builds the config of a finished run, which an earlier version may have written.

    Attributes that did not exist when the run was made get the value that the earlier version used.
    For Attention-based Adversarial Defense (`"aad"`) that differs from the present default: hidden
    pixels were black, and the preservation loss of `"reference_code"` was a mean over the batch.

    Args:
        values: the content of the run's `config.json`.

    Returns:
        The config.

    Raises:
        ValueError: an unknown key, or a value out of range or not among those allowed.
        TypeError: a value of another type than its key has.
    """
    defense = values.get("defense")
    if isinstance(defense, Mapping) and defense.get("kind") == "aad":
        defense = dict(defense)
        if "fill" not in defense and defense.get("losses") == "reference_code":
            parts = {"preservation_over": "batch_mean", **defense.get("loss_parts", {})}
            defense["loss_parts"] = parts
        # Hidden pixels were black.
        values = {**values, "defense": {"fill": "0", **defense}}
    return from_dict(values)


def _build(cls: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"Unknown config key {prefix + unknown[0]!r}." + near_names(unknown[0], hints)
        )
    return cls(**{key: _convert(hints[key], values[key], prefix + key) for key in values})


def _convert(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, key + ".")
    origin = typing.get_origin(hint)
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"Config key {key!r} must be a sequence, got {value!r}.")
        return tuple(_convert(item, entry, key) for entry in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"Config key {key!r} must be a mapping, got {value!r}.")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, types.UnionType) or not isinstance(value, hint):
        raise TypeError(f"Config key {key!r} must be {hint.__name__}, got {value!r}.")
    return value
