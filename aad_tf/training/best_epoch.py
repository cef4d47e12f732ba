"""Early stopping that a resumed run goes on with: the best epoch so far, and its weights."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


class BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest value of a log, and ends training after it.

    As `keras.callbacks.EarlyStopping` with `mode="max"` and `restore_best_weights`, but what it
    remembers is `state`, for a checkpoint, so that a run that was interrupted ends as if it had not
    been; and `restore` is called by who trains, after the last `fit` of the run.
    Robust accuracy often falls again late in adversarial training (Rice et al. 2020: Overfitting in
    adversarially robust deep learning).

    Args:
        network: of the model that is trained, whose weights are kept, moving statistics included.
        monitor: name of the log, which callbacks before this one may have added.
        patience: epochs without a higher value after which training ends.

    Attributes:
        state: the best value, its epoch and weights, which `tf.train.Checkpoint` takes.

    Raises:
        KeyError: at the end of an epoch, logs without the value.

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
        """The best value so far, as text."""
        return f"{self._monitor} {float(self._value):.4f}"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights if the value is higher than before; Keras calls it."""
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
        """Gives the network the weights of the best epoch."""
        if not self.epoch:
            return
        for kept, weight in zip(self._kept, self._network.weights, strict=True):
            weight.assign(kept)
