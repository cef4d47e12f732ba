"""Attacks from text, for flags and configs: `pgd(epsilon=8/255, step_size=2/255, num_steps=10)`.

An attack made of another one is written around it: `a3(fgsm(epsilon=4/255), sigma=10)`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import operator
from typing import Any

from aad_tf.attacks.attention_augmented import a3
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.presets import PRESETS
from aad_tf.utils.checks import near_names

# Attacks made of another attack, which is their first argument.
WRAPPERS = {"a3": a3}
_OPERATORS = {ast.Div: operator.truediv, ast.Mult: operator.mul}


def parse_attack(text: str) -> GradientSignAttack:
    """Builds a preset attack from its call written as text.

    Args:
        text: name of a preset with arguments; numbers may be written as `8/255`. `a3` takes
            such a call as its first argument.

    Returns:
        The attack; its name is the text without spaces, so records can tell budgets apart.

    Raises:
        ValueError: not such a call, unknown preset or argument, or a value the preset refuses.

    Example:
        >>> parse_attack("ifgsm(epsilon=0.15, num_steps=3)").num_steps
        3
        >>> parse_attack("a3(step_ll(epsilon=4/255, num_steps=3), sigma=10)").objective.sigma
        10.0
    """
    return dataclasses.replace(_build(_parse_call(text), text), name=text.replace(" ", ""))


def as_attack(attack: GradientSignAttack | str) -> GradientSignAttack:
    """Returns an attack, or builds it from its text.

    Args:
        attack: an attack, or the text that `parse_attack` takes.

    Raises:
        TypeError: neither.
        ValueError: text that is no attack.

    Example:
        >>> as_attack("fgsm(epsilon=0.1)").epsilon
        0.1
    """
    if isinstance(attack, str):
        return parse_attack(attack)
    if not callable(attack) or isinstance(attack, type):
        raise TypeError(
            f"attack must be an attack such as aad_tf.attacks.fgsm(0.1), or its text "
            f"'fgsm(epsilon=0.1)', got {attack!r}."
        )
    return attack


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


def _build(call: ast.Call, text: str) -> GradientSignAttack:
    """The attack of one call; calls stand as arguments of wrappers only."""
    name = call.func.id  # type: ignore[attr-defined]
    presets = {**PRESETS, **WRAPPERS}
    if name not in presets:
        raise ValueError(f"Unknown attack {name!r}." + near_names(name, presets))
    known = list(inspect.signature(presets[name]).parameters)
    value = _attack_or_value if name in WRAPPERS else _value
    arguments = {}
    for keyword in call.keywords:
        if keyword.arg not in known:
            raise ValueError(
                f"Attack {name!r} has no argument {keyword.arg!r}."
                + near_names(str(keyword.arg), known)
            )
        arguments[keyword.arg] = value(keyword.value, text)
    positional = [value(node, text) for node in call.args]
    try:
        return presets[name](*positional, **arguments)
    except TypeError as error:
        raise ValueError(f"Attack {text!r}: {error}") from error


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


def _attack_or_value(node: ast.expr, text: str) -> Any:
    is_attack = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return _build(node, text) if is_attack else _value(node, text)  # type: ignore[arg-type]
