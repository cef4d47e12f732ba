"""What a user of Keras does around `fit`: arrays, metrics, callbacks, stopping; and randomness."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.attacks import fgsm
from aad_tf.callbacks import AttentionIoU, AttentionSnapshots, RobustAccuracy
from aad_tf.defenses import StandardModel
from aad_tf.distribute import (
    all_workers_equal,
    any_worker,
    distributed,
    per_replica_dropout_seeds,
    per_replica_seed,
    texts_of_workers,
)
from tests.distribute.cases.common import Arrays, dataset, examples, in_first_of_several
from tests.networks import small_network


def randomness(strategy: tf.distribute.Strategy) -> Arrays:
    """Dropout masks and seeds of every replica, as this process sees them."""
    with strategy.scope():
        network = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5, seed=3)])

    def masks() -> tuple[tf.Tensor, tf.Tensor]:
        with per_replica_dropout_seeds(network):
            return network(tf.ones((1, 1000)), training=True), per_replica_seed(tf.constant([3, 4]))

    before = network.non_trainable_variables[0].numpy()
    results = strategy.run(tf.function(masks))
    local = [strategy.experimental_local_results(value) for value in results]
    return {
        "masks": np.concatenate([value.numpy() for value in local[0]]),
        "seeds": np.stack([value.numpy() for value in local[1]]),
        "state_before": before,
        "state_after": network.non_trainable_variables[0].numpy(),
    }


def keras_habits(strategy: tf.distribute.Strategy) -> Arrays:
    """Arrays, sample weights, compiled metrics and `predict`, as a user would write them."""
    with strategy.scope():
        model = StandardModel(small_network())
        top2 = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
        model.compile("sgd", metrics=[top2])
    images, labels = (values[:40] for values in examples())
    history = model.fit(images, labels, batch_size=10, epochs=2, shuffle=False, verbose=0)
    return {
        "top2": np.array(history.history["top2"]),
        "loss": np.array(history.history["loss"]),
        "predicted": model.predict(images, batch_size=10, verbose=0),
    }


def callbacks(strategy: tf.distribute.Strategy) -> Arrays:
    """What looks at the network between epochs, and a figure that one process writes."""
    with strategy.scope():
        model = StandardModel(small_network())
        model.compile("sgd")
    images, labels = (values[:12] for values in examples())
    with tempfile.TemporaryDirectory() as directory:
        watching = [
            RobustAccuracy((images, labels), fgsm(0.1)),
            AttentionIoU((images, labels), fgsm(0.1)),
            AttentionSnapshots(images[:2], labels[:2], directory, before_training=True),
        ]
        data = distributed(strategy, lambda fed: dataset(fed).repeat(), endless=True)
        history = model.fit(data, epochs=1, steps_per_epoch=2, callbacks=watching, verbose=0)
        figures = sum(name.endswith(".png") for name in os.listdir(directory))
    values = {name: np.array(found) for name, found in history.history.items()}
    return {**values, "figures": np.array(figures)}


def stopping(strategy: tf.distribute.Strategy) -> Arrays:
    """A worker asks to stop in its third step: the second one, if there are two."""
    with strategy.scope():
        model = StandardModel(small_network())
        model.compile("sgd")
    stopped_at: list[int] = []
    asks = not in_first_of_several(strategy)

    class Ask(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2 and asks:
                model.request_stop()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if model.stop_requested:
                stopped_at.append(batch)
                model.stop_training = True

    data = distributed(strategy, lambda fed: dataset(fed).repeat(), endless=True)
    model.fit(data, epochs=1, steps_per_epoch=8, callbacks=[Ask()], verbose=0)
    return {"stopped_at": np.array(stopped_at)}


def agreement(strategy: tf.distribute.Strategy) -> Arrays:
    own = 0 if in_first_of_several(strategy) else 1
    return {
        "same": np.array(all_workers_equal(strategy, [7, 8])),
        "different": np.array(all_workers_equal(strategy, [7, own])),
        "any": np.array(any_worker(strategy, own == 1)),
        "none": np.array(any_worker(strategy, False)),
        "texts": np.array(texts_of_workers(strategy, "a" * own + "\u00e9")),
    }
