"""Early stopping whose state is saved in checkpoints: the best epoch so far, and its weights."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


class BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest value of a log, and stops training.

    It works as `keras.callbacks.EarlyStopping` with `mode="max"` and `restore_best_weights=True`,
    with two differences. Its `state` can be saved in a checkpoint, so that a resumed run stops at
    the same epoch as one without a break. And the caller calls `restore` after the last `fit`.
    Robust accuracy often falls again late in adversarial training (Rice et al. 2020: Overfitting in
    adversarially robust deep learning).

    Args:
        network: the network in training, whose weights and moving statistics are kept.
        monitor: name of the log, which earlier callbacks in the list may have added.
        patience: number of epochs without a higher value after which training stops.

    Attributes:
        state: a `tf.train.Checkpoint` of the best value, its epoch and its weights.

    Raises:
        KeyError: at the end of an epoch, if the logs do not hold the value.

    Example:
        >>> best = BestEpoch(model.network, "val_robust_accuracy", patience=5)
        >>> further = {"best": best.state}
        >>> checkpoint = ResumableCheckpoint(model, directory, 200, 550, further=further)
        >>> model.fit(images, labels, epochs=50, callbacks=[robust_accuracy, best, checkpoint])
        >>> best.restore()
    """

    def __init__(self, network: keras.Model, monitor: str, patience: int) -> None:
        super().__init__()
        self._network, self._monitor, self._patience = network, monitor, patience
        self._value = tf.Variable(-math.inf, dtype=tf.float64)
        self._epoch = tf.Variable(0, dtype=tf.int64)
        self._kept = [tf.Variable(tf.convert_to_tensor(weight.value)) for weight in network.weights]
        self.state = tf.train.Checkpoint(value=self._value, epoch=self._epoch, weights=self._kept)

    @property
    def epoch(self) -> int:
        """The best epoch so far, counted from 1; 0 before the end of the first one."""
        return int(self._epoch)

    @property
    def found(self) -> str:
        """The log's name and its best value so far, as text with four decimals."""
        return f"{self._monitor} {float(self._value):.4f}"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights if the monitored log is the highest so far, else may stop training.

        Training stops after `patience` epochs without a higher value. Keras calls it after each
        epoch.

        Args:
            epoch: number of the epoch, from 0.
            logs: values of the epoch by name, which must hold the one to monitor.

        Raises:
            KeyError: the logs do not hold the value.
        """
        logs = logs or {}
        if self._monitor not in logs:
            raise KeyError(
                f"The logs hold no {self._monitor}: stand the callback that measures it before "
                f"this one. They hold {', '.join(sorted(logs))}."
            )
        value = float(logs[self._monitor])
        if value > float(self._value):
            self._value.assign(value)
            self._epoch.assign(epoch + 1)
            for kept, weight in zip(self._kept, self._network.weights, strict=True):
                kept.assign(tf.convert_to_tensor(weight.value))
        elif epoch + 1 - self.epoch >= self._patience:
            self.model.stop_training = True

    def restore(self) -> None:
        """Sets the network's weights to those of the best epoch, if an epoch has ended.

        The caller calls it after the last `fit`.
        """
        if not self.epoch:
            return
        for kept, weight in zip(self._kept, self._network.weights, strict=True):
            weight.assign(kept)
