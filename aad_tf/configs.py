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
from aad_tf.data import AUGMENTATIONS
from aad_tf.losses import PRESETS as LOSS_PRESETS
from aad_tf.losses import AADLosses

DEFENSES = ("none", "adversarial", "ensemble", "aad")
PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("constant", "cosine", "exponential")
_CHOICES = {
    "precision": PRECISIONS,
    "learning_rate_schedule": SCHEDULES,
    "augmentation": AUGMENTATIONS,
}


@dataclass(frozen=True)
class DefenseConfig:
    """How a network is defended while it trains.

    Attributes:
        kind: `"none"`, `"adversarial"`, `"ensemble"` or `"aad"`.
        attack: the attack of training, as text (see `parse_attack`); empty for `"none"`.
        replace_clean: adversarial training on attacked images alone (Madry et al. 2018).
        weights: (alpha, beta, gamma) of [AAD Eq. 9].
        losses: preset of the AAD losses.
        loss_parts: parts of the preset to exchange, e.g. `{"rectification": "l2"}`.
        update_per_round: one optimizer update a round of the attack.
        warmup_steps: updates over which adversarial perturbations grow to their full size.
        sources: model directories of the static networks of `"ensemble"`, trained on the same
            data set.
    """

    kind: str = "none"
    attack: str = ""
    replace_clean: bool = False
    weights: tuple[float, ...] = (8.0, 4.0, 1.0)
    losses: str = "balanced"
    loss_parts: dict[str, Any] = field(default_factory=dict)
    update_per_round: bool = False
    warmup_steps: int = 0
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in DEFENSES:
            raise ValueError(
                f"Unknown defense.kind {self.kind!r}." + near_names(self.kind, DEFENSES)
            )
        check_count(self.warmup_steps, "defense.warmup_steps", least=0)
        if self.kind != "none":
            parse_attack(self.attack)
        _check_sources(self)
        _check_loss_parts(self.loss_parts)
        if self.losses not in LOSS_PRESETS:
            raise ValueError(
                f"Unknown defense.losses {self.losses!r}." + near_names(self.losses, LOSS_PRESETS)
            )


def _check_sources(defense: DefenseConfig) -> None:
    if defense.kind == "ensemble" and not defense.sources:
        raise ValueError(
            "defense.kind 'ensemble' needs defense.sources: model directories of trained networks."
        )
    if defense.kind != "ensemble" and defense.sources:
        raise ValueError(
            f"defense.sources has no effect with defense.kind {defense.kind!r}; only 'ensemble' "
            f"attacks other networks."
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
        image_size: side that images are resized to; 0 for that of the data.
        model: a name of `aad_tf.models.available()`.
        model_options: keyword arguments of the model's builder.
        attention_layer: layer to explain; empty to find it.
        defense: how the network is defended.
        optimizer: a Keras optimizer's name.
        optimizer_options: further arguments of the optimizer, e.g. `{"momentum": 0.9}`.
        learning_rate: at its highest.
        learning_rate_schedule: `"constant"`, `"cosine"` or `"exponential"`; see
            `aad_tf.optimizers.learning_rate`.
        warmup_epochs: epochs over which a cosine schedule grows to `learning_rate`.
        decay_epochs: epochs between two steps of an exponential schedule.
        decay_rate: factor of such a step.
        label_smoothing: of the classification losses of training.
        augmentation: random changes of training images; a name of `aad_tf.data.AUGMENTATIONS`.
        initial_weights: model directory whose trained network training starts from; empty to
            start afresh.
        batch_size: examples a step, on all replicas together.
        replica_batch_size: examples a step on each replica; 0 to divide `batch_size` among them.
            If given, `batch_size` is what `learning_rate` is meant for; see `for_replicas`.
        epochs: passes over the training part.
        train_examples: first so many training examples that an epoch has, for trials; 0 for all.
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
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "constant"
    warmup_epochs: int = 0
    decay_epochs: float = 2.0
    decay_rate: float = 0.94
    label_smoothing: float = 0.0
    augmentation: str = "none"
    initial_weights: str = ""
    batch_size: int = 100
    replica_batch_size: int = 0
    image_size: int = 0
    epochs: int = 5
    train_examples: int = 0
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
        for name in (
            "validation_examples",
            "train_examples",
            "seed",
            "warmup_epochs",
            "replica_batch_size",
            "image_size",
        ):
            check_count(getattr(self, name), name, least=0)
        for name in ("learning_rate", "decay_epochs", "decay_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"Unknown {name} {value!r}." + near_names(value, known))
        _check_schedule(self)
        for attack in self.evaluation_attacks:
            parse_attack(attack)


def _check_schedule(config: ExperimentConfig) -> None:
    if config.warmup_epochs and config.learning_rate_schedule != "cosine":
        raise ValueError(
            f"warmup_epochs={config.warmup_epochs} has no effect with learning_rate_schedule="
            f"{config.learning_rate_schedule!r}; only 'cosine' warms up."
        )
    if config.warmup_epochs >= config.epochs:
        raise ValueError(
            f"warmup_epochs must be less than epochs ({config.epochs}), got {config.warmup_epochs}."
        )


def for_replicas(config: ExperimentConfig, replicas: int) -> ExperimentConfig:
    """What a config comes to on so many replicas.

    With `replica_batch_size` the global batch is that many examples on each replica, and the
    learning rate is scaled by global batch / `batch_size` (Goyal et al. 2017). Without, the global
    batch is `batch_size` and the learning rate stays, so the number of replicas changes nothing
    but speed.

    Args:
        config: as asked for.
        replicas: devices that train in step.

    Returns:
        The config with `batch_size` and `learning_rate` as they are trained with.

    Raises:
        ValueError: a global batch that does not divide among the replicas.

    Example:
        >>> preset = ExperimentConfig(batch_size=1600, replica_batch_size=32, learning_rate=0.045)
        >>> for_replicas(preset, 50).learning_rate, for_replicas(preset, 2).learning_rate
        (0.045, 0.0018)
    """
    check_count(replicas, "replicas")
    if config.replica_batch_size:
        batch_size = config.replica_batch_size * replicas
        rate = config.learning_rate * batch_size / config.batch_size
        return dataclasses.replace(
            config, batch_size=batch_size, learning_rate=rate, replica_batch_size=0
        )
    if config.batch_size % replicas:
        near = max(config.batch_size // replicas, 1)
        raise ValueError(
            f"batch_size {config.batch_size} does not divide among {replicas} replicas. Use "
            f"--config.batch_size={near * replicas}, or --config.replica_batch_size={near} to "
            f"scale the learning rate with the number of replicas."
        )
    return config


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
