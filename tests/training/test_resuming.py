"""A run that was killed or asked to stop ends as if it had not been; a finished one stays."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from aad_tf import model_directory
from aad_tf.model_directory import ModelDirectoryError
from aad_tf.training import train, train_with
from aad_tf.training.preemption import PreemptedError, TerminatedError, end_on_signal
from tests.training.short_runs import (
    CONFIG,
    STEPS,
    KillAt,
    KilledError,
    assert_same_weights,
    history_of,
    weights_of,
)


@pytest.mark.parametrize("steps", [1, STEPS, STEPS + 3])
def test_a_killed_run_ends_as_if_it_had_not_been(
    uninterrupted: Path, killed_at: Callable[[int], Path], steps: int
) -> None:
    directory = killed_at(steps)
    train(CONFIG, directory)
    assert_same_weights(directory, uninterrupted)
    assert history_of(directory) == history_of(uninterrupted)


def test_a_finished_run_is_not_trained_again(uninterrupted: Path) -> None:
    before = weights_of(uninterrupted)
    train(CONFIG, uninterrupted, callbacks=(KillAt(1),))
    for now, then in zip(weights_of(uninterrupted), before, strict=True):
        np.testing.assert_array_equal(now, then)


class CountSteps(keras.callbacks.Callback):
    """Counts batches."""

    training = validation = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.training += 1

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.validation += 1


class KillAfterEpoch(keras.callbacks.Callback):
    """Stops training dead after validation, before the epoch is saved."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise KilledError


def test_a_kill_between_the_last_step_and_the_end_of_its_epoch_is_no_loss(
    uninterrupted: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_steps=1)
    with pytest.raises(KilledError):
        train(config, tmp_path, callbacks=(KillAfterEpoch(),))
    steps = CountSteps()
    train(config, tmp_path, callbacks=(steps,))
    assert steps.training == STEPS
    assert_same_weights(tmp_path, uninterrupted)


class Terminate(keras.callbacks.Callback):
    """Sends SIGTERM to its own process at a moment of an epoch."""

    def __init__(self, epoch: int, moment: str) -> None:
        super().__init__()
        self._epoch, self._moment = epoch, moment
        self._now = -1

    def _at(self, moment: str) -> None:
        if (self._epoch, self._moment) == (self._now, moment):
            signal.raise_signal(signal.SIGTERM)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._now = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at(f"begin of step {batch + 1}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at(f"end of step {batch + 1}")

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at("begin of validation")

    def on_test_end(self, logs: Any = None) -> None:
        self._at("end of validation")

    def on_train_end(self, logs: Any = None) -> None:
        self._at("end of training")


# Starts of one run: when the signal comes, rows of the history then, and batches of training and of
# validation since the start. A validation that is stopped is repeated.
STOPS = [
    (0, "end of step 3", 0, 3, 0),
    (0, "begin of validation", 0, 2, 1),
    (0, "end of validation", 1, 0, 1),
    (1, "end of validation", 2, 5, 1),
]


def test_signals_lose_neither_step_nor_row(uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / model_directory.HISTORY
    seconds = [0.0]
    for epoch, moment, rows, training, validation in STOPS:
        steps = CountSteps()
        with pytest.raises(PreemptedError, match="stopped by a signal"):
            train(CONFIG, tmp_path, callbacks=(steps, Terminate(epoch, moment)))
        assert (len(history_of(tmp_path)) if path.exists() else 0) == rows, moment
        assert (steps.training, steps.validation) == (training, validation), moment
        seconds.append(json.loads((tmp_path / model_directory.RUN).read_text())["seconds"])
    assert seconds == sorted(set(seconds))
    steps = CountSteps()
    train(CONFIG, tmp_path, callbacks=(steps,))
    assert (steps.training, steps.validation) == (0, 0)
    assert_same_weights(tmp_path, uninterrupted)
    assert path.read_text() == (uninterrupted / model_directory.HISTORY).read_text()


@pytest.fixture
def terminable() -> Iterator[None]:
    """SIGTERM ends this process as it ends a binary."""
    before = signal.getsignal(signal.SIGTERM)
    end_on_signal()
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_signal_after_the_last_epoch_comes_before_the_export(
    uninterrupted: Path, tmp_path: Path, terminable: None
) -> None:
    with pytest.raises(TerminatedError):
        train(CONFIG, tmp_path, callbacks=(Terminate(1, "end of training"),))
    assert not (tmp_path / model_directory.NETWORK).exists()
    steps = CountSteps()
    train(CONFIG, tmp_path, callbacks=(steps,))
    assert (steps.training, steps.validation) == (0, 0)
    assert_same_weights(tmp_path, uninterrupted)


class EndsEarly(keras.callbacks.Callback):
    """Stops training after its first epoch, and is killed before the export."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        raise KilledError


def test_a_run_that_was_ended_early_stays_so(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(CONFIG, tmp_path, callbacks=(EndsEarly(),))
    steps = CountSteps()
    train(CONFIG, tmp_path, callbacks=(steps,))
    assert steps.training == 0
    assert [row["epoch"] for row in history_of(tmp_path)] == ["1"]
    assert model_directory.is_finished(tmp_path)


def test_a_signal_at_the_last_step_of_an_epoch_without_validation(
    uninterrupted: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, validation_examples=0)
    with pytest.raises(PreemptedError):
        train(config, tmp_path, callbacks=(Terminate(0, "begin of step 5"),))
    steps = CountSteps()
    train(config, tmp_path, callbacks=(steps,))
    assert steps.training == STEPS
    assert_same_weights(tmp_path, uninterrupted)
    assert [row["epoch"] for row in history_of(tmp_path)] == ["1", "2"]


def test_a_finished_run_needs_no_checkpoints(uninterrupted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(uninterrupted, copy)
    shutil.rmtree(copy / model_directory.CHECKPOINTS)
    network = train(CONFIG, copy).network
    for loaded, expected in zip(network.get_weights(), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(loaded, expected)


def test_a_worker_started_after_the_end_waits_for_nobody(
    uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", "no cluster is looked for")
    model = train_with("multi_worker", CONFIG, uninterrupted)
    for found, expected in zip(model.network.get_weights(), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(found, expected)
    other = dataclasses.replace(CONFIG, learning_rate=0.5)
    with pytest.raises(ModelDirectoryError, match="learning_rate"):
        train_with("multi_worker", other, uninterrupted)
