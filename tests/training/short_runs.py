"""A run of two epochs of five steps, how it is killed, and what it leaves.

Its network is small enough that a run takes a second or two, nearly all of it Keras's and
TensorFlow's compiling, and has all that a checkpoint must keep: weights, moving statistics of
BatchNormalization and the seeds of dropout.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from aad_tf import model_directory, models
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.model_directory import load_network


@models.register("small_for_tests")
def small(input_shape, num_classes, dropout_rate=0.2, weights=None, dtype=None) -> keras.Model:
    """A convolution, normalization, dropout, logits; `weights` names a file of initial weights."""
    layers = [
        keras.Input(input_shape),
        keras.layers.Conv2D(4, 5, 4, activation="relu", dtype=dtype, name="conv1"),
        keras.layers.BatchNormalization(dtype=dtype),
        keras.layers.Dropout(dropout_rate, dtype=dtype),
        keras.layers.Flatten(dtype=dtype),
        keras.layers.Dense(num_classes, dtype="float32", name="logits"),
    ]
    network = keras.Sequential(layers, name="small_for_tests")
    if weights is not None:
        network.load_weights(weights)
    return network


# Of a config that trains it in place of another network.
SMALL: dict[str, Any] = {"model": "small_for_tests", "model_options": {}}
CONFIG = ExperimentConfig(
    name="short",
    dataset="digits",
    model="small_for_tests",
    defense=DefenseConfig("adversarial", "pgd(epsilon=0.1, step_size=0.05, num_steps=1)"),
    batch_size=30,
    train_examples=137,
    epochs=2,
    checkpoint_steps=2,
    validation_examples=30,
    seed=3,
)
STEPS = 5  # 137 examples in batches of 30, the last of which has 17.


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


class CopyAt(keras.callbacks.Callback):
    """Copies a model directory after numbers of steps: what a kill at that moment leaves."""

    def __init__(self, directory: Path, steps: Sequence[int]) -> None:
        super().__init__()
        self._directory, self._steps, self._now = directory, steps, 0

    @staticmethod
    def path(directory: Path, steps: int) -> Path:
        """Where the copy is."""
        return directory.with_name(f"{directory.name}_{steps}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._now += 1
        if self._now in self._steps:
            shutil.copytree(self._directory, self.path(self._directory, self._now))


def weights_of(directory: Path) -> list[np.ndarray]:
    return load_network(directory).get_weights()


def history_of(directory: Path) -> list[dict[str, str]]:
    with (directory / model_directory.HISTORY).open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_weights(directory: Path, expected: Path) -> None:
    for found, wanted in zip(weights_of(directory), weights_of(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)
