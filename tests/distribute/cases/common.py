"""Data and fits that the cases share."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.data import ReplicaRange
from aad_tf.defenses import DefenseModel
from aad_tf.distribute import distributed, is_chief, is_multi_worker
from tests.networks import random_images

Arrays = dict[str, np.ndarray]
EXAMPLES, BATCH = 43, 10  # The last batch has three examples: two replicas hold two and one.


def examples(dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    labels = np.random.default_rng(1).integers(0, 3, EXAMPLES).astype("int32")
    return random_images(EXAMPLES, seed=1, dtype=dtype), labels


def bounds(fed: ReplicaRange) -> np.ndarray:
    """Bounds of the slices of the replicas fed, batch after batch."""
    found = []
    for start in range(0, EXAMPLES, BATCH):
        indices = np.arange(start, min(start + BATCH, EXAMPLES))
        slices = np.array_split(indices, fed.total)[fed.first : fed.first + fed.count]
        found += [(part[0], part[-1] + 1) for part in slices]
    return np.array(found)


def dataset(fed: ReplicaRange, dtype: str = "float32") -> tf.data.Dataset:
    images, labels = (tf.constant(values) for values in examples(dtype))
    slices = tf.data.Dataset.from_tensor_slices(bounds(fed))
    return slices.map(lambda part: (images[part[0] : part[1]], labels[part[0] : part[1]]))


class Logs(keras.callbacks.Callback):
    """Keeps the logs of every step and epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.epochs: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps.append(float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append({name: float(value) for name, value in logs.items()})


def fitted(
    strategy: tf.distribute.Strategy,
    model: DefenseModel,
    epochs: int,
    dtype: str = "float32",
    steps: int | None = None,
) -> Arrays:
    """Fits and evaluates; returns all that can be compared."""
    logs = Logs()
    data = distributed(strategy, lambda fed: dataset(fed, dtype).repeat(), endless=True)
    finite = distributed(strategy, lambda fed: dataset(fed, dtype))
    model.fit(
        data,
        epochs=epochs,
        steps_per_epoch=steps or -(-EXAMPLES // BATCH),
        validation_data=finite,
        callbacks=[logs],
        verbose=0,
    )
    evaluated = model.evaluate(finite, verbose=0, return_dict=True)
    names = sorted(logs.epochs[0])
    return {
        "steps": np.array(logs.steps),
        "names": np.array(names),
        "epochs": np.array([[row[name] for name in names] for row in logs.epochs]),
        "evaluated": np.array([float(evaluated[name]) for name in sorted(evaluated)]),
        **{f"weight{i}": np.asarray(w) for i, w in enumerate(model.network.get_weights())},
    }


def in_first_of_several(strategy: tf.distribute.Strategy) -> bool:
    return is_multi_worker(strategy) and is_chief(strategy)
