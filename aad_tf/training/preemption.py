"""Ends training between two steps, with a checkpoint, when a signal such as SIGTERM comes.

`StopOnSignal` acts during `fit`: it saves a checkpoint and raises `PreemptedError`. At all other
times the handler of `end_on_signal`, which `binaries.running.run` installs first in the programs
that it runs, raises `TerminatedError`. Both errors end the program with exit code 143.
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
    """A signal asked training to stop; everything is saved in a checkpoint."""


class TerminatedError(RuntimeError):
    """A signal asked the process to end outside of `fit`; nothing more is saved."""


def end_on_signal(number: int = signal.SIGTERM) -> None:
    """Installs a handler that raises `TerminatedError` in the main thread when a signal comes.

    Without a handler, the first process of a container ignores SIGTERM.

    Args:
        number: the signal.
    """

    def end(received: int, frame: Any) -> None:
        del received, frame
        raise TerminatedError("asked to end by a signal")

    signal.signal(number, end)


class StopOnSignal(keras.callbacks.Callback):
    """Keras callback that saves and stops training when this or another worker gets a signal.

    Schedulers (Slurm, Kubernetes, cloud machines) send SIGTERM some time before they take a
    machine away. A single process stops after the step that is running; several workers stop
    together, after the following step. If the signal comes during validation, a resumed run repeats
    the validation. The model must be a subclass of `aad_tf.distribute.MultiWorkerFit`, the Keras
    model with a `fit` for several workers, as all defences of this package are.

    Args:
        checkpoint: saves the run; it must come before this callback in the list of callbacks.

    Raises:
        PreemptedError: from `fit`, after everything is saved.

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
        """Handles a signal while the context is open; without effect outside of the main thread.

        A signal that comes too late to stop training is raised again when the context ends, for the
        handler that was installed before.

        Args:
            number: the signal.
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
        """Tells the other workers if a signal came; Keras calls it."""
        if self._received.is_set():
            self.model.request_stop()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves and stops if any worker got a signal; Keras calls it.

        Raises:
            PreemptedError: training is saved.
        """
        self.on_train_batch_begin(batch)
        if self.model.stop_requested:
            self._stop()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Tells the other workers if a signal came during validation; Keras calls it."""
        self.on_train_batch_begin(batch)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves and stops during validation if any worker got a signal; Keras calls it.

        Raises:
            PreemptedError: training is saved.
        """
        self.on_train_batch_end(batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops after an epoch, already saved, if any worker got a signal; Keras calls it.

        Raises:
            PreemptedError: training is saved.
        """
        if any_worker(self.model.distribute_strategy, self._received.is_set()):
            self._stop()

    def _stop(self) -> None:
        self._checkpoint.save_here()
        self.model.clear_stop_request()
        LOGGER.info("A signal asks to stop: training is saved.")
        raise PreemptedError("stopped by a signal; the same command goes on where it was saved.")
