"""Examples in docstrings give what they say, where they need nothing that a reader would have."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

import aad_tf

ROOMS = (
    *("attacks", "attention", "classifier", "defenses", "distribute", "losses", "metrics"),
    *("types", "utils"),
)
# Builds a ResNet.
SLOW = {"aad_tf.attention.gates.NetworkGates"}


def modules() -> Iterator[str]:
    for room in ROOMS:
        yield f"aad_tf.{room}"
        paths = getattr(importlib.import_module(f"aad_tf.{room}"), "__path__", [])
        yield from (each.name for each in pkgutil.iter_modules(paths, f"aad_tf.{room}."))


def known_names() -> dict[str, Any]:
    """What a reader of any docstring has imported: packages, and the public names of rooms."""
    names: dict[str, Any] = {"aad_tf": aad_tf, "keras": keras, "np": np, "tf": tf}
    names |= {"ClassVar": ClassVar, "dataclass": dataclasses.dataclass}
    for room in (aad_tf.attacks, aad_tf.attention, aad_tf.losses, aad_tf):
        names |= {name: getattr(room, name) for name in room.__all__}
    return names


def missing_names(example: doctest.DocTest) -> set[str]:
    """Names that an example uses and neither makes nor finds, such as `classifier`."""
    nodes = [node for each in example.examples for node in ast.walk(ast.parse(each.source))]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {node.id for node in names} - made - example.globs.keys() - vars(builtins).keys()


def complete_examples(module: str) -> Iterator[doctest.DocTest]:
    """Examples of a module that state a result and make all that they use."""
    found = importlib.import_module(module)
    for example in doctest.DocTestFinder(exclude_empty=True).find(found, module):
        example.globs = {**known_names(), **vars(found)}
        states_result = any(each.want for each in example.examples)
        if states_result and example.name not in SLOW and not missing_names(example):
            yield example


EXAMPLES = [example for module in modules() for example in complete_examples(module)]


def test_examples_are_found():
    assert len(EXAMPLES) > 70


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_gives_what_it_says(example):
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not runner.run(example, out=said.append).failed, "".join(said)
