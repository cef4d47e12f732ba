"""Training a config: resuming is exact, records are complete, directories are guarded."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from aad_tf import model_directory
from aad_tf.checkpoints import CheckpointError, ResumableCheckpoint
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.model_directory import ModelDirectoryError, load_classifier
from aad_tf.preemption import PreemptedError
from aad_tf.training import build_defense, train, train_with

CONFIG = ExperimentConfig(
    dataset="digits",
    model="lenet",
    defense=DefenseConfig("adversarial", "pgd(epsilon=0.1, step_size=0.05, num_steps=1)"),
    batch_size=300,
    epochs=2,
    checkpoint_steps=2,
    validation_examples=40,
    seed=3,
)
STEPS = 5  # 1,297 training digits in batches of 300


class KilledError(Exception):
    """Stands for a kill: nothing of the run's own code gets to clean up."""


class KillAt(keras.callbacks.Callback):
    """Stops training dead after a number of steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError


def weights_of(directory: Path) -> list[np.ndarray]:
    return load_classifier(directory)[0].model.get_weights()


def history_of(directory: Path) -> list[dict[str, str]]:
    with (directory / model_directory.HISTORY).open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_weights(directory: Path, expected: Path) -> None:
    for found, wanted in zip(weights_of(directory), weights_of(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted")
    train(CONFIG, directory)
    return directory


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


def test_a_kill_between_the_last_step_and_the_end_of_its_epoch_is_no_loss(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_steps=1, epochs=1)
    with pytest.raises(KilledError):
        train(config, tmp_path / "killed", callbacks=(KillAfterEpoch(),))
    train(config, tmp_path / "killed")
    train(config, tmp_path / "whole")
    assert_same_weights(tmp_path / "killed", tmp_path / "whole")


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


def test_steps_per_execution_must_divide_the_epoch(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps_per_execution=2)
    with pytest.raises(ValueError, match="must divide the 5 steps of an epoch, got 2"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_needs_no_checkpoints(uninterrupted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(uninterrupted, copy)
    shutil.rmtree(copy / model_directory.CHECKPOINTS)
    network = train(CONFIG, copy).network
    for loaded, expected in zip(network.get_weights(), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(loaded, expected)


def test_another_copy_of_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(CONFIG, tmp_path, callbacks=(KillAt(3),))
    path = tmp_path / model_directory.RUN
    record = json.loads(path.read_text())
    record["dataset"]["fingerprint"] = "0" * 16
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="This run began on .*000"):
        train(CONFIG, tmp_path)


def test_two_processes_do_not_train_in_one_directory(tmp_path: Path) -> None:
    with (
        model_directory.locked(tmp_path),
        pytest.raises(ModelDirectoryError, match="Another process is training"),
    ):
        train(CONFIG, tmp_path)


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint(tmp_path: Path) -> None:
    model = build_defense(CONFIG, model_directory.build_network(CONFIG, (28, 28, 1), 10), 13)
    checkpoint = ResumableCheckpoint(model, tmp_path, every=1, steps_per_epoch=5)
    checkpoint.on_train_batch_end(0)
    variable = model.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.inf))
    with pytest.raises(FloatingPointError, match="Weights became NaN or infinite in epoch 1"):
        checkpoint.on_train_batch_end(1)
    assert checkpoint.restore() == (0, 1)
    assert np.isfinite(variable.numpy()).all()


def test_the_run_is_recorded(uninterrupted: Path) -> None:
    run = json.loads((uninterrupted / model_directory.RUN).read_text())
    assert run["state"] == "finished"
    assert run["seconds"] > 0
    assert "digits" in run["dataset"]["source"]
    start = run["starts"][0]
    assert start["versions"]["keras"] == keras.__version__
    assert {"command", "cpu", "cpu_cores", "git_commit", "utc"} <= set(start)
    assert model_directory.read_config(uninterrupted) == CONFIG
    assert [row["epoch"] for row in history_of(uninterrupted)] == ["1", "2"]
    assert (uninterrupted / model_directory.SAVED_MODEL / "saved_model.pb").is_file()


def test_the_checkpoint_before_a_corrupt_one_is_used(
    uninterrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KilledError):
        train(CONFIG, tmp_path, callbacks=(KillAt(STEPS + 1),))
    newest = max(
        (tmp_path / model_directory.CHECKPOINTS).glob("*.data-*"),
        key=lambda path: path.stat().st_mtime,
    )
    newest.write_bytes(newest.read_bytes()[:1000])
    train(CONFIG, tmp_path)
    assert_same_weights(tmp_path, uninterrupted)


def test_checkpoints_that_are_all_corrupt_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(CONFIG, tmp_path, callbacks=(KillAt(STEPS),))
    for path in (tmp_path / model_directory.CHECKPOINTS).glob("*.data-*"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="No checkpoint in .* can be read"):
        train(CONFIG, tmp_path)


def test_a_directory_of_another_config_is_refused(uninterrupted: Path) -> None:
    other = dataclasses.replace(CONFIG, learning_rate=0.5, defense=DefenseConfig())
    with pytest.raises(
        ModelDirectoryError, match=r"differs in defense.attack.*learning_rate \(0.001"
    ):
        train(other, uninterrupted)


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ModelDirectoryError, match="holds no config.json"):
        train(CONFIG, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_loading_says_what_is_wrong_with_a_directory(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="No model directory at"):
        load_classifier(tmp_path / "absent")
    (tmp_path / "config.json").write_text('{"dataset": "dig')
    with pytest.raises(ModelDirectoryError, match="cut short"):
        load_classifier(tmp_path)
    (tmp_path / "config.json").write_text((uninterrupted / "config.json").read_text())
    with pytest.raises(ModelDirectoryError, match="training has not finished"):
        load_classifier(tmp_path)
    whole = (uninterrupted / model_directory.NETWORK).read_bytes()
    (tmp_path / model_directory.NETWORK).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelDirectoryError, match="cut short or not a Keras file"):
        load_classifier(tmp_path)


def test_mixed_precision_trains_and_is_judged_in_float32(tmp_path: Path) -> None:
    model = train(dataclasses.replace(CONFIG, precision="mixed_bfloat16", epochs=1), tmp_path)
    assert model.network.get_layer("conv1").compute_dtype == "bfloat16"
    classifier, _ = load_classifier(tmp_path)
    assert classifier.model.get_layer("conv1").compute_dtype == "float32"
    for loaded, trained in zip(
        classifier.model.get_weights(), model.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(loaded, trained)


class PoisonWeights(keras.callbacks.Callback):
    """Puts NaN into the biases of the logits, as a bad update would; a ReLU could hide them."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        variable = self.model.trainable_variables[-1]
        variable.assign(np.full(variable.shape, np.nan))


def test_training_stops_on_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="epoch 1, batch 2: .*loss is nan"):
        train(CONFIG, tmp_path, callbacks=(PoisonWeights(),))


def test_training_starts_from_a_trained_network(uninterrupted: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, defense=DefenseConfig(), initial_weights=str(uninterrupted), learning_rate=1e-30
    )
    model = train(dataclasses.replace(config, epochs=1), tmp_path / "next")
    for start, end in zip(weights_of(uninterrupted), model.network.get_weights(), strict=True):
        np.testing.assert_allclose(start, end, atol=1e-6)


def test_a_start_that_cannot_be_is_refused_before_anything_is_written(
    uninterrupted: Path, tmp_path: Path
) -> None:
    missing = dataclasses.replace(CONFIG, initial_weights=str(tmp_path / "missing"))
    with pytest.raises(ModelDirectoryError, match="No model directory"):
        train(missing, tmp_path / "run")
    other = dataclasses.replace(CONFIG, model="cifarnet", initial_weights=str(uninterrupted))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ModelDirectoryError, match="cannot start a cifarnet"):
        train(other, tmp_path / "other")


def test_schedules_count_an_update_for_each_round() -> None:
    config = dataclasses.replace(
        CONFIG,
        defense=DefenseConfig("aad", "step_ll(epsilon=0.1, num_steps=2)", update_per_round=True),
        learning_rate_schedule="cosine",
    )
    network = model_directory.build_network(config, (28, 28, 1), 10)
    schedule = build_defense(config, network, 50).optimizer._learning_rate
    # 2 epochs of 50 batches of 2 updates.
    assert float(schedule(100)) == pytest.approx(config.learning_rate / 2)
    assert float(schedule(200)) == pytest.approx(0.0, abs=1e-9)


def test_a_checkpoint_behind_the_end_of_an_epoch_begins_the_next_one(tmp_path: Path) -> None:
    """On more replicas an epoch may have a batch less, as a short last one joins another."""
    model = build_defense(CONFIG, model_directory.build_network(CONFIG, (28, 28, 1), 10), 7)
    longer = ResumableCheckpoint(model, tmp_path, every=6, steps_per_epoch=7)
    longer.on_train_batch_end(5)
    assert ResumableCheckpoint(model, tmp_path, 6, steps_per_epoch=7).restore() == (0, 6)
    # Of that epoch, validation and callbacks are left.
    assert ResumableCheckpoint(model, tmp_path, 6, steps_per_epoch=6).restore() == (0, 6)
    assert ResumableCheckpoint(model, tmp_path, 6, steps_per_epoch=5).restore() == (1, 0)


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
