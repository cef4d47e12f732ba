"""A model directory records its run, and belongs to one config, copy of the data and process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from aad_tf import model_directory
from aad_tf.configs import DefenseConfig
from aad_tf.model_directory import ModelDirectoryError, load_classifier
from aad_tf.training import train
from tests.training.short_runs import CONFIG, KillAt, KilledError, history_of


def test_the_run_is_recorded(uninterrupted: Path) -> None:
    run = json.loads((uninterrupted / model_directory.RUN).read_text())
    assert run["state"] == "finished"
    assert run["preset"] == "short"
    assert run["seconds"] > 0
    assert "digits" in run["dataset"]["source"]
    start = run["starts"][0]
    assert start["versions"]["keras"] == keras.__version__
    assert {"command", "cpu", "cpu_cores", "git_commit", "utc"} <= set(start)
    assert model_directory.read_config(uninterrupted) == CONFIG
    assert [row["epoch"] for row in history_of(uninterrupted)] == ["1", "2"]
    assert (uninterrupted / model_directory.SAVED_MODEL / "saved_model.pb").is_file()


def test_another_copy_of_the_data_is_refused(killed_at: Callable[[int], Path]) -> None:
    directory = killed_at(3)
    path = directory / model_directory.RUN
    record = json.loads(path.read_text())
    record["dataset"]["fingerprint"] = "0" * 16
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="This run began on .*000"):
        train(CONFIG, directory)


def test_two_processes_do_not_train_in_one_directory(tmp_path: Path) -> None:
    with (
        model_directory.locked(tmp_path),
        pytest.raises(ModelDirectoryError, match="Another process is training"),
    ):
        train(CONFIG, tmp_path)


def test_a_directory_of_another_config_is_refused(uninterrupted: Path) -> None:
    other = dataclasses.replace(CONFIG, learning_rate=0.5, defense=DefenseConfig())
    with pytest.raises(
        ModelDirectoryError, match=r"differs in defense.attack.*learning_rate \(0.001"
    ):
        train(other, uninterrupted)


def test_a_config_that_cannot_be_built_does_not_claim_the_directory(tmp_path: Path) -> None:
    impossible: dict[str, dict[str, Any]] = {
        "small_for_tests": {"model": "small_for_test"},
        "drop": {"model_options": {"drop": 0.1}},
        "conv": {"attention_layer": "conv"},
        "adamm": {"optimizer": "adamm"},
    }
    for message, changes in impossible.items():
        with pytest.raises((ValueError, TypeError), match=message):
            train(dataclasses.replace(CONFIG, **changes), tmp_path)
    with pytest.raises(KilledError):
        train(CONFIG, tmp_path, callbacks=(KillAt(1),))


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ModelDirectoryError, match="holds no config.json"):
        train(CONFIG, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_loading_says_what_is_wrong_with_a_directory(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="No model directory at"):
        load_classifier(tmp_path / "missing")
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
