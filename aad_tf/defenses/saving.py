"""Saving of defences: attacks and networks as data, and weights of a defence or its network."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from aad_tf.attacks import attack_from_dict, attack_to_dict
from aad_tf.classifier import Classifier

# What Keras and h5py raise about a file of weights that is damaged or of another model.
_UNREADABLE = (OSError, LookupError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile)


def attack_to_config(attack: Any) -> dict[str, Any]:
    """Describes an attack for the config of a Keras model.

    Args:
        attack: any attack of `aad_tf.attacks`.

    Returns:
        A dictionary that JSON can hold: the attack's fields, its class as `kind`, and its `name`.
    """
    return {**attack_to_dict(attack), "name": getattr(attack, "name", None)}


def attack_from_config(config: Mapping[str, Any]) -> Any:
    """Builds the attack that `attack_to_config` described.

    Args:
        config: what `attack_to_config` returned.

    Returns:
        An equal attack.

    Raises:
        ValueError: a part of it is not registered with `aad_tf.attacks.register_kind`.
    """
    parameters = {key: value for key, value in config.items() if key != "name"}
    return attack_from_dict(parameters, config["name"])


def classifier_from_config(config: dict[str, Any], custom_objects: Any = None) -> Classifier:
    """Builds the network of a defence from its config, with newly initialized weights.

    Keras makes the `custom_objects` of `load_model` known to the outer model only, so they are
    handed on here.

    Args:
        config: what the method `get_config` of a Classifier returned: the Keras model and how it
            was wrapped.
        custom_objects: the user's classes and functions by name, as Keras takes them.

    Returns:
        The network as a Classifier.
    """
    return Classifier.from_config(config, {**_objects_in_scope(config), **(custom_objects or {})})


def _objects_in_scope(config: Any) -> dict[str, Any]:
    """The classes and functions that a config names and Keras knows here."""
    values = config.values() if isinstance(config, dict) else config
    found: dict[str, Any] = {}
    for value in values:
        if isinstance(value, (dict, list)):
            found.update(_objects_in_scope(value))
    name = config.get("registered_name") if isinstance(config, dict) else None
    if isinstance(name, str) and (known := keras.saving.get_registered_object(name)) is not None:
        found[name] = known
    return found


def load_one_way(
    ways: Sequence[Callable],
    filepath: Any,
    skip_mismatch: bool,
    state: Sequence[keras.Variable],
    options: Mapping[str, Any],
) -> None:
    """Loads a file of weights with the first of several functions that can read it.

    Args:
        ways: methods `load_weights` of models that share variables, such as a defence and its
            network.
        filepath: file of weights.
        skip_mismatch: True falls back, if no function reads the file as a whole, on the first one
            that changes any variable when it leaves out what does not fit.
        state: all variables that may change.
        options: other arguments of `keras.Model.load_weights`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no function can read the file; `state` is as before.
    """
    before = [variable.numpy() for variable in state]
    failure: BaseException | None = None
    for lenient in (False, True) if skip_mismatch else (False,):
        for way in ways:
            try:
                # Keras warns of what it did not find before it gives up.
                with warnings.catch_warnings(record=True) as warned:
                    warnings.simplefilter("always")
                    way(filepath, skip_mismatch=lenient, **options)
            except FileNotFoundError:
                raise
            except _UNREADABLE as error:
                failure = error
                for variable, value in zip(state, before, strict=True):
                    variable.assign(value)
                continue
            pairs = zip(state, before, strict=True)
            if lenient and way is not ways[-1] and all(np.array_equal(*pair) for pair in pairs):
                continue
            for warning in warned:
                warnings.warn(warning.message, warning.category, stacklevel=3)
            return
    raise ValueError(str(failure)) from failure
