"""Checkpoints from which training goes on exactly as if it had never stopped."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.logs import LOGGER


class CheckpointError(ValueError):
    """Checkpoints are there, but none can be read."""


class ResumableCheckpoint(keras.callbacks.Callback):
    """Saves everything that decides the rest of training, every so many steps and epochs.

    Saved are weights, optimizer, dropout seeds, running metrics, and the position in the data.
    Files are written by `tf.train.CheckpointManager`, which replaces the newest pointer last, so
    a kill at any moment leaves the previous checkpoint usable.

    Args:
        model: the compiled model.
        directory: where checkpoints go.
        every: steps between checkpoints; one is also saved after each epoch.
        steps_per_epoch: steps of a whole epoch; its last step is saved by the end of the epoch,
            which comes after validation.
        keep: how many checkpoints to keep.

    Example:
        >>> checkpoint = ResumableCheckpoint(model, "run/checkpoints", 200, steps_per_epoch=550)
        >>> epoch, step = checkpoint.restore()
        >>> model.fit(data_from(epoch, step), callbacks=[checkpoint], initial_epoch=epoch, ...)
    """

    def __init__(
        self,
        model: keras.Model,
        directory: str | os.PathLike[str],
        every: int,
        steps_per_epoch: int,
        keep: int = 3,
    ) -> None:
        super().__init__()
        self._epoch = tf.Variable(0, dtype=tf.int64)
        self._step = tf.Variable(0, dtype=tf.int64)
        model.optimizer.build(model.trainable_variables)
        self._metrics = [variable.value for variable in model.metrics_variables]
        state = [variable.value for variable in model.variables + model.optimizer.variables]
        checkpoint = tf.train.Checkpoint(
            epoch=self._epoch, step=self._step, state=state, metrics=self._metrics
        )
        self._checkpoint = checkpoint
        self._manager = tf.train.CheckpointManager(checkpoint, os.fspath(directory), keep)
        self._weights = [variable.value for variable in model.trainable_variables]
        self._every = every
        self._steps_per_epoch = steps_per_epoch
        self._first_step = 0
        self._last_saved = 0
        self._restored_metrics: list[np.ndarray] | None = None

    def restore(self) -> tuple[int, int]:
        """Restores the newest checkpoint that can be read.

        Returns:
            Epoch and step within it to go on from; (0, 0) if there is no checkpoint.

        Raises:
            CheckpointError: there are checkpoints, but none can be read.
        """
        failures = []
        for path in reversed(self._manager.checkpoints):
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, AssertionError, ValueError, LookupError) as error:
                reason = str(error).splitlines()[0]
                LOGGER.warning(
                    "Checkpoint %s cannot be read (%s); trying the one before.", path, reason
                )
                failures.append(f"{os.path.basename(path)}: {reason}")
                continue
            return self._position()
        if failures:
            raise CheckpointError(
                f"No checkpoint in {self._manager.directory} can be read ({'; '.join(failures)}). "
                f"Delete the directory to train from the start."
            )
        return 0, 0

    def _position(self) -> tuple[int, int]:
        epoch, step = int(self._epoch), int(self._step)
        self._first_step = self._last_saved = step
        if step:
            self._restored_metrics = [variable.numpy() for variable in self._metrics]
        return epoch, step

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Puts back the running metrics of an epoch that was interrupted."""
        self._epoch.assign(epoch)
        if self._restored_metrics is not None:
            for variable, value in zip(self._metrics, self._restored_metrics, strict=True):
                variable.assign(value)
            self._restored_metrics = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves when the next multiple of `every` steps was reached."""
        done = self._first_step + batch + 1
        if done - self._last_saved >= self._every and done < self._steps_per_epoch:
            self._save(int(self._epoch), done)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves the start of the next epoch."""
        self._first_step = 0
        self._save(epoch + 1, 0)

    def _save(self, epoch: int, step: int) -> None:
        # A loss speaks of the weights before its update, so a bad update shows here first.
        if not all(bool(tf.reduce_all(tf.math.is_finite(weight))) for weight in self._weights):
            raise FloatingPointError(
                f"Weights became NaN or infinite in epoch {int(self._epoch) + 1}; the checkpoint "
                f"before is kept. Lower the learning rate, or clip gradients."
            )
        self._epoch.assign(epoch)
        self._step.assign(step)
        self._manager.save()
        self._last_saved = step
