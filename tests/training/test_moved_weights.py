"""Where training started from may be moved once the run has weights of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.model_directory import load_classifier
from aad_tf.models import registry
from aad_tf.training import train
from tests.training.short_runs import KillAt, KilledError


def tiny(input_shape, num_classes, weights=None, dtype=None):
    layers = [
        keras.Input(input_shape),
        keras.layers.Conv2D(2, 5, 4, dtype=dtype),
        keras.layers.Flatten(dtype=dtype),
        keras.layers.Dense(num_classes, dtype="float32"),
    ]
    network = keras.Sequential(layers, name="tiny")
    if weights is not None:
        network.load_weights(weights)
    return network


@pytest.fixture
def started_from_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentConfig:
    monkeypatch.setitem(registry._BUILDERS, "tiny", tiny)
    file = tmp_path / "start.weights.h5"
    tiny((28, 28, 1), 10).save_weights(file)
    return ExperimentConfig(
        model="tiny",
        model_options={"weights": str(file)},
        batch_size=300,
        epochs=1,
        checkpoint_steps=2,
        validation_examples=0,
        precision="mixed_bfloat16",
    )


def test_a_finished_run_in_mixed_precision_is_loaded_without_its_first_weights(
    started_from_file: ExperimentConfig, tmp_path: Path
) -> None:
    model = train(started_from_file, tmp_path / "run")
    Path(started_from_file.model_options["weights"]).unlink()
    classifier, _ = load_classifier(tmp_path / "run")
    assert classifier.model.layers[0].compute_dtype == "float32"
    for loaded, trained in zip(
        classifier.model.get_weights(), model.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(loaded, trained)


def test_a_run_with_a_checkpoint_resumes_without_its_first_weights(
    started_from_file: ExperimentConfig, tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        train(started_from_file, tmp_path / "early", callbacks=(KillAt(1),))
    with pytest.raises(KilledError):
        train(started_from_file, tmp_path / "run", callbacks=(KillAt(3),))
    whole = train(started_from_file, tmp_path / "whole").network.get_weights()
    Path(started_from_file.model_options["weights"]).unlink()
    resumed = train(started_from_file, tmp_path / "run").network.get_weights()
    for found, expected in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(found, expected)
    # Before the first checkpoint they are needed.
    with pytest.raises(FileNotFoundError, match="start.weights.h5"):
        train(started_from_file, tmp_path / "early")


def test_a_run_with_a_checkpoint_resumes_without_the_run_it_started_from(
    started_from_file: ExperimentConfig, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    train(dataclasses.replace(started_from_file, model_options={}), first)
    config = dataclasses.replace(
        started_from_file, model_options={}, initial_weights=str(first), defense=DefenseConfig()
    )
    with pytest.raises(KilledError):
        train(config, tmp_path / "run", callbacks=(KillAt(3),))
    first.rename(tmp_path / "moved")
    train(config, tmp_path / "run")
    # Finished: given again without it, too.
    train(config, tmp_path / "run")
