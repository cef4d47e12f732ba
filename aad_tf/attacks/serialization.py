"""Attacks as dictionaries that JSON can hold, from which they are rebuilt.

Two attacks are the same, in records and when an evaluation is resumed, if the dictionaries that
`attack_to_dict` returns for them are equal. The name of an attack is only a label.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

_Class = TypeVar("_Class", bound=type)
_KINDS: dict[str, type] = {}
# Of a dataclass's field that came after records of its class were written: attacks that do without
# it keep their parameters.
LEFT_OUT_AT_DEFAULT: dict[str, bool] = {"left_out_at_default": True}


def register_kind(kind: str) -> Callable[[_Class], _Class]:
    """Class decorator by which `attack_from_dict` finds the class of an attack or of its parts.

    Args:
        kind: name of the class in records. It must never change, or older records cannot be read.

    Returns:
        The decorator. It takes a dataclass whose fields are numbers, text, None, sequences of
        these, or objects of registered classes, and returns it.

    Raises:
        TypeError: the decorated class is not a dataclass.
        ValueError: another class is registered under this name.

    Example:
        >>> @register_kind("my_objective")
        ... @dataclasses.dataclass(frozen=True)
        ... class MyObjective: ...
    """

    def register(cls: _Class) -> _Class:
        if _KINDS.get(kind, cls) is not cls:
            raise ValueError(f"The kind {kind!r} is that of {_KINDS[kind].__name__} already.")
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"{cls.__name__} must be a dataclass, so that its fields are known.")
        _KINDS[kind] = cls
        return cls

    return register


def attack_to_dict(attack: Any) -> dict[str, Any]:
    """Describes an attack by its parameters, without its name.

    Args:
        attack: any attack or cascade.

    Returns:
        A dictionary that `json` can write, equal for equal attacks. Its entry `kind` is the
        registered name of the class; the other entries are the fields of the attack. Objectives
        and other parts are dictionaries of the same form. A part whose class is not registered has
        its qualified class name as `kind`, and cannot be rebuilt.

    Example:
        >>> attack_to_dict(fgsm(0.1))["epsilon"]
        0.1
    """
    return _encoded(attack)


def attack_from_dict(parameters: Mapping[str, Any], name: str | None = None) -> Any:
    """Rebuilds the attack that `attack_to_dict` described.

    Args:
        parameters: the dictionary that `attack_to_dict` returned, also after a round trip through
            JSON.
        name: name of the attack; None for the default name of its class.

    Returns:
        An attack equal to the original one.

    Raises:
        ValueError: a class that is not registered, fields that are missing or unknown, or values
            that the attack refuses.

    Example:
        >>> attack_from_dict(attack_to_dict(fgsm(0.1))) == fgsm(0.1)
        True
    """
    attack = _decoded(parameters)
    return attack if name is None else dataclasses.replace(attack, name=name)


def short_name(value: Any) -> str:
    """Writes a value as text for the name of an attack.

    Args:
        value: any object, such as a distance between maps, given as a name or as a function.

    Returns:
        `__name__` of a function or class; else the `repr`, without memory addresses, since they
        differ between processes.

    Example:
        >>> short_name(tf.reduce_mean), short_name("l2")
        ('reduce_mean', "'l2'")
    """
    return str(getattr(value, "__name__", _without_address(value)))


def _without_address(value: Any) -> str:
    """`repr` without the address of an object, which differs between processes."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _encoded(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_encoded(each) for each in value]
    kinds = {cls: kind for kind, cls in _KINDS.items()}
    named = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    kind = kinds.get(type(value), f"{named.__module__}.{named.__qualname__}")
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {"kind": kind, "repr": _without_address(value)}
    fields = [
        field.name
        for field in dataclasses.fields(value)
        if field.init and field.name != "name" and not _is_left_out(field, value)
    ]
    return {"kind": kind, **{field: _encoded(getattr(value, field)) for field in fields}}


def _is_left_out(field: dataclasses.Field, value: Any) -> bool:
    optional = field.metadata.items() >= LEFT_OUT_AT_DEFAULT.items()
    return optional and getattr(value, field.name) == field.default


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(each) for each in value)
    if not isinstance(value, Mapping):
        return value
    fields = {key: _decoded(entry) for key, entry in value.items() if key != "kind"}
    kind = value.get("kind")
    if kind not in _KINDS:
        raise ValueError(
            f"The record holds a part of an attack of kind {kind!r}, known are "
            f"{', '.join(sorted(_KINDS))}. Register its class with "
            f"aad_tf.attacks.register_kind({str(kind)!r}) before the record is read."
        )
    try:
        return _KINDS[kind](**{**getattr(_KINDS[kind], "before_recorded", {}), **fields})
    except TypeError as error:
        raise ValueError(f"The record does not hold the fields of {kind!r}: {error}.") from error
