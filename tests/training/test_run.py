"""A run's directory: who may train in it, with which config, and how long it is waited for."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aad_tf import configs, data, model_directory
from aad_tf.configs import ExperimentConfig
from aad_tf.data import ReplicaRange
from aad_tf.model_directory import ModelDirectoryError
from aad_tf.training.run import TrainingRun
from aad_tf.utils.files import write_json_atomically
from train.configs import digits

CONFIG = ExperimentConfig(dataset="digits", replica_batch_size=100, batch_size=100)


def test_a_run_of_other_replicas_says_how_to_go_on(tmp_path: Path) -> None:
    trained = TrainingRun.prepare(CONFIG, tmp_path).config
    write_json_atomically(tmp_path / model_directory.CONFIG, configs.to_dict(trained))
    twice = dataclasses.replace(CONFIG, replica_batch_size=200)
    with (
        pytest.raises(ModelDirectoryError, match="batch_size") as caught,
        TrainingRun.prepare(twice, tmp_path).claimed(),
    ):
        pass
    assert "follow the number of replicas, now 1: train on as many as before" in str(caught.value)


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("limit", [0, 40, 101, 140, 10_000])
def test_validation_steps_are_those_of_the_data(tmp_path: Path, replicas: int, limit: int) -> None:
    """Of 140 examples in batches of 100: one that is left joins the batch before if it must."""
    config = dataclasses.replace(CONFIG, validation_examples=limit, replica_batch_size=0)
    strategy = SimpleNamespace(num_replicas_in_sync=replicas)
    run = TrainingRun(config, tmp_path, data.info("digits"), None, strategy)
    if limit == 0:
        assert run.validation_steps is None
        return
    fed = ReplicaRange(0, replicas, replicas)
    elements = data.evaluation_batches("digits", "validation", 100, limit=limit, replica_range=fed)
    assert run.validation_steps == sum(1 for _ in elements) / replicas


def test_a_run_says_what_it_trains(tmp_path: Path) -> None:
    defended = dataclasses.replace(digits.PRESETS["aad_step_ll"], name="aad_step_ll")
    text = (
        "Training aad_step_ll: lenet with aad training on step_ll(epsilon=0.15, num_steps=2), "
        "digits (1,297 images, scikit-learn digits 8x8 resized to 28x28), 26 steps of 50 images in "
        f"each of 8 epochs, into {tmp_path}."
    )
    run = TrainingRun.prepare(defended, tmp_path)
    assert run.announcement() == f"{text} The preset states: about a minute on 2 CPU cores."
    assert run.announcement(3725.5) == f"{text} Earlier starts trained for 1:02:05."
    plain = ExperimentConfig(train_examples=330)
    assert TrainingRun.prepare(plain, tmp_path).announcement() == (
        "Training custom: lenet as it is, digits (330 images, scikit-learn digits 8x8 resized to "
        f"28x28), 4 steps of 100 images in each of 5 epochs, into {tmp_path}."
    )


# 50 = 2 * 20 + 10; the digits have 1,297.
@pytest.mark.parametrize(("limit", "steps"), [(50, 3), (5000, 65), (0, 65)])
def test_an_epoch_has_the_steps_of_its_first_examples(
    tmp_path: Path, limit: int, steps: int
) -> None:
    run = TrainingRun.prepare(ExperimentConfig(batch_size=20, train_examples=limit), tmp_path)
    assert run.steps == steps
    sizes = [len(labels) for _, labels in run.training_data(0, 0).take(steps)]
    assert sum(sizes) == min(limit or 1297, 1297)


def test_a_lock_that_is_released_in_time_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with model_directory.locked(tmp_path):
            held.set()
            released.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    threading.Timer(0.3, released.set).start()
    with (
        caplog.at_level(logging.INFO, "aad_tf"),
        model_directory.locked(tmp_path, timeout=30.0),
    ):
        assert released.is_set()
    holder.join()
    assert f"Waiting up to 30 s for a process that trains in {tmp_path}" in caplog.text


def test_a_lock_that_is_kept_is_an_error_after_the_timeout(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        model_directory.locked(tmp_path),
        pytest.raises(ModelDirectoryError, match="Another process is training"),
        model_directory.locked(tmp_path, timeout=0.2),
    ):
        pass
    assert time.monotonic() - began > 0.2
