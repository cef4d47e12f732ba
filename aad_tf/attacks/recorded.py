"""Attacks of records, and the labels that tell the attacks of one evaluation apart."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from aad_tf.attacks.attention_augmented import AttentionAugmented, a3
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.objectives import TowardsLeastLikely
from aad_tf.attacks.parsing import parse_attack
from aad_tf.attacks.presets import PRESETS
from aad_tf.attacks.serialization import attack_from_dict, attack_to_dict
from aad_tf.types import Bounds


def attack_from_record(record: Mapping[str, Any]) -> GradientSignAttack:
    """Rebuilds the attack of a record; only here is a recorded label ever parsed.

    Args:
        record: a threat model, as `GradientSignAttack.threat_model` returns it: the
            `threat_model` of an entry of a summary, or `study["attack"]` of an attention study.
            Older ones lack `parameters`; there the label in `attack` must be the call of a
            preset, and all else that is recorded must agree with what the call builds.

    Returns:
        The attack, under its recorded name.

    Raises:
        ValueError: the record describes no attack, or contradicts itself.

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
    """The parameters of the attack of a record, of an older one too; see `attack_from_record`."""
    known = record.get("parameters")
    return attack_to_dict(attack_from_record(record)) if known is None else dict(known)


def preset_of(attack: GradientSignAttack) -> str | None:
    """Name of the preset that builds an attack (`"step_ll"`), without A3; None if none does.

    Where several build it, as `fgsm` and `ifgsm` of one iteration do, the one it is named by.
    """
    call = attack_call(attack)
    return None if call is None else call.removeprefix("a3(").split("(")[0]


def attack_call(attack: GradientSignAttack) -> str | None:
    """An attack as the shortest call of a preset that `parse_attack` reads; None if none builds it.

    Example:
        >>> attack_call(step_ll(4 / 255, num_steps=3))
        'step_ll(epsilon=4/255,num_steps=3)'
    """
    objective = attack.objective
    if isinstance(objective, AttentionAugmented):
        return _augmented_call(attack, objective)
    possible = {
        "epsilon": attack.step_size if attack.epsilon is None else attack.epsilon,
        "step_size": attack.step_size,
        "num_steps": attack.num_steps,
        "random_start": attack.random_start,
        "restarts": attack.restarts,
        "label_smoothing": getattr(objective, "label_smoothing", 0.0),
        "relabel": isinstance(objective, TowardsLeastLikely),
    }
    named = attack.name.removeprefix("a3(").split("(")[0].split(",")[0]
    for preset in sorted(PRESETS, key=lambda preset: preset != named):
        parameters = inspect.signature(PRESETS[preset]).parameters
        chosen = {key: possible[key] for key in parameters}
        if PRESETS[preset](**chosen) != attack:
            continue
        for key, parameter in parameters.items():
            shorter = {other: value for other, value in chosen.items() if other != key}
            optional = parameter.default is not inspect.Parameter.empty
            if optional and PRESETS[preset](**shorter) == attack:
                chosen = shorter
        return f"{preset}({_arguments(chosen)})"
    return None


def with_unique_names(attacks: Sequence[GradientSignAttack]) -> tuple[GradientSignAttack, ...]:
    """The attacks under names that differ: those of equal name are named by their parameters.

    Returns:
        The attacks in their order; whose name no other has keeps it.

    Raises:
        ValueError: the same attack twice under one name.

    Example:
        >>> [attack.name for attack in with_unique_names([fgsm(0.1), fgsm(0.2), ifgsm(0.1)])]
        ['fgsm(epsilon=0.1)', 'fgsm(epsilon=0.2)', 'ifgsm']
    """
    names = [attack.name for attack in attacks]
    if len(set(names)) == len(names):
        return tuple(attacks)
    labelled = [
        dataclasses.replace(attack, name=_detailed_name(attack))
        if names.count(attack.name) > 1
        else attack
        for attack in attacks
    ]
    labels = [attack.name for attack in labelled]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise ValueError(
            f"attacks holds {', '.join(repeated)} more than once. Remove one, or give them names "
            f"that differ with dataclasses.replace(attack, name=...)."
        )
    return tuple(labelled)


def _augmented_call(attack: GradientSignAttack, objective: AttentionAugmented) -> str | None:
    plain: Any = objective.objective
    inner = attack_call(dataclasses.replace(attack, objective=plain))
    options = {
        field.name: getattr(objective, field.name)
        for field in dataclasses.fields(objective)
        if field.name in inspect.signature(a3).parameters
        and getattr(objective, field.name) != field.default
    }
    if inner is None or not all(isinstance(each, (int, float, str)) for each in options.values()):
        return None
    return f"a3({inner},{_arguments(options)})"


def _detailed_name(attack: GradientSignAttack) -> str:
    call = attack_call(attack)
    if call is not None and call.split("(")[0] == attack.name.split("(")[0]:
        return call
    return f"{attack.name}({_arguments(_flat(attack_to_dict(attack)))})"


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in parameters.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat.update({prefix + key: value} if inner is None else inner)
    return flat


def _arguments(values: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    """A value as `parse_attack` reads it back exactly, 255ths where they are the shorter."""
    if not isinstance(value, float):
        return repr(value)
    fraction = f"{round(value * 255)}/255"
    exact = round(value * 255) / 255 == value
    return fraction if exact and len(fraction) < len(repr(value)) else repr(value)
