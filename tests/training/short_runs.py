"""A run of two epochs of five steps, how it is killed, and what it leaves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np

from aad_tf import model_directory
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.model_directory import load_classifier

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
