"""Checkpoints from which training is resumed with the result of a run without a break.

A checkpoint holds the epoch and step it was saved at, all weights, the optimizer's state, the seeds
of dropout, and the running metrics of the epoch. It holds no data: the order of examples depends on
seed and epoch alone (for `imagenet2012` also on the number of replicas), so
`aad_tf.data.training_batches(start_epoch=, start_step=)` makes the batches from any position.
Attacks draw their random starts from the seed and the number of updates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from aad_tf.distribute import all_workers_equal, is_chief
from aad_tf.utils.logging import LOGGER


class CheckpointError(ValueError):
    """There are checkpoints, but none can be read, or workers read different checkpoints."""


class ResumableCheckpoint(keras.callbacks.Callback):
    """Keras callback that saves checkpoints of everything that the rest of training depends on.

    A process that is killed while it writes a checkpoint leaves the previous one usable. Under a
    strategy of several workers each worker must have this callback: worker 0 writes, all read.

    Args:
        model: the compiled model.
        directory: where checkpoints are written; made if it does not exist.
        every: number of steps between two checkpoints; one is also saved after each epoch.
        steps_per_epoch: number of steps of a whole epoch.
        keep: how many checkpoints are kept, the newest ones.
        epochs: number of epochs of the whole run. If given, a run that a callback ends early
            (`stop_training`) is saved as one that has reached its last epoch.
        further: other trackable objects to save and restore, by name, such as `BestEpoch.state`.

    Raises:
        FloatingPointError: in training, if weights are NaN or infinite when a checkpoint is due;
            the previous checkpoint is kept.

    Example:
        >>> checkpoint = ResumableCheckpoint(model, "run/checkpoints", 200, steps_per_epoch=550)
        >>> epoch, step = checkpoint.restore()
        >>> if step == 550:  # Killed in validation.
        ...     finish_epoch(model, epoch, validation, [checkpoint])
        ...     epoch, step = epoch + 1, 0
        >>> model.fit(data_from(epoch, step), callbacks=[checkpoint], initial_epoch=epoch, ...)
    """

    def __init__(
        self,
        model: keras.Model,
        directory: str | os.PathLike[str],
        every: int,
        steps_per_epoch: int,
        keep: int = 3,
        epochs: int | None = None,
        further: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._epoch = tf.Variable(0, dtype=tf.int64)
        self._step = tf.Variable(0, dtype=tf.int64)
        self._strategy = model.distribute_strategy
        with self._strategy.scope():
            model.optimizer.build(model.trainable_variables)
        self._metrics = [variable.value for variable in model.metrics_variables]
        # Replicas hold different parts of a metric: what is saved is their sum.
        self._sums = [tf.Variable(tf.zeros_like(metric)) for metric in self._metrics]
        state = [variable.value for variable in model.variables + model.optimizer.variables]
        checkpoint = tf.train.Checkpoint(
            epoch=self._epoch, step=self._step, state=state, metrics=self._sums, **(further or {})
        )
        self._checkpoint = checkpoint
        self._manager = tf.train.CheckpointManager(checkpoint, os.fspath(directory), keep)
        self._weights = [variable.value for variable in model.trainable_variables]
        self._epochs = epochs
        self.every = every
        self._steps_per_epoch = steps_per_epoch
        self._first_step = 0
        self._last_saved = 0
        self._done = 0
        self._restored = self._validating = False

    def restore(self) -> tuple[int, int]:
        """Restores the newest checkpoint that can be read.

        The running metrics of the epoch are restored later, when `fit` begins it. All workers call
        this, and wait for each other.

        Returns:
            Epoch and step within it to resume from, both counted from 0; (0, 0) if there is no
            checkpoint. If the step equals `steps_per_epoch`, validation and the callbacks of the
            epoch's end are still to be done, by `finish_epoch`.

        Raises:
            CheckpointError: there are checkpoints, but none can be read, or workers read
                different ones.
        """
        position = self._newest()
        if not all_workers_equal(self._strategy, position):
            raise CheckpointError(
                f"Workers read different checkpoints; this one was saved at epoch "
                f"{position[0] + 1}, step {position[1]}. Is {self._manager.directory} the same "
                f"directory on every machine?"
            )
        return position

    def _newest(self) -> tuple[int, int]:
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
        # Another number of replicas may have had a step more.
        epoch, step = int(self._epoch), min(int(self._step), self._steps_per_epoch)
        self._first_step = self._last_saved = self._done = step
        self._restored = step > 0
        self._validating = False
        return epoch, step

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the running metrics of an epoch that was interrupted; Keras calls it.

        Args:
            epoch: number of the epoch, from 0.
            logs: not used.
        """
        self._epoch.assign(epoch)
        if self._restored:
            self._strategy.run(tf.function(self._restore_metrics))
            self._restored = False

    def _restore_metrics(self) -> None:
        """Gives the sums of metrics to the first replica and nothing to the others."""
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        for metric, total in zip(self._metrics, self._sums, strict=True):
            metric.assign(tf.where(first, total, tf.zeros_like(total)))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves a checkpoint if the last one is `every` steps ago or more; Keras calls it.

        Args:
            batch: number of the step since `fit` began the epoch, from 0.
            logs: not used.

        Raises:
            FloatingPointError: weights are NaN or infinite; nothing is saved.
        """
        self._done = self._first_step + batch + 1
        if self._done - self._last_saved >= self.every:
            self._keep_metrics()
            self._save(int(self._epoch), self._done)

    def on_test_begin(self, logs: Any = None) -> None:
        """Copies the running metrics of training, since validation resets them; Keras calls it."""
        self._keep_metrics()
        self._validating = True

    def on_test_end(self, logs: Any = None) -> None:
        """Notes that validation is over; Keras calls it."""
        self._validating = False

    def save_here(self) -> None:
        """Saves a checkpoint of the present step, unless the newest checkpoint is of this step.

        It may be called between two steps of training, or during validation.

        Raises:
            FloatingPointError: weights are NaN or infinite.
        """
        if self._done == self._last_saved:
            return
        if not self._validating:
            self._keep_metrics()
        self._save(int(self._epoch), self._done)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves a checkpoint at the start of the next epoch; Keras calls it.

        If a callback has ended training and the number of `epochs` was given, the checkpoint is
        that of a run that has reached its last epoch.

        Args:
            epoch: number of the epoch that ends, from 0.
            logs: not used.

        Raises:
            FloatingPointError: weights are NaN or infinite; nothing is saved.
        """
        self._first_step = self._done = 0
        following = epoch + 1
        if self._epochs is not None and self.model.stop_training:
            following = self._epochs
        self._save(following, 0)

    def _keep_metrics(self) -> None:
        # Reading a metric adds up its parts, which every worker takes part in.
        for total, metric in zip(self._sums, self._metrics, strict=True):
            total.assign(tf.convert_to_tensor(metric))

    def _save(self, epoch: int, step: int) -> None:
        # A loss is that of the weights before its update, so a bad update shows here first.
        if not all(bool(tf.reduce_all(tf.math.is_finite(weight))) for weight in self._weights):
            raise FloatingPointError(
                f"Weights became NaN or infinite in epoch {int(self._epoch) + 1}; the checkpoint "
                f"before is kept. Lower the learning rate, or clip gradients."
            )
        self._epoch.assign(epoch)
        self._step.assign(step)
        if is_chief(self._strategy):
            self._manager.save()
        self._last_saved = step


def finish_epoch(
    model: keras.Model,
    epoch: int,
    validation: Any,
    callbacks: list[keras.callbacks.Callback],
    validation_steps: int | None = None,
) -> None:
    """Runs validation and callbacks of an epoch whose steps are all done, as `fit` would.

    Args:
        model: a model that is compiled and restored. A `ResumableCheckpoint` among the callbacks
            restores the running metrics of the epoch.
        epoch: which epoch, counted from 0.
        validation: data that `model.evaluate` takes; None for no validation.
        callbacks: the callbacks that `fit` would be given.
        validation_steps: number of batches to evaluate; None for all.

    Example:
        >>> epoch, step = checkpoint.restore()
        >>> if step == steps_per_epoch:
        ...     finish_epoch(model, epoch, validation, [checkpoint])
    """
    listed = keras.callbacks.CallbackList(
        callbacks, add_history=True, model=model, epochs=epoch + 1, steps=0, verbose=0
    )
    model.stop_training = False
    listed.on_train_begin()
    listed.on_epoch_begin(epoch)
    with model.distribute_strategy.scope():
        logs = {name: float(value) for name, value in sorted(model.get_metrics_result().items())}
    if validation is not None:
        found = model.evaluate(
            validation, steps=validation_steps, verbose=0, callbacks=listed, return_dict=True
        )
        logs |= {f"val_{name}": value for name, value in found.items()}
    listed.on_epoch_end(epoch, logs)
    listed.on_train_end(logs)
