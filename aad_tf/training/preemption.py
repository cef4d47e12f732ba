"""Saving before the machine is taken away: a signal ends training between two steps.

`StopOnSignal` acts during `fit`, `end_on_signal` before and after it. Their errors end `train.main`
with exit code 143 (`binaries/running.py:run`).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import keras

from aad_tf.distribute import any_worker
from aad_tf.training.checkpoints import ResumableCheckpoint
from aad_tf.utils.logging import LOGGER


class PreemptedError(RuntimeError):
    """Training was asked to stop by a signal; everything is saved."""


class TerminatedError(RuntimeError):
    """A signal asked to end outside of training: what was saved before is all there is."""


def end_on_signal(number: int = signal.SIGTERM) -> None:
    """Makes a signal raise `TerminatedError` in the main thread, for programs.

    Without a handler the first process of a container never hears of SIGTERM.
    """

    def end(received: int, frame: Any) -> None:
        del received, frame
        raise TerminatedError("asked to end by a signal")

    signal.signal(number, end)


class StopOnSignal(keras.callbacks.Callback):
    """Saves and stops training when the process, or that of any other worker, gets a signal.

    Schedulers (Slurm, Kubernetes, cloud machines) send SIGTERM some time before they take a
    machine away. A process alone stops after the step that is running; several workers stop
    together, after the step that follows. A signal may come in training, in validation, which is
    then repeated when the run is resumed, or at the end of an epoch.

    Args:
        checkpoint: saves the run; it must stand before this callback in the list of callbacks.

    Raises:
        PreemptedError: from `fit`; everything is saved.

    Example:
        >>> stop = StopOnSignal(checkpoint)  # ResumableCheckpoint says how to go on.
        >>> with stop.listening():
        ...     model.fit(data, callbacks=[checkpoint, stop])
    """

    def __init__(self, checkpoint: ResumableCheckpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint
        self._received = threading.Event()

    @contextlib.contextmanager
    def listening(self, number: int = signal.SIGTERM) -> Iterator[None]:
        """Handles the signal while the context is open; of the main thread only.

        One that comes too late to stop training is sent again at the end, to whatever handles it
        there.
        """
        self._received.clear()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(number, self._receive)
        try:
            yield
        finally:
            signal.signal(number, before)
        if self._received.is_set():
            signal.raise_signal(number)

    def _receive(self, number: int, frame: Any) -> None:
        del number, frame
        self._received.set()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Tells the other workers of a signal."""
        if self._received.is_set():
            self.model.request_stop()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves and stops, if any worker got a signal."""
        self.on_train_batch_begin(batch)
        if self.model.stop_requested:
            self._stop()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Tells the other workers of a signal that came during validation."""
        self.on_train_batch_begin(batch)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves what training has reached and stops, if any worker got a signal."""
        self.on_train_batch_end(batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops after an epoch, which the checkpoint has saved, if any worker got a signal."""
        if any_worker(self.model.distribute_strategy, self._received.is_set()):
            self._stop()

    def _stop(self) -> None:
        self._checkpoint.save_here()
        self.model.clear_stop_request()
        LOGGER.info("A signal asks to stop: training is saved.")
        raise PreemptedError("stopped by a signal; the same command goes on where it was saved.")
