"""Stops training on a loss that is NaN or infinite."""

from __future__ import annotations

import math
from typing import Any

import keras


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raises as soon as a loss is NaN or infinite, instead of training on.

    Raises:
        FloatingPointError: names the losses, the epoch and the batch.

    Example:
        >>> model.fit(images, labels, callbacks=[StopOnNonFiniteLoss()])
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which epoch it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at every value whose name holds "loss"."""
        values = {name: float(value) for name, value in (logs or {}).items() if "loss" in name}
        broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise FloatingPointError(
                f"{', '.join(broken)} in epoch {self._epoch + 1}, batch {batch + 1}. Lower the "
                f"learning rate or the weight of that loss, and look for NaN in the data."
            )
