"""Every constant of every registered network, held against a committed file.

After a change that is meant, `python -m tests.models.test_architectures` writes the file again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aad_tf import models

GOLDEN = Path(__file__).with_name("architectures.json")
# Numbered by Keras in the order of a process, the same for every layer, or of newer Keras alone.
LEFT_OUT = {
    *("name", "trainable", "dtype", "module", "registered_name", "build_config", "seed"),
    *("data_format", "renorm", "renorm_clipping", "renorm_momentum", "quantization_config"),
}
# Tests register networks, too.
NAMES = [
    name
    for name in models.available()
    if models.registry._BUILDERS[name].__module__.startswith("aad_tf.")
]


def constants(value: Any) -> Any:
    """A layer's config without what is left out and what is not set."""
    if isinstance(value, dict):
        kept = {key: constants(each) for key, each in value.items() if key not in LEFT_OUT}
        return {key: each for key, each in kept.items() if each not in (None, {}, False)}
    return [constants(each) for each in value] if isinstance(value, (list, tuple)) else value


def architecture(name: str) -> list[dict[str, Any]]:
    """The layers of a network at its default options, in order."""
    return [
        {
            "layer": type(layer).__name__,
            "output": list(layer.output.shape[1:]),
            **constants(layer.get_config()),
        }
        for layer in models.registry._BUILDERS[name]().layers
    ]


def differences(name: str, expected: list, found: list) -> Iterator[str]:
    """Which field of which layer is another one."""
    if len(expected) != len(found):
        yield f"{name}: {len(expected)} layers were expected, there are {len(found)}"
    for index, (old, new) in enumerate(zip(expected, found, strict=False)):
        for field in sorted({*old, *new}):
            if old.get(field) != new.get(field):
                yield (
                    f"{name}: layer {index}, {new['layer']}: {field} was {old.get(field)!r}, "
                    f"is {new.get(field)!r}"
                )


def as_stored(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return json.loads(json.dumps(layers))


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_those_of_the_committed_file(name):
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert name in expected, f"{name} is new: python -m tests.models.test_architectures"
    assert list(differences(name, expected[name], as_stored(architecture(name)))) == []


def test_a_difference_names_the_field():
    old = as_stored(architecture("cifarnet"))
    new = as_stored(architecture("cifarnet"))
    (normalization, *_) = [each for each in new if each["layer"] == "LocalResponseNormalization"]
    normalization["alpha"] *= 9
    (found,) = differences("cifarnet", old, new)
    assert "LocalResponseNormalization: alpha was 0.000111" in found


def write() -> None:
    """Writes the file, one line per layer."""
    blocks = []
    for name in NAMES:
        lines = ",\n".join(f"  {json.dumps(layer)}" for layer in architecture(name))
        blocks.append(f"{json.dumps(name)}: [\n{lines}\n]")
    GOLDEN.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
