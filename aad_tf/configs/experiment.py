"""ExperimentConfig: all settings of a training run and of its evaluation.

Mixed precision (`precision="mixed_bfloat16"` or `"mixed_float16"`) is handled in several modules.
`aad_tf.model_directory.build_network` gives the dtype policy to the layers. With float16,
`aad_tf.defenses.DefenseModel.compile` wraps the optimizer in a `LossScaleOptimizer`, and the
training step scales the loss. With several replicas, `aad_tf.distribute` makes all of them skip an
update that is not finite on one of them. `aad_tf.model_directory.load_classifier` loads the trained
network in float32, in which it is attacked and evaluated.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from aad_tf.attacks import as_attack
from aad_tf.configs.defense import DefenseConfig
from aad_tf.data import AUGMENTATIONS
from aad_tf.types import Bounds
from aad_tf.utils.checks import LARGEST_SEED, check_choice, check_count

PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("constant", "cosine", "triangular", "exponential")
_CHOICES = {
    "precision": PRECISIONS,
    "learning_rate_schedule": SCHEDULES,
    "augmentation": AUGMENTATIONS,
}


@dataclass(frozen=True)
class ExperimentConfig:
    """All settings of a training run and of its evaluation.

    Attacks are given as text, such as `"pgd(epsilon=0.1, step_size=0.02, num_steps=10)"`.

    Attributes:
        name: name of the preset.
        reference: the result that it reproduces, such as `"AAD Table 5, MNIST, row ..."`.
        budget: hardware and hours that it took, and the result to expect.
        dataset: one of the names that `aad_tf.data.available()` returns.
        image_size: side in pixels that images are resized to; 0 for the size of the data.
        model: one of the names that `aad_tf.models.available()` returns.
        model_options: further keyword arguments of the function that builds the model.
        attention_layer: name of the layer that attention maps explain; empty for the last layer
            whose output is a grid of the image and through which every path to the logits leads.
        defense: the defence, and its settings: its `kind`, such as `"aad"`, its `attack` and more.
        optimizer: name of a Keras optimizer, such as `"adam"`.
        optimizer_options: further arguments of the optimizer, such as `{"momentum": 0.9}`; not the
            learning rate.
        learning_rate: highest learning rate of the schedule.
        learning_rate_schedule: `"constant"`; `"cosine"`, which decays to 0 at the end;
            `"triangular"`, which rises and falls to 0 linearly; or `"exponential"`, which decays
            in steps.
        warmup_epochs: epochs over which a cosine or triangular schedule grows to `learning_rate`.
        decay_epochs: epochs from one decay of an exponential schedule to the next.
        decay_rate: factor by which each decay multiplies the learning rate.
        label_smoothing: part of the label's probability that is spread evenly over all classes in
            the classification losses of training, in [0, 1).
        augmentation: random changes of training images: `"none"`; `"flip"`, mirrored with
            probability 1/2; `"shift_flip"`, also moved by up to an eighth of the sides;
            `"crop_flip"`, mirrored and cropped to at least half of the area; or `"inception"`, a
            random box of 8% or more of the area, mirrored, with brightness and saturation changed.
        initial_weights: model directory of a trained network, from whose weights training starts;
            empty for random weights.
        batch_size: examples per step, of all replicas together.
        replica_batch_size: examples per step of each replica; 0 to divide `batch_size` among them.
            If it is given, `learning_rate` is the one for batches of `batch_size`, and is scaled by
            the ratio of the batch sizes.
        epochs: number of passes over the training examples; 0 for no training, where the network is
            evaluated with the weights of `model_options["weights"]` or `initial_weights`.
        train_examples: number of training examples to use, the first ones; 0 for all.
        precision: Keras dtype policy of the network: `"float32"`, `"float64"`,
            `"mixed_bfloat16"` or `"mixed_float16"`.
        seed: int from 0 to 2**31 - 1, seed of initial weights, order of examples, dropout and
            random starts of attacks.
        validation_examples: number of validation examples that are evaluated after each epoch; 0
            for none.
        validation_attacks: attacks under which these examples are evaluated after each epoch. Each
            has a column in the run's history.csv, named by its text without spaces, such as
            `val_robust_accuracy_fgsm(epsilon=0.1)`.
        early_stopping: an attack, such as `"fgsm(epsilon=0.1)"`. The weights of the epoch with the
            highest accuracy under it on the validation examples are kept (Rice et al. 2020). Empty
            to keep the last weights.
        patience: number of epochs without a higher such accuracy, after which training stops.
        monitor_examples: number of validation examples on which attention is measured after each
            epoch; 0 for none.
        monitor_attack: the attack of these measures and of the figures of attention; empty for the
            attack of the defence.
        snapshot_epochs: epochs from one figure of attention to the next, the first before training;
            0 for none.
        checkpoint_steps: training steps from one checkpoint to the next.
        steps_per_execution: training steps per call of the compiled graph.
        jit_compile: whether to compile the training step with XLA, which is no faster on CPUs.
        evaluation_attacks: attacks that `eval.robustness` evaluates.

    Raises:
        TypeError: a number of another type.
        ValueError: an unknown name, a number out of range, text that is not an attack, or an
            attribute that has no effect with the others.
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
            "warmup_epochs",
            "replica_batch_size",
            "image_size",
        ):
            check_count(getattr(self, name), name, least=0)
        check_count(self.seed, "seed", 0, LARGEST_SEED)
        for name in ("learning_rate", "decay_epochs", "decay_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}.")
        if "learning_rate" in self.optimizer_options:
            raise ValueError(
                f"optimizer_options has no learning_rate, got "
                f"{self.optimizer_options['learning_rate']}: set learning_rate, beside it."
            )
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
        """The attacks that are run on the validation examples after each epoch, as text.

        They are those of `validation_attacks`, in their order, then the one of `early_stopping`,
        whose robust accuracy decides which epoch's weights are kept. No attack comes twice. Spaces
        are removed, as in `"pgd(epsilon=0.1,step_size=0.02,num_steps=10)"`.
        """
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
    """Computes batch size and learning rate for training on several replicas.

    With `replica_batch_size` the global batch size is `replica_batch_size * replicas`, and the
    learning rate is multiplied by the global batch size divided by `batch_size` (Goyal et al.
    2017). Without it the global batch size is `batch_size` and the learning rate stays as it is, so
    that the number of replicas only changes the speed.

    Args:
        config: the config of the run.
        replicas: number of devices that share each training step.

    Returns:
        A config whose `batch_size` is the global batch size, with the learning rate for it and
        `replica_batch_size` 0.

    Raises:
        TypeError: a number of replicas that is not an integer.
        ValueError: fewer than one replica, a batch size that is not divisible by the number of
            replicas, or several steps per execution, which Keras 3 supports on one device only.

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
