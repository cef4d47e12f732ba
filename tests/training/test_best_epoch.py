"""Validation under attack, and early stopping by it: the best epoch's weights, resumed or not."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from aad_tf import data, model_directory
from aad_tf.callbacks import RobustAccuracy
from aad_tf.classifier import Classifier
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.training import train
from aad_tf.training.best_epoch import BestEpoch
from tests.training.short_runs import CONFIG, STEPS, CopyAt, assert_same_weights, history_of

PGD = "pgd(epsilon=0.1, step_size=0.05, num_steps=2)"
FGSM = "fgsm(epsilon=0.001)"
STOPPING = dataclasses.replace(
    CONFIG,
    defense=DefenseConfig(),
    learning_rate=0.01,
    epochs=4,
    early_stopping="fgsm(epsilon = 0.001)",
    patience=1,
)


class Spoil(keras.callbacks.Callback):
    """From the second epoch on, turns the logits around before they are validated."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_test_begin(self, logs: Any = None) -> None:
        if self._epoch >= 1:
            kernel, bias = self.model.network.layers[-1].weights
            kernel.assign(-kernel)
            bias.assign(-bias)


def one_weight() -> keras.Model:
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    network.compile("sgd", "mse")
    return network


def after(values: list[float], patience: int) -> tuple[BestEpoch, keras.Model, int]:
    """The callback, a network whose weight is the number of the epoch, and the last epoch."""
    network = one_weight()
    best = BestEpoch(network, "score", patience)
    best.set_model(network)
    network.stop_training = False
    for epoch, value in enumerate(values):
        network.set_weights([np.array([[epoch + 1.0]])])
        best.on_epoch_end(epoch, {"score": value})
        if network.stop_training:
            break
    best.restore()
    return best, network, epoch + 1


@pytest.mark.parametrize(
    ("values", "patience", "best", "last"),
    [
        ([0.1, 0.3, 0.2, 0.3, 0.9], 2, 2, 4),  # An equal value is none that is higher.
        ([0.1, 0.3, 0.2, 0.4, 0.1], 2, 4, 5),
        ([0.5, 0.4], 1, 1, 2),
        ([0.1, 0.2, 0.3], 1, 3, 3),
    ],
)
def test_the_best_epoch_by_hand(values, patience, best, last):
    callback, network, ended = after(values, patience)
    assert (callback.epoch, ended) == (best, last)
    assert network.get_weights()[0].item() == best
    assert callback.found == f"score {values[best - 1]:.4f}"


def test_without_an_epoch_the_weights_stay():
    network = one_weight()
    before = network.get_weights()[0].item()
    BestEpoch(network, "score", 1).restore()
    assert network.get_weights()[0].item() == before


def test_a_value_that_nobody_measures_is_an_error():
    best = BestEpoch(one_weight(), "score", 1)
    with pytest.raises(KeyError, match="hold no score.*They hold loss"):
        best.on_epoch_end(0, {"loss": 1.0})


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "stopped"
    train(STOPPING, directory, callbacks=(Spoil(), CopyAt(directory, (STEPS + 1,))))
    return directory


def test_a_run_keeps_the_weights_of_its_best_epoch(stopped: Path):
    first, last = (float(row[f"val_robust_accuracy_{FGSM}"]) for row in history_of(stopped))
    # The second epoch was spoilt, so it was the last one, and its weights are not those kept.
    assert last < first
    assert json.loads((stopped / model_directory.RUN).read_text())["best_epoch"] == 1
    classifier = Classifier.from_keras(model_directory.load_network(stopped))
    examples = data.evaluation_batches("digits", "validation", 30, limit=30)
    assert RobustAccuracy(examples, FGSM).evaluate(classifier) == first


def test_a_run_that_was_killed_stops_where_it_would_have(stopped: Path, tmp_path: Path):
    # Killed in the second epoch: what was best is known from the checkpoint alone.
    directory = shutil.copytree(CopyAt.path(stopped, STEPS + 1), tmp_path / "killed")
    train(STOPPING, directory, callbacks=(Spoil(),))
    assert history_of(directory) == history_of(stopped)
    assert_same_weights(directory, stopped)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"early_stopping": "pgd("}, "Expected an attack like"),
        ({"validation_attacks": ("fsgm(0.1)",)}, "Unknown attack 'fsgm'"),
        ({"early_stopping": PGD, "validation_examples": 0}, "set validation_examples"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_validated_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ExperimentConfig(**changes)


def test_an_attack_that_is_named_twice_is_run_once():
    config = ExperimentConfig(validation_attacks=("fgsm(0.1)", PGD), early_stopping=PGD)
    assert config.attacks_in_validation == ("fgsm(0.1)", PGD.replace(" ", ""))
