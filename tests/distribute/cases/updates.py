"""What replicas agree on in an update: clipping, penalties, loss scales, refusals."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.data import ReplicaRange
from aad_tf.defenses import StandardModel
from aad_tf.distribute import distributed
from tests.distribute.cases.common import Arrays, bounds, dataset, examples
from tests.networks import small_network


def clipped_and_weighted(strategy: tf.distribute.Strategy) -> Arrays:
    """Global clipping, an L2 penalty and sample weights."""
    penalty = keras.regularizers.L2(0.01)
    with strategy.scope():
        middle = keras.layers.Conv2D(4, 1, kernel_regularizer=penalty)
        model = StandardModel(small_network(middle=[middle]))
        model.compile(keras.optimizers.SGD(1.0, global_clipnorm=0.05))

    def weighted(fed: ReplicaRange) -> tf.data.Dataset:
        def weigh(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return images, labels, 0.5 + tf.cast(labels, tf.float32)

        return dataset(fed).map(weigh).repeat()

    data = distributed(strategy, weighted, endless=True)
    history = model.fit(data, epochs=2, steps_per_epoch=4, verbose=0)
    return {
        "loss": np.array(history.history["loss"]),
        **{f"weight{i}": np.asarray(w) for i, w in enumerate(model.network.get_weights())},
    }


class OverflowsOnTheLast(StandardModel):
    """Its loss overflows where an image is all white."""

    def training_losses(self, images: Any, *arguments: Any, **options: Any) -> Any:
        losses, logits = super().training_losses(images, *arguments, **options)
        white = tf.reduce_any(tf.reduce_min(images, axis=[1, 2, 3]) > 0.99)
        return {name: value * tf.where(white, 1e38, 1.0) for name, value in losses.items()}, logits


def loss_scale(strategy: tf.distribute.Strategy) -> Arrays:
    """Scaled gradients that overflow in the first step, on the last replica alone."""
    with strategy.scope():
        model = OverflowsOnTheLast(small_network())
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
        before = [np.asarray(weight) for weight in model.network.get_weights()]

    def batches(fed: ReplicaRange) -> tf.data.Dataset:
        white = tf.data.Dataset.range(len(bounds(fed))).map(
            lambda number: (number == fed.count - 1) & (fed.first + fed.count == fed.total)
        )
        blank = tf.data.Dataset.zip(dataset(fed), white)
        return blank.map(
            lambda example, all_white: (tf.where(all_white, 1.0, 0.9 * example[0]), example[1])
        )

    data = distributed(strategy, lambda fed: batches(fed).repeat(), endless=True)
    model.fit(data, epochs=1, steps_per_epoch=1, verbose=0)
    skipped = model.network.get_weights()
    scale = float(model.optimizer.dynamic_scale.numpy())
    model.fit(data, epochs=1, steps_per_epoch=3, verbose=0)
    return {
        "unchanged": np.array([np.array_equal(a, b) for a, b in zip(before, skipped, strict=True)]),
        "scale": np.array(scale),
        "finite": np.array(all(np.isfinite(w).all() for w in model.network.get_weights())),
    }


def refusals(strategy: tf.distribute.Strategy) -> Arrays:
    """What `compile` says of settings that several replicas cannot be trained with."""
    said = []
    with strategy.scope():
        half = StandardModel(small_network(dtype="mixed_float16"))
        full = StandardModel(small_network())
        for model, arguments in (
            (full, {"optimizer": "sgd", "steps_per_execution": 2}),
            (half, {"optimizer": keras.optimizers.SGD(clipnorm=1.0)}),
        ):
            try:
                model.compile(**arguments)
                said.append("")
            except ValueError as error:
                said.append(str(error))
    return {"said": np.array(said)}


def empty_replica(strategy: tf.distribute.Strategy) -> Arrays:
    """What `fit` and `evaluate` say of a last batch that holds nothing for one of two replicas."""
    images, labels = (values[:5] for values in examples())
    with strategy.scope():
        model = StandardModel(small_network())
        model.compile("sgd")
    said = []
    for run in (model.fit, model.evaluate):
        try:
            run(images, labels, batch_size=4, verbose=0)
            said.append("")
        except tf.errors.InvalidArgumentError as error:
            said.append(str(error))
    return {"said": np.array(said)}
