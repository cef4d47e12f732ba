"""Callback that stops training when a loss is NaN or infinite."""

from __future__ import annotations

import math
from typing import Any

import keras


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Stops training with an error as soon as a loss is NaN or infinite.

    Every value of the logs whose name contains "loss" is checked, after each batch and each epoch.
    Put it before callbacks that save checkpoints: callbacks after it in the list are not called for
    a batch with such a loss.

    Args:
        first_step: number of batches of the first epoch that an earlier run has done, which the
            error message adds to the number of the batch.

    Raises:
        FloatingPointError: from `fit`; names epoch, batch and losses.

    Example:
        >>> model.fit(images, labels, callbacks=[StopOnNonFiniteLoss()])
    """

    def __init__(self, first_step: int = 0) -> None:
        super().__init__()
        self._epoch = 0
        self._first_step = first_step

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the number of the epoch for the error message; Keras calls it.

        Args:
            epoch: number of the epoch that begins, counted from 0.
            logs: not used.
        """
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raises an error if a loss is NaN or infinite after a batch; Keras calls it.

        Args:
            batch: number of the batch that has just ended within its epoch, counted from 0.
            logs: metrics by name; those whose name contains "loss" are checked.

        Raises:
            FloatingPointError: a loss is NaN or infinite.
        """
        when = f"batch {self._first_step + batch + 1}"
        steps = getattr(self.model, "steps_per_execution", 1)
        if steps > 1:
            when += f" or one of the {steps - 1} before it (steps_per_execution={steps})"
        self._check(logs or {}, when)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Raises an error if a loss is NaN or infinite after an epoch; Keras calls it.

        Args:
            epoch: number of the epoch that has just ended, counted from 0.
            logs: metrics of training and validation by name; those whose name contains "loss" are
                checked.

        Raises:
            FloatingPointError: a loss is NaN or infinite.
        """
        self._first_step = 0
        self._check(logs or {}, "at its end")

    def _check(self, logs: dict[str, Any], when: str) -> None:
        losses = {name: float(value) for name, value in logs.items() if "loss" in name}
        broken = [f"{name} is {x}" for name, x in losses.items() if not math.isfinite(x)]
        if not broken:
            return
        finite = [f"{name} is {x:.4g}" for name, x in losses.items() if math.isfinite(x)]
        others = f" (finite: {', '.join(finite)})" if finite else ""
        raise FloatingPointError(
            f"Training stopped in epoch {self._epoch + 1}, {when}: {', '.join(broken)}{others}. "
            f"Look for NaN in the data, lower the learning rate, or clip gradients "
            f"(clipnorm of the optimizer)."
        )
