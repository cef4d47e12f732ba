"""What a run is: frozen dataclasses that name every choice, and their way to and from JSON."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aad_tf.attacks import parse_attack
from aad_tf.checks import check_count, near_names
from aad_tf.losses import PRESETS as LOSS_PRESETS
from aad_tf.losses import AADLosses

DEFENSES = ("none", "adversarial", "aad")
PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class DefenseConfig:
    """How a network is defended while it trains.

    Attributes:
        kind: `"none"`, `"adversarial"` or `"aad"`.
        attack: the attack of training, as text (see `parse_attack`); empty for `"none"`.
        replace_clean: adversarial training on attacked images alone (Madry et al. 2018).
        weights: (alpha, beta, gamma) of [AAD Eq. 9].
        losses: preset of the AAD losses.
        loss_parts: parts of the preset to exchange, e.g. `{"rectification": "l2"}`.
        update_per_round: one optimizer update a round of the attack.
        warmup_steps: updates over which adversarial perturbations grow to their full size.
    """

    kind: str = "none"
    attack: str = ""
    replace_clean: bool = False
    weights: tuple[float, ...] = (8.0, 4.0, 1.0)
    losses: str = "balanced"
    loss_parts: dict[str, Any] = field(default_factory=dict)
    update_per_round: bool = False
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.kind not in DEFENSES:
            raise ValueError(
                f"Unknown defense.kind {self.kind!r}." + near_names(self.kind, DEFENSES)
            )
        check_count(self.warmup_steps, "defense.warmup_steps", least=0)
        if self.kind != "none":
            parse_attack(self.attack)
        _check_loss_parts(self.loss_parts)
        if self.losses not in LOSS_PRESETS:
            raise ValueError(
                f"Unknown defense.losses {self.losses!r}." + near_names(self.losses, LOSS_PRESETS)
            )


def _check_loss_parts(parts: Mapping[str, Any]) -> None:
    known = {part.name for part in dataclasses.fields(AADLosses)}
    for name in parts:
        if name not in known:
            raise ValueError(
                f"Unknown part {name!r} in defense.loss_parts." + near_names(name, known)
            )
    AADLosses().replace(**parts)


@dataclass(frozen=True)
class ExperimentConfig:
    """One training run and how it is judged.

    Attributes:
        name: the preset's name.
        reference: what it reproduces, e.g. `AAD Table 5, MNIST, row ...`.
        budget: hardware and hours it was measured to take, and what to expect.
        dataset: a name of `aad_tf.data.available()`.
        model: a name of `aad_tf.models.available()`.
        model_options: keyword arguments of the model's builder.
        attention_layer: layer to explain; empty to find it.
        defense: how the network is defended.
        optimizer: a Keras optimizer's name.
        learning_rate: constant learning rate.
        batch_size: examples a step.
        epochs: passes over the training part.
        precision: Keras dtype policy of the network.
        seed: seeds weights, order of examples, dropout and random starts.
        validation_examples: how many validation examples to watch each epoch; 0 for none.
        checkpoint_steps: steps between checkpoints.
        steps_per_execution: training steps a call of the compiled graph.
        jit_compile: compile with XLA (of no help on CPUs).
        evaluation_attacks: attacks of `eval.robustness`, as text.
    """

    name: str = "custom"
    reference: str = ""
    budget: str = ""
    dataset: str = "digits"
    model: str = "lenet"
    model_options: dict[str, Any] = field(default_factory=dict)
    attention_layer: str = ""
    defense: DefenseConfig = DefenseConfig()
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    batch_size: int = 100
    epochs: int = 5
    precision: str = "float32"
    seed: int = 0
    validation_examples: int = 1000
    checkpoint_steps: int = 200
    steps_per_execution: int = 1
    jit_compile: bool = False
    evaluation_attacks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "checkpoint_steps", "steps_per_execution"):
            check_count(getattr(self, name), name)
        check_count(self.validation_examples, "validation_examples", least=0)
        check_count(self.seed, "seed", least=0)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}.")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"Unknown precision {self.precision!r}." + near_names(self.precision, PRECISIONS)
            )
        for attack in self.evaluation_attacks:
            parse_attack(attack)


def to_dict(config: ExperimentConfig) -> dict[str, Any]:
    """The config as plain nested dicts, lists and numbers, ready for JSON or a ConfigDict."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> ExperimentConfig:
    """Builds a config from nested mappings.

    Args:
        values: as `to_dict` returns; missing keys take their defaults.

    Returns:
        The config.

    Raises:
        ValueError: unknown keys (the message lists near ones), or values that cannot be.
        TypeError: a value of another type.

    Example:
        >>> from_dict({"dataset": "digits", "epochs": 3}).epochs
        3
    """
    return _build(ExperimentConfig, values, "")


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
