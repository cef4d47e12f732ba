"""Attacks from text, for flags and configs: `pgd(epsilon=8/255, step_size=2/255, num_steps=10)`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import operator
from typing import Any

from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.presets import PRESETS
from aad_tf.checks import near_names

_OPERATORS = {ast.Div: operator.truediv, ast.Mult: operator.mul}


def parse_attack(text: str) -> GradientSignAttack:
    """Builds a preset attack from its call written as text.

    Args:
        text: name of a preset with keyword arguments; numbers may be written as `8/255`.

    Returns:
        The attack; its name is the text without spaces, so records can tell budgets apart.

    Raises:
        ValueError: not such a call, unknown preset or argument, or a value the preset refuses.

    Example:
        >>> parse_attack("ifgsm(epsilon=0.15, num_steps=3)").num_steps
        3
    """
    call = _parse_call(text)
    name = call.func.id  # type: ignore[attr-defined]
    if name not in PRESETS:
        raise ValueError(f"Unknown attack {name!r}." + near_names(name, PRESETS))
    known = list(inspect.signature(PRESETS[name]).parameters)
    arguments = {}
    for keyword in call.keywords:
        if keyword.arg not in known:
            raise ValueError(
                f"Attack {name!r} has no argument {keyword.arg!r}."
                + near_names(str(keyword.arg), known)
            )
        arguments[keyword.arg] = _value(keyword.value, text)
    positional = [_value(node, text) for node in call.args]
    try:
        attack = PRESETS[name](*positional, **arguments)
    except TypeError as error:
        raise ValueError(f"Attack {text!r}: {error}") from error
    return dataclasses.replace(attack, name=text.replace(" ", ""))


def split_attacks(text: str) -> list[str]:
    """Splits `fgsm(epsilon=0.1);pgd(...)` or a comma-separated list at its top level."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character in ",;" and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part.strip() for part in [*parts, current] if part.strip()]


def _parse_call(text: str) -> ast.Call:
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(_expected(text)) from error
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(_expected(text))
    return node


def _expected(text: str) -> str:
    return (
        f"Expected an attack like pgd(epsilon=8/255, step_size=2/255, num_steps=10), got {text!r}."
    )


def _value(node: ast.expr, text: str) -> Any:
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](_value(node.left, text), _value(node.right, text))
        return ast.literal_eval(node)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ValueError(_expected(text)) from error
