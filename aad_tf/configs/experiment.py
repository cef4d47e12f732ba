"""ExperimentConfig: every choice of a training run and of how it is evaluated.

Mixed precision (`precision="mixed_bfloat16"` or `"mixed_float16"`) is the one choice that many
modules follow. `aad_tf.model_directory.build_network` gives the policy to the layers;
`aad_tf.defenses.DefenseModel.compile` puts a `LossScaleOptimizer` around the optimizer for float16,
and its training step scales the loss; on several replicas, `aad_tf.distribute` makes all of them
skip an update that is not finite on one; and `aad_tf.model_directory.load_classifier` gives the
trained network in float32, in which it is attacked and evaluated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from aad_tf.attacks import as_attack
from aad_tf.configs.defense import DefenseConfig
from aad_tf.data import AUGMENTATIONS
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice, check_count

PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("constant", "cosine", "triangular", "exponential")
_CHOICES = {
    "precision": PRECISIONS,
    "learning_rate_schedule": SCHEDULES,
    "augmentation": AUGMENTATIONS,
}


@dataclass(frozen=True)
class ExperimentConfig:
    """One training run and how it is evaluated.

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
        learning_rate_schedule: `"constant"`, `"cosine"`, `"triangular"` or `"exponential"`; see
            `aad_tf.training.optimizers.learning_rate`.
        warmup_epochs: epochs over which a cosine or triangular schedule grows to `learning_rate`.
        decay_epochs: epochs between two steps of an exponential schedule.
        decay_rate: factor of such a step.
        label_smoothing: of the classification losses of training.
        augmentation: random changes of training images; a name of `aad_tf.data.AUGMENTATIONS`.
        initial_weights: model directory whose trained network training starts from; empty to
            start from random weights.
        batch_size: examples per step, on all replicas together.
        replica_batch_size: examples per step on each replica; 0 to divide `batch_size` among them.
            If given, `batch_size` is what `learning_rate` is meant for; see `for_replicas`.
        epochs: passes over the training part; 0 for a network that is not trained but evaluated
            with the weights it has, those of `model_options["weights"]` or `initial_weights`.
        train_examples: first so many training examples that an epoch has, for trials; 0 for all.
        precision: Keras dtype policy of the network: `"float32"`, `"float64"`,
            `"mixed_bfloat16"` or `"mixed_float16"`.
        seed: seeds weights, order of examples, dropout and random starts.
        validation_examples: how many validation examples are evaluated after each epoch, 0 for
            none.
        validation_attacks: attacks, as text, under which the same validation examples are
            evaluated after each epoch; history.csv has a column
            `val_robust_accuracy_<attack>` of each.
        early_stopping: an attack, as text, to choose the epoch by whose weights are kept: that of
            the highest accuracy under it on the validation examples (Rice et al. 2020). Empty to
            keep those of the last epoch.
        patience: epochs without a higher one after which `early_stopping` ends training.
        monitor_examples: on how many validation examples attention is measured after each epoch, 0
            for none; see `aad_tf.training.monitors`.
        monitor_attack: the attack of these measures and of the pictures, as text; empty for that
            of the defence.
        snapshot_epochs: epochs between two pictures of attention, the first before training; 0 for
            none.
        checkpoint_steps: steps between checkpoints.
        steps_per_execution: training steps per call of the compiled graph.
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
    validation_attacks: tuple[str, ...] = ()
    early_stopping: str = ""
    patience: int = 5
    monitor_examples: int = 0
    monitor_attack: str = ""
    snapshot_epochs: int = 0
    checkpoint_steps: int = 200
    steps_per_execution: int = 1
    jit_compile: bool = False
    evaluation_attacks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("batch_size", "checkpoint_steps", "steps_per_execution", "patience"):
            check_count(getattr(self, name), name)
        _check_epochs(self)
        for name in (
            "validation_examples",
            "monitor_examples",
            "snapshot_epochs",
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
            check_choice(getattr(self, name), known, name)
        _check_schedule(self)
        _check_monitors(self)
        for attack in (*self.evaluation_attacks, *self.attacks_in_validation):
            as_attack(attack, Bounds())
        if self.attacks_in_validation and not self.validation_examples:
            raise ValueError(
                "validation_attacks and early_stopping attack the validation examples: set "
                "validation_examples."
            )

    @property
    def attacks_in_validation(self) -> tuple[str, ...]:
        """`validation_attacks` and `early_stopping`, each once, without spaces."""
        texts = (*self.validation_attacks, *([self.early_stopping] if self.early_stopping else []))
        return tuple(dict.fromkeys(text.replace(" ", "") for text in texts))


def _check_epochs(config: ExperimentConfig) -> None:
    check_count(config.epochs, "epochs", least=0)
    if config.epochs:
        return
    if not config.model_options.get("weights") and not config.initial_weights:
        raise ValueError(
            "epochs must be at least 1, got 0: only a network that has weights, of "
            "model_options['weights'] or initial_weights, may do without training."
        )
    if config.defense.kind != "none":
        raise ValueError(
            f"epochs must be at least 1 with defense.kind {config.defense.kind!r}, got 0: a "
            f"network that is not trained is not defended."
        )


def _check_schedule(config: ExperimentConfig) -> None:
    if config.warmup_epochs and config.learning_rate_schedule not in ("cosine", "triangular"):
        raise ValueError(
            f"warmup_epochs={config.warmup_epochs} has no effect with learning_rate_schedule="
            f"{config.learning_rate_schedule!r}; only 'cosine' and "
            f"'triangular' warm up."
        )
    if config.warmup_epochs and config.warmup_epochs >= config.epochs:
        raise ValueError(
            f"warmup_epochs must be less than epochs ({config.epochs}), got {config.warmup_epochs}."
        )


def _check_monitors(config: ExperimentConfig) -> None:
    if config.monitor_attack:
        as_attack(config.monitor_attack, Bounds())
        if not (config.monitor_examples or config.snapshot_epochs):
            raise ValueError(
                "monitor_attack has no effect without monitor_examples or snapshot_epochs."
            )
    elif config.monitor_examples and not config.defense.attack:
        raise ValueError(
            "monitor_examples needs monitor_attack, such as 'pgd(epsilon=0.1, step_size=0.02, "
            "num_steps=10)': without a defence there is no attack of training to measure with."
        )


def for_replicas(config: ExperimentConfig, replicas: int) -> ExperimentConfig:
    """The config with the batch size and learning rate that it has on so many replicas.

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
        ValueError: a global batch that does not divide among the replicas, or several steps per
            execution, which Keras 3 runs on one device only.

    Example:
        >>> preset = ExperimentConfig(batch_size=1600, replica_batch_size=32, learning_rate=0.045)
        >>> for_replicas(preset, 50).learning_rate, for_replicas(preset, 2).learning_rate
        (0.045, 0.0018)
    """
    check_count(replicas, "replicas")
    if replicas > 1 and config.steps_per_execution > 1:
        raise ValueError(
            f"Keras 3 cannot run steps_per_execution={config.steps_per_execution} on {replicas} "
            f"replicas. Use --config.steps_per_execution=1."
        )
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
