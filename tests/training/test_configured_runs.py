"""What a config asks for reaches the run or is refused; a loss that is not finite stops it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from aad_tf import model_directory
from aad_tf.configs import DefenseConfig
from aad_tf.model_directory import ModelDirectoryError, load_classifier
from aad_tf.training import build_defense, train
from tests.training.short_runs import CONFIG


def test_steps_per_execution_must_divide_the_epoch(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps_per_execution=2)
    with pytest.raises(ValueError, match="must divide the 5 steps of an epoch, got 2"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
    # Moving statistics go on whatever the learning rate.
    start = load_classifier(uninterrupted)[0].model.trainable_variables
    for before, after in zip(start, model.network.trainable_variables, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-6)


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
