"""What a run is made of: its config, files, data and devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from aad_tf import configs, data, model_directory
from aad_tf.configs import ExperimentConfig
from aad_tf.data import DatasetInfo, ReplicaShare
from aad_tf.distribute import distributed, in_agreement, is_chief, is_multi_worker
from aad_tf.results import write_json_atomically

# A network file system keeps a lost machine's lock until its lease ends: 90 seconds, usually.
_LOCK_PATIENCE = 150.0


@dataclass(frozen=True)
class Run:
    """What a run is made of, and which of its files this process may write."""

    config: ExperimentConfig
    directory: Path
    dataset: DatasetInfo
    data_dir: str | None
    strategy: tf.distribute.Strategy
    progress_seconds: float
    follows_replicas: bool

    @property
    def chief(self) -> bool:
        return is_chief(self.strategy)

    @property
    def steps(self) -> int:
        """Batches an epoch."""
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
        resumed = self._claim()
        patience = _LOCK_PATIENCE if is_multi_worker(self.strategy) else 0.0
        with model_directory.locked(self.directory, patience):
            if not resumed:
                path = self.directory / model_directory.CONFIG
                write_json_atomically(path, configs.to_dict(self.config))
            yield

    def _claim(self) -> bool:
        try:
            return model_directory.claim(self.directory, self.config)
        except model_directory.ModelDirectoryError as error:
            if not self.follows_replicas:
                raise
            raise model_directory.ModelDirectoryError(
                f"{error} With replica_batch_size, batch_size and learning_rate follow the number "
                f"of replicas, now {self.strategy.num_replicas_in_sync}: train on as many as "
                f"before, or give all three as they are there, replica_batch_size as 0."
            ) from error

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

    def has_weights(self) -> bool:
        """Whether an earlier start left weights: a checkpoint, or the trained network."""
        checkpoints = self.directory / model_directory.CHECKPOINTS
        return (
            model_directory.is_finished(self.directory)
            or tf.train.latest_checkpoint(checkpoints) is not None
        )

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

    @property
    def validation_steps(self) -> int | None:
        """Batches of a validation; None without any.

        Keras cannot tell: where a process feeds several replicas, data have an element for each.
        """
        limit = self.config.validation_examples
        if not limit:
            return None
        examples = min(self.dataset.num_examples["validation"], limit)
        replicas = self.strategy.num_replicas_in_sync
        return data.steps_per_epoch(examples, self.config.batch_size, replicas)

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
