"""Ensemble adversarial training from a config: sources are loaded, checked, and left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aad_tf import EnsembleAdversarialModel, model_directory
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.model_directory import ModelDirectoryError, load_classifier
from aad_tf.training import train
from tests.training.short_runs import CONFIG, KillAt, KilledError

PLAIN = dataclasses.replace(CONFIG, defense=DefenseConfig(), epochs=1, validation_examples=0)


def ensemble_config(*sources: Path, **changes: Any) -> ExperimentConfig:
    defense = DefenseConfig(
        "ensemble", "step_ll(epsilon=0.1)", sources=tuple(str(path) for path in sources)
    )
    return dataclasses.replace(PLAIN, defense=defense, seed=2, **changes)


def test_sources_are_loaded_again_by_a_resumed_run_and_left_alone(
    uninterrupted: Path, tmp_path: Path
) -> None:
    network = (uninterrupted / model_directory.NETWORK).read_bytes()
    config = ensemble_config(uninterrupted)
    with pytest.raises(KilledError):
        train(config, tmp_path, callbacks=(KillAt(3),))
    model = train(config, tmp_path)
    assert isinstance(model, EnsembleAdversarialModel)
    assert int(model.optimizer.iterations) == 5
    trained = load_classifier(uninterrupted)[0].model.get_weights()
    for one, other in zip(model.sources[0].model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (uninterrupted / model_directory.NETWORK).read_bytes() == network
    assert model_directory.read_config(tmp_path) == config


def test_a_missing_source_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="No model directory at .*missing"):
        train(ensemble_config(tmp_path / "missing"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_source_of_another_data_set_is_refused(uninterrupted: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config = (uninterrupted / model_directory.CONFIG).read_text()
    (other / model_directory.CONFIG).write_text(config.replace('"digits"', '"mnist"'))
    with pytest.raises(ModelDirectoryError, match="other, which was trained on 'mnist'; this run"):
        train(ensemble_config(uninterrupted, other), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unfinished_source_is_refused(killed_at: Callable[[int], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="its training has not finished"):
        train(ensemble_config(killed_at(1)), tmp_path / "run")
