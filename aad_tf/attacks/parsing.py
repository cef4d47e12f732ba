"""Builds attacks from text and from records of evaluations, and writes attacks as text.

The text of an attack is the call of the function that builds it, as flags and configs hold it:
`pgd(epsilon=8/255, step_size=2/255, num_steps=10)`. The functions are those in
`aad_tf.attacks.PRESETS`, and the wrappers `a3` and `aad_total`, whose first argument is another
attack: `a3(fgsm(epsilon=4/255), sigma=10)`, `aad_total(fgsm(epsilon=4/255), weights=(8, 4, 1))`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf.attacks.adaptive import AADTotal, aad_total
from aad_tf.attacks.attention_augmented import AttentionAugmented, a3
from aad_tf.attacks.auto_pgd import LOSSES, AutoPGD
from aad_tf.attacks.cascade import Attack, AttackCascade
from aad_tf.attacks.draws import MeanOverDraws, draws_of
from aad_tf.attacks.fab import FastAdaptiveBoundary
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.margins import targets_per_example
from aad_tf.attacks.objectives import AwayFromLabel, TowardsLeastLikely, chosen_target
from aad_tf.attacks.presets import PRESETS
from aad_tf.attacks.serialization import attack_from_dict, attack_to_dict
from aad_tf.attacks.square import SquareAttack
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice, check_number, near_names

# Attacks made of another attack, which is their first argument.
WRAPPERS: dict[str, Callable[..., GradientSignAttack]] = {"a3": a3, "aad_total": aad_total}
_LOSS_NAMES = {objective.name: loss for loss, objective in LOSSES.items()}
_OPERATORS = {ast.Div: operator.truediv, ast.Mult: operator.mul}


def parse_attack(text: str) -> Attack:
    """Builds an attack from text.

    Args:
        text: the call of `fgsm`, `ifgsm`, `step_ll`, `iter_ll`, `pgd`, `rs_fgsm`, `nfgsm`,
            `trades_pgd`, `apgd`, `fab`, `square`, `auto_attack` or `quick_cascade` with its
            arguments; or of `a3` or `aad_total`, whose first argument is such a call. Numbers may
            be written as `8/255`.

    Returns:
        The attack. Its name is the text without spaces.

    Raises:
        ValueError: text that is not such a call, an unknown function or argument, or a value that
            the function refuses.

    Example:
        >>> parse_attack("ifgsm(epsilon=0.15, num_steps=3)").num_steps
        3
        >>> parse_attack("a3(step_ll(epsilon=4/255, num_steps=3), sigma=10)").objective.sigma
        10.0
    """
    try:
        attack = _value(ast.parse(text.strip(), mode="eval").body, text, nested=True)
    except SyntaxError as error:
        raise ValueError(_expected(text)) from error
    if not isinstance(attack, (IterativeAttack, AttackCascade)):
        raise ValueError(_expected(text))
    return dataclasses.replace(attack, name=text.replace(" ", ""))


def parse_number(text: str) -> float:
    """Reads a number that may be written as a fraction or product.

    Args:
        text: such as `"0.15"` or `"8/255"`.

    Returns:
        The number as a float.

    Raises:
        ValueError: text that is not a number, or a number that is not finite.

    Example:
        >>> parse_number("1/4")
        0.25
    """
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body, text, nested=False)
        return check_number(value, "text")
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"Expected a number such as 0.15 or 8/255, got {text!r}.") from error


def as_attack(attack: Attack | str, bounds: Bounds | None = None) -> Attack:
    """Returns an attack, which may be given as text.

    Args:
        attack: an attack, which is returned as it is, or its text, such as `"fgsm(epsilon=0.1)"`.
        bounds: pixel range of the images that will be attacked, against which step sizes and budget
            are checked; None for no check.

    Returns:
        The attack.

    Raises:
        TypeError: neither an attack nor text.
        ValueError: text that is not an attack, or sizes larger than the pixel range.

    Example:
        >>> as_attack("fgsm(epsilon=0.1)").epsilon
        0.1
    """
    if isinstance(attack, str):
        attack = parse_attack(attack)
    if not callable(attack) or isinstance(attack, type):
        raise TypeError(
            f"attack must be an attack such as aad_tf.attacks.fgsm(0.1), or its text "
            f"'fgsm(epsilon=0.1)', got {attack!r}."
        )
    if inspect.isfunction(attack) and attack in {**PRESETS, **WRAPPERS}.values():
        parameters = inspect.signature(attack).parameters.values()
        needed = [each.name for each in parameters if each.default is each.empty]
        raise TypeError(
            f"attack is the function {attack.__name__}, not yet an attack. Call it: "
            f"{attack.__name__}({', '.join(f'{name}=...' for name in needed)})."
        )
    if bounds is not None and isinstance(attack, (IterativeAttack, AttackCascade)):
        attack.check_sizes(bounds)
    return attack


def split_attacks(text: str) -> list[str]:
    """Splits a list of attacks at semicolons and commas outside of parentheses.

    Args:
        text: such as `"fgsm(epsilon=0.1); pgd(epsilon=0.1, step_size=0.02, num_steps=10)"`.

    Returns:
        The text of each attack, without spaces around it; empty parts are left out.
    """
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character in ",;" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def attack_from_record(record: Mapping[str, Any]) -> Attack:
    """Rebuilds an attack from the threat model that an evaluation recorded.

    Args:
        record: the dictionary that the method `threat_model` of an attack returns, and that the
            summary of an evaluation holds. The attack is built from its entry `parameters`. A
            record of an older version lacks that entry; then its entry `attack` must be the call of
            a preset as text, such as `"fgsm(epsilon=0.1)"`, and the other entries must agree with
            the attack that the call builds.

    Returns:
        The attack, under its recorded name.

    Raises:
        ValueError: a record without the name of an attack, one that cannot be rebuilt, or one
            whose entries contradict its name.

    Example:
        >>> attack_from_record(fgsm(0.1).threat_model()) == fgsm(0.1)
        True
    """
    name = record.get("attack")
    if not isinstance(name, str):
        raise ValueError(f"A record of an attack must hold its name under 'attack', got {record}.")
    if "parameters" in record:
        return attack_from_dict(record["parameters"], name)
    try:
        attack = parse_attack(name)
    except ValueError as error:
        raise ValueError(
            f"The record names its attack {name!r} and lacks its parameters, and the name is not "
            f"the call of a preset ({error}) Make the records again."
        ) from error
    rebuilt = attack.threat_model(Bounds(*record.get("bounds", (0.0, 1.0))))
    for key in sorted((record.keys() & rebuilt.keys()) - {"attack"}):
        if record[key] != rebuilt[key]:
            raise ValueError(
                f"{name} builds an attack of {key} {rebuilt[key]}, recorded is {record[key]}. "
                f"Make the records again."
            )
    return attack


def recorded_parameters(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of the attack in a recorded threat model.

    Args:
        record: the dictionary that the method `threat_model` of an attack returns. If it lacks
            `parameters`, as those of older versions do, the attack is rebuilt from its name in the
            entry `attack`, which must be the call of a preset as text.

    Returns:
        The fields of the attack by name, and the registered name of its class as `kind`; the same
        dictionary that `attack_to_dict` makes of the attack. The attack's name is not in it.

    Raises:
        ValueError: a record from which the attack cannot be rebuilt.

    Example:
        >>> recorded_parameters(fgsm(0.1).threat_model())["num_steps"]
        1
    """
    known = record.get("parameters")
    return attack_to_dict(attack_from_record(record)) if known is None else dict(known)


def attack_call(attack: Attack) -> str | None:
    """Writes an attack as text that `parse_attack` reads, without arguments at their defaults.

    Args:
        attack: any attack or cascade.

    Returns:
        The call as text without spaces, such as `"fgsm(epsilon=8/255)"`; None if no such call
        builds the attack, neither of a function in `aad_tf.attacks.PRESETS`, such as `fgsm` or
        `pgd`, nor of `a3` or `aad_total`.

    Example:
        >>> attack_call(step_ll(4 / 255, num_steps=3))
        'step_ll(epsilon=4/255,num_steps=3)'
    """
    if isinstance(attack, AttackCascade):
        first, last = attack.stages[0], attack.stages[-1]
        possible: dict[str, Any] = {
            "epsilon": first.epsilon,
            "num_steps": first.num_steps,
            "num_targets": targets_per_example(last.objective) or 1,
            "norm": attack.norm,
            "version": "standard" if draws_of(first.objective) == 1 else "rand",
        }
        return None if first.epsilon is None else _call(attack, possible)
    objective = attack.objective
    if isinstance(objective, (AttentionAugmented, AADTotal)):
        wrapper, plain = "aad_total", getattr(objective, "objective", AwayFromLabel())
        if isinstance(objective, AttentionAugmented):
            wrapper = "a3"
        inner = attack_call(dataclasses.replace(attack, objective=plain))
        options = objective.options()
        written = all(_is_literal(value) for value in options.values())
        return f"{wrapper}({inner},{_arguments(options)})" if inner and written else None
    num_draws = draws_of(objective)
    if isinstance(objective, MeanOverDraws):
        objective = objective.objective
    possible = {
        "num_draws": num_draws,
        "label_smoothing": getattr(objective, "label_smoothing", 0.0),
        "target": chosen_target(objective),
        "relabel": isinstance(objective, TowardsLeastLikely),
        "start_radius": getattr(attack.noise, "radius", None),
        "deviation": getattr(attack.noise, "deviation", 0.0),
        # That of a target is another objective on the same loss.
        "loss": _LOSS_NAMES.get(getattr(objective, "name", ""), "cross_entropy"),
        "nearest_by": getattr(objective, "nearest_by", "logit"),
        **vars(attack),
        **_of_kind(attack, objective),
    }
    return _call(attack, possible)


def _call(attack: Attack, possible: Mapping[str, Any]) -> str | None:
    """The shortest call of a preset with some of these arguments that builds an attack, or None."""
    # Where several presets build it, the one it is named by.
    named = re.split(r"[(,]", _unwrapped(attack.name))[0]
    for name in sorted(PRESETS, key=lambda name: name != named):
        preset = PRESETS[name]
        signature = inspect.signature(preset)
        if signature.return_annotation != type(attack).__name__:
            continue
        parameters = signature.parameters
        chosen = {key: possible[key] for key in parameters}
        if not _builds(preset, chosen, attack):
            continue
        for key in [
            key for key in parameters if parameters[key].default is not inspect.Parameter.empty
        ]:
            shorter = {other: value for other, value in chosen.items() if other != key}
            chosen = shorter if _builds(preset, shorter, attack) else chosen
        return f"{name}({_arguments(chosen)})"
    return None


def _builds(preset: Callable[..., Attack], arguments: Mapping[str, Any], attack: Attack) -> bool:
    """Whether a preset builds an attack of these arguments; it refuses some combinations."""
    try:
        return bool(preset(**arguments) == attack)
    except (TypeError, ValueError):
        return False


def _of_kind(attack: IterativeAttack, objective: Any) -> dict[str, Any]:
    """Arguments by which presets build an attack of its kind on an objective, where they differ."""
    if isinstance(attack, AutoPGD):
        targets = targets_per_example(objective)
        return {
            "num_targets": targets or 9,
            "restarts": attack.restarts // (targets or 1),
        }
    if isinstance(attack, FastAdaptiveBoundary):
        return {"num_steps": attack.steps_per_target, "num_targets": objective.num_targets}
    if isinstance(attack, SquareAttack):
        return {"num_queries": attack.num_steps}
    # Steps that accumulate have the size that presets call epsilon.
    return {"epsilon": getattr(attack, "step_size", None)} if attack.epsilon is None else {}


def preset_of(attack: Attack) -> str | None:
    """Finds the function in `aad_tf.attacks.PRESETS` that builds an attack.

    For an attack made by `a3` or `aad_total` it is the function that builds the inner attack. If
    several functions build the same attack, as `fgsm` and `ifgsm` with one iteration do, the one
    that the attack is named after is taken.

    Args:
        attack: any attack or cascade.

    Returns:
        The name of the function, such as `"step_ll"`; None if no function builds the attack.

    Example:
        >>> preset_of(a3(step_ll(4 / 255), sigma=10))
        'step_ll'
    """
    call = attack_call(attack)
    return None if call is None else _unwrapped(call).split("(")[0]


def _unwrapped(call: str) -> str:
    """A call without the wrapper around it."""
    for name in WRAPPERS:
        call = call.removeprefix(f"{name}(")
    return call


def _is_literal(value: Any) -> bool:
    """Whether a value can be written as text: numbers, texts, and containers of them."""
    if isinstance(value, Mapping):
        return all(_is_literal(each) for each in (*value, *value.values()))
    if isinstance(value, (tuple, list)):
        return all(_is_literal(each) for each in value)
    return isinstance(value, (int, float, str))


def with_unique_names(attacks: Sequence[Attack]) -> tuple[Attack, ...]:
    """Renames attacks so that all names differ.

    Args:
        attacks: attacks or cascades.

    Returns:
        The attacks in their order. Those that share a name with others get a name with their
        parameters; the others keep their name.

    Raises:
        ValueError: two attacks with the same name and parameters.

    Example:
        >>> [attack.name for attack in with_unique_names([fgsm(0.1), fgsm(0.2), ifgsm(0.1)])]
        ['fgsm(epsilon=0.1)', 'fgsm(epsilon=0.2)', 'ifgsm']
    """
    names = [attack.name for attack in attacks]
    labels = [
        _detailed_name(attack) if names.count(attack.name) > 1 else attack.name
        for attack in attacks
    ]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise ValueError(
            f"attacks holds {', '.join(repeated)} more than once. Remove one, or give them names "
            f"that differ with dataclasses.replace(attack, name=...)."
        )
    return tuple(
        dataclasses.replace(attack, name=label)
        for attack, label in zip(attacks, labels, strict=True)
    )


def _detailed_name(attack: Attack) -> str:
    call = attack_call(attack)
    if call is not None and call.split("(")[0] == attack.name.split("(")[0]:
        return call
    return f"{attack.name}({_arguments(_flat(attack_to_dict(attack)))})"


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _arguments(values: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    """A value as `parse_attack` reads it back exactly, 255ths where they are the shorter."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float):
        return repr(value).replace(" ", "")
    fraction = f"{round(value * 255)}/255"
    exact = round(value * 255) / 255 == value
    return fraction if exact and len(fraction) < len(repr(value)) else repr(value)


def _value(node: ast.expr, text: str, nested: bool) -> Any:
    """What an expression stands for; calls stand alone or as arguments of wrappers (`nested`)."""
    if nested and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _called(node, node.func.id, text)
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            sides = (_value(side, text, nested=False) for side in (node.left, node.right))
            return _OPERATORS[type(node.op)](*sides)
        return ast.literal_eval(node)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ValueError(_expected(text)) from error


def _called(call: ast.Call, name: str, text: str) -> Attack:
    presets = {**PRESETS, **WRAPPERS}
    preset = presets[check_choice(name, presets, "attack")]
    known = list(inspect.signature(preset).parameters)
    nested = name in WRAPPERS
    arguments = {}
    for keyword in call.keywords:
        if keyword.arg not in known:
            only = " It is an attack in l-inf alone." if keyword.arg == "norm" else ""
            raise ValueError(
                f"Attack {name!r} has no argument {keyword.arg!r}.{only}"
                + near_names(str(keyword.arg), known)
            )
        arguments[keyword.arg] = _value(keyword.value, text, nested)
    try:
        return preset(*(_value(node, text, nested) for node in call.args), **arguments)
    except TypeError as error:
        raise ValueError(f"Attack {text!r}: {error}") from error


def _expected(text: str) -> str:
    return (
        f"Expected an attack like pgd(epsilon=8/255, step_size=2/255, num_steps=10), got {text!r}."
    )
