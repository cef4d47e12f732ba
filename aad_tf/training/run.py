"""One training run in a model directory, resuming where an earlier one stopped."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from aad_tf import configs, data, export, model_directory
from aad_tf.callbacks import StopOnNonFiniteLoss
from aad_tf.checkpoints import ResumableCheckpoint
from aad_tf.configs import ExperimentConfig
from aad_tf.data import DatasetInfo, ReplicaShare
from aad_tf.defenses import DefenseModel
from aad_tf.distribute import distributed, in_agreement, is_chief
from aad_tf.logs import LOGGER
from aad_tf.preemption import StopOnSignal
from aad_tf.results import write_json_atomically
from aad_tf.run_log import PROGRESS_SECONDS, EpochHistory, ProgressLog, RunRecord
from aad_tf.training.building import build_defense, build_model, check_trained_networks


def train(
    config: ExperimentConfig,
    model_dir: str | os.PathLike[str],
    *,
    data_dir: str | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    progress_seconds: float = PROGRESS_SECONDS,
    strategy: tf.distribute.Strategy | None = None,
) -> DefenseModel:
    """Trains a config to its end and exports the network.

    A run that was killed at any moment goes on from its last checkpoint when called again, with
    the result of a run that was never interrupted.

    Args:
        config: what to train.
        model_dir: where everything about the run is kept; see `aad_tf.model_directory`.
        data_dir: TFDS data directory; default `TFDS_DATA_DIR`.
        callbacks: further Keras callbacks.
        progress_seconds: least time between two lines of progress; 0 for a line a step.
        strategy: of `aad_tf.distribute.create_strategy`; one device when None. Every worker calls
            this function with the same arguments; the chief alone writes.

    Returns:
        The trained defence; its `network` is the classifier.

    Raises:
        ValueError: a directory of another config, missing data or source networks, unreadable
            checkpoints, a batch that does not divide among the replicas.
        FloatingPointError: a loss became NaN or infinite.
        PreemptedError: a SIGTERM came; everything is saved.

    Example:
        >>> train(ExperimentConfig(dataset="digits", epochs=1), "runs/digits")
    """
    strategy = strategy or tf.distribute.get_strategy()
    config = configs.for_replicas(config, strategy.num_replicas_in_sync)
    dataset = data.info(config.dataset, data_dir, config.image_size)
    run = _Run(config, Path(model_dir), dataset, data_dir, strategy, progress_seconds)
    steps = run.steps
    check_trained_networks(config)
    with run.claimed():
        if not run.is_finished():
            return _train(run, callbacks)
        LOGGER.info("%s is finished already.", run.directory)
        with strategy.scope():
            return build_defense(config, model_directory.load_network(run.directory), steps)


@dataclass(frozen=True)
class _Run:
    """What a run is made of, and which of its files this process may write."""

    config: ExperimentConfig
    directory: Path
    dataset: DatasetInfo
    data_dir: str | None
    strategy: tf.distribute.Strategy
    progress_seconds: float

    @property
    def chief(self) -> bool:
        return is_chief(self.strategy)

    @property
    def steps(self) -> int:
        """Updates an epoch."""
        config = self.config
        present = self.dataset.num_examples["train"]
        steps = data.steps_per_epoch(
            min(present, config.train_examples or present),
            config.batch_size,
            self.strategy.num_replicas_in_sync,
        )
        if steps % config.steps_per_execution:
            raise ValueError(
                f"steps_per_execution must divide the {steps} steps of an epoch, got "
                f"{config.steps_per_execution}."
            )
        return steps

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps other runs out of the directory while the context is open."""
        if not self.chief:
            yield
            return
        resumed = model_directory.claim(self.directory, self.config)
        with model_directory.locked(self.directory):
            if not resumed:
                path = self.directory / model_directory.CONFIG
                write_json_atomically(path, configs.to_dict(self.config))
            yield

    def is_finished(self) -> bool:
        finished = model_directory.is_finished(self.directory)
        copy = int(self.dataset.fingerprint, 16) >> 1
        if not in_agreement(self.strategy, [finished, copy]):
            raise ValueError(
                f"Workers see different data or model directories; this one reads "
                f"{self.dataset.source} (fingerprint {self.dataset.fingerprint}) and finds "
                f"{self.directory} {'finished' if finished else 'unfinished'}. Every machine needs "
                f"the same copy of the data and the same model directory."
            )
        return finished

    def training_data(self, epoch: int, step: int) -> Any:
        config = self.config
        return self._distributed(
            lambda share: data.training_batches(
                config.dataset,
                config.batch_size,
                config.seed,
                self.data_dir,
                epoch,
                step,
                config.augmentation,
                image_size=config.image_size,
                share=share,
                limit=config.train_examples or None,
            ),
            endless=True,
        )

    def validation_data(self) -> Any:
        config = self.config
        if not config.validation_examples:
            return None
        return self._distributed(
            lambda share: data.evaluation_batches(
                config.dataset,
                "validation",
                config.batch_size,
                self.data_dir,
                config.validation_examples,
                image_size=config.image_size,
                share=share,
            )
        )

    def _distributed(
        self, batches: Callable[[ReplicaShare], tf.data.Dataset], endless: bool = False
    ) -> Any:
        return distributed(self.strategy, batches, endless)


def _train(run: _Run, callbacks: tuple[keras.callbacks.Callback, ...]) -> DefenseModel:
    config, directory, steps = run.config, run.directory, run.steps
    replicas = run.strategy.num_replicas_in_sync
    record = None
    if run.chief:
        # Made first, since it refuses another copy of the data.
        path = directory / model_directory.RUN
        record = RunRecord(path, config, run.dataset, replicas)
    with run.strategy.scope():
        model = build_model(config, run.dataset, steps)
    checkpoint = ResumableCheckpoint(
        model, directory / model_directory.CHECKPOINTS, config.checkpoint_steps, steps
    )
    epoch, step = checkpoint.restore()
    if epoch or step:
        LOGGER.info("Resuming at epoch %d, step %d.", epoch + 1, step)
    watchers = [StopOnNonFiniteLoss(), *callbacks]
    if record is not None:
        watchers += [EpochHistory(directory / model_directory.HISTORY, first_epoch=epoch), record]
    stop = StopOnSignal(checkpoint)
    with stop.listening():
        _fit(model, run, (epoch, step), [*watchers, checkpoint, stop])
    if record is not None:
        _export(model, run)
        record.finish()
    # Nobody leaves before the network is written.
    in_agreement(run.strategy, [0])
    return model


def _fit(
    model: DefenseModel,
    run: _Run,
    position: tuple[int, int],
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fits from a position; an epoch begun earlier is finished by a shorter call of its own."""
    epoch, step = position
    epochs, steps = run.config.epochs, run.steps
    validation = run.validation_data()
    progress = ProgressLog(epochs, steps, run.progress_seconds)
    while epoch < epochs:
        last_epoch = epoch + 1 if step else epochs
        progress.first_step = step
        model.fit(
            run.training_data(epoch, step),
            initial_epoch=epoch,
            epochs=last_epoch,
            steps_per_epoch=steps - step,
            validation_data=validation,
            shuffle=False,
            callbacks=[*callbacks, *([progress] if run.chief else [])],
            verbose="auto" if run.chief and sys.stdout.isatty() else 0,
        )
        epoch, step = last_epoch, 0


def _export(model: DefenseModel, run: _Run) -> None:
    path = run.directory / model_directory.NETWORK
    export.save_network(model.network, path)
    classifier = model.classifier
    if run.strategy.num_replicas_in_sync > 1:
        # Variables of a strategy do not go into a SavedModel that one device loads.
        network = model_directory.load_network(run.directory)
        classifier = type(classifier).from_keras(network, classifier.attention_layer)
    export.export_saved_model(classifier, run.directory / model_directory.SAVED_MODEL)
