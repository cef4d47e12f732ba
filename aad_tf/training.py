"""Trains what a config describes, in a model directory, resuming where an earlier run stopped."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import keras

from aad_tf import configs, data, export, model_directory
from aad_tf.attacks import parse_attack
from aad_tf.callbacks import StopOnNonFiniteLoss
from aad_tf.checkpoints import ResumableCheckpoint
from aad_tf.classifier import Classifier
from aad_tf.configs import ExperimentConfig
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    DefenseModel,
    EnsembleAdversarialModel,
    StandardModel,
)
from aad_tf.logs import LOGGER
from aad_tf.losses import AADLosses
from aad_tf.optimizers import build_optimizer
from aad_tf.results import write_json_atomically
from aad_tf.run_log import EpochHistory, ProgressLog, RunRecord


def build_defense(
    config: ExperimentConfig, network: keras.Model, steps_per_epoch: int
) -> DefenseModel:
    """Wraps a network in the defence of a config and compiles it.

    Args:
        config: names defence, attack, losses and optimizer.
        network: the network to train.
        steps_per_epoch: updates an epoch, in which learning-rate schedules count.

    Returns:
        A compiled Keras model.

    Raises:
        ModelDirectoryError: a source network is missing, unfinished, or of another data set.
    """
    classifier = Classifier.from_keras(network, config.attention_layer or None)
    model = _defended(config, classifier)
    model.compile(
        build_optimizer(config, steps_per_epoch),
        steps_per_execution=config.steps_per_execution,
        jit_compile=config.jit_compile,
    )
    return model


def _defended(config: ExperimentConfig, classifier: Classifier) -> DefenseModel:
    defense = config.defense
    options: dict[str, Any] = {"seed": config.seed, "label_smoothing": config.label_smoothing}
    if defense.kind == "none":
        return StandardModel(classifier, **options)
    attack = parse_attack(defense.attack)
    if defense.kind == "aad":
        return AADModel(
            classifier,
            attack=attack,
            weights=defense.weights,
            losses=AADLosses.preset(defense.losses).replace(**defense.loss_parts),
            update_per_round=defense.update_per_round,
            seed=config.seed,
            warmup_steps=defense.warmup_steps,
        )
    options |= {"replace_clean": defense.replace_clean, "warmup_steps": defense.warmup_steps}
    if defense.kind == "adversarial":
        return AdversarialModel(classifier, attack=attack, **options)
    _check_trained_networks(config)
    sources = [model_directory.load_classifier(path)[0] for path in defense.sources]
    return EnsembleAdversarialModel(classifier, sources=sources, attack=attack, **options)


def _check_trained_networks(config: ExperimentConfig) -> None:
    """Refuses networks to start from or attack that are missing or of another data set."""
    initial = (config.initial_weights,) if config.initial_weights else ()
    for path in (*initial, *config.defense.sources):
        dataset = model_directory.read_config(path).dataset
        if dataset != config.dataset:
            raise model_directory.ModelDirectoryError(
                f"The config names {path}, which was trained on {dataset!r}; this run trains on "
                f"{config.dataset!r}. Networks to start from or to attack must tell the same "
                f"classes apart."
            )
    if initial and not model_directory.is_finished(config.initial_weights):
        raise model_directory.ModelDirectoryError(
            f"initial_weights names {config.initial_weights}, whose training has not finished. "
            f"Run its train.main command again to resume it."
        )


def train(
    config: ExperimentConfig,
    model_dir: str | os.PathLike[str],
    *,
    data_dir: str | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> DefenseModel:
    """Trains a config to its end and exports the network.

    A run that was killed at any moment goes on from its last checkpoint when called again, with
    the result of a run that was never interrupted.

    Args:
        config: what to train.
        model_dir: where everything about the run is kept; see `aad_tf.model_directory`.
        data_dir: TFDS data directory; default `TFDS_DATA_DIR`.
        callbacks: further Keras callbacks.

    Returns:
        The trained defence; its `network` is the classifier.

    Raises:
        ValueError: a directory of another config, missing data or source networks, unreadable
            checkpoints.
        FloatingPointError: a loss became NaN or infinite.

    Example:
        >>> train(ExperimentConfig(dataset="digits", epochs=1), "runs/digits")
    """
    directory = Path(model_dir)
    dataset = data.info(config.dataset, data_dir)
    steps = _steps_per_epoch(config, dataset)
    _check_trained_networks(config)
    resumed = model_directory.claim(directory, config)
    with model_directory.locked(directory):
        if not resumed:
            write_json_atomically(directory / model_directory.CONFIG, configs.to_dict(config))
        elif model_directory.is_finished(directory):
            LOGGER.info("%s is finished already.", directory)
            return build_defense(config, model_directory.load_network(directory), steps)
        return _train(config, directory, dataset, steps, data_dir, callbacks)


def _steps_per_epoch(config: ExperimentConfig, dataset: data.DatasetInfo) -> int:
    steps = -(-dataset.num_examples["train"] // config.batch_size)
    if steps % config.steps_per_execution:
        raise ValueError(
            f"steps_per_execution must divide the {steps} steps of an epoch, got "
            f"{config.steps_per_execution}."
        )
    return steps


def _train(
    config: ExperimentConfig,
    directory: Path,
    dataset: data.DatasetInfo,
    steps: int,
    data_dir: str | None,
    callbacks: tuple[keras.callbacks.Callback, ...],
) -> DefenseModel:
    record = RunRecord(directory / model_directory.RUN, config, dataset)
    keras.utils.set_random_seed(config.seed)
    network = model_directory.build_network(config, dataset.image_shape, dataset.num_classes)
    if config.initial_weights:
        model_directory.copy_weights(config.initial_weights, network)
    model = build_defense(config, network, steps)
    checkpoint = ResumableCheckpoint(
        model, directory / model_directory.CHECKPOINTS, config.checkpoint_steps, steps
    )
    epoch, step = checkpoint.restore()
    if epoch or step:
        LOGGER.info("Resuming at epoch %d, step %d.", epoch + 1, step)
    history = EpochHistory(directory / model_directory.HISTORY, first_epoch=epoch)
    watchers = [StopOnNonFiniteLoss(), *callbacks, history, record, checkpoint]
    _fit(model, config, steps, (epoch, step), data_dir, watchers)
    export.save_network(network, directory / model_directory.NETWORK)
    export.export_saved_model(model.classifier, directory / model_directory.SAVED_MODEL)
    record.finish()
    return model


def _fit(
    model: DefenseModel,
    config: ExperimentConfig,
    steps: int,
    position: tuple[int, int],
    data_dir: str | None,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fits from a position; an epoch begun earlier is finished by a shorter call of its own."""
    validation = None
    if config.validation_examples:
        validation = data.evaluation_batches(
            config.dataset, "validation", config.batch_size, data_dir, config.validation_examples
        )
    epoch, step = position
    progress = ProgressLog(config.epochs, steps)
    while epoch < config.epochs:
        last_epoch = epoch + 1 if step else config.epochs
        progress.first_step = step
        model.fit(
            data.training_batches(
                config.dataset,
                config.batch_size,
                config.seed,
                data_dir,
                epoch,
                step,
                config.augmentation,
            ),
            initial_epoch=epoch,
            epochs=last_epoch,
            steps_per_epoch=steps - step,
            validation_data=validation,
            shuffle=False,
            callbacks=[*callbacks, progress],
            verbose="auto" if sys.stdout.isatty() else 0,
        )
        epoch, step = last_epoch, 0
