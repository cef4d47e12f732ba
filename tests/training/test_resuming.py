"""A run that was killed or told to stop ends as if it had not been; a finished one stays."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from aad_tf import model_directory
from aad_tf.model_directory import ModelDirectoryError
from aad_tf.preemption import PreemptedError
from aad_tf.training import train, train_with
from tests.training.short_runs import (
    CONFIG,
    STEPS,
    KillAt,
    KilledError,
    assert_same_weights,
    history_of,
    weights_of,
)


@pytest.mark.parametrize("steps", [1, 3, STEPS, STEPS + 3])
def test_a_killed_run_ends_as_if_it_had_not_been(
    uninterrupted: Path, tmp_path: Path, steps: int
) -> None:
    with pytest.raises(KilledError):
        train(CONFIG, tmp_path, callbacks=(KillAt(steps),))
    train(CONFIG, tmp_path)
    assert_same_weights(tmp_path, uninterrupted)
    assert history_of(tmp_path) == history_of(uninterrupted)


def test_a_finished_run_is_not_trained_again(uninterrupted: Path) -> None:
    before = weights_of(uninterrupted)
    train(CONFIG, uninterrupted, callbacks=(KillAt(1),))
    for now, then in zip(weights_of(uninterrupted), before, strict=True):
        np.testing.assert_array_equal(now, then)


class KillAfterEpoch(keras.callbacks.Callback):
    """Stops training dead after validation, before the epoch is saved."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise KilledError


def test_a_kill_between_the_last_step_and_the_end_of_its_epoch_is_no_loss(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_steps=1, epochs=1)
    with pytest.raises(KilledError):
        train(config, tmp_path / "killed", callbacks=(KillAfterEpoch(),))
    train(config, tmp_path / "killed")
    train(config, tmp_path / "whole")
    assert_same_weights(tmp_path / "killed", tmp_path / "whole")


class CountSteps(keras.callbacks.Callback):
    """Counts batches."""

    training = validation = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.training += 1

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.validation += 1


class Terminate(keras.callbacks.Callback):
    """Sends SIGTERM to its own process at the last step of the first epoch, or in validation."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.moment = moment

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.moment == "last step" and batch == STEPS - 1:
            signal.raise_signal(signal.SIGTERM)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.moment == "validation":
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("moment", ["last step", "validation"])
def test_a_signal_at_the_end_of_an_epoch_loses_neither_step_nor_row(
    uninterrupted: Path, tmp_path: Path, moment: str
) -> None:
    with pytest.raises(PreemptedError, match="stopped by a signal"):
        train(CONFIG, tmp_path, callbacks=(Terminate(moment),))
    assert not (tmp_path / model_directory.HISTORY).exists()
    steps = CountSteps()
    train(CONFIG, tmp_path, callbacks=(steps,))
    assert (steps.training, steps.validation) == (STEPS, CONFIG.epochs)
    assert_same_weights(tmp_path, uninterrupted)
    expected = (uninterrupted / model_directory.HISTORY).read_text()
    assert (tmp_path / model_directory.HISTORY).read_text() == expected


def test_a_finished_run_needs_no_checkpoints(uninterrupted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(uninterrupted, copy)
    shutil.rmtree(copy / model_directory.CHECKPOINTS)
    network = train(CONFIG, copy).network
    for loaded, expected in zip(network.get_weights(), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(loaded, expected)


def test_a_worker_started_behind_the_end_waits_for_nobody(
    uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", "no cluster is looked for")
    model = train_with("multi_worker", CONFIG, uninterrupted)
    for found, expected in zip(model.network.get_weights(), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(found, expected)
    other = dataclasses.replace(CONFIG, learning_rate=0.5)
    with pytest.raises(ModelDirectoryError, match="learning_rate"):
        train_with("multi_worker", other, uninterrupted)
