"""Defences that are trained alike by one process and by many."""

from __future__ import annotations

import keras
import tensorflow as tf

from aad_tf.attacks import fgsm, pgd, step_ll, trades_pgd
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    EnsembleAdversarialModel,
    StandardModel,
    TradesModel,
)
from aad_tf.distribute import distributed
from aad_tf.losses import AADLosses
from tests.distribute.cases.common import Arrays, dataset, fitted
from tests.networks import SHAPE, batch_norm_network, small_network


def plain(strategy: tf.distribute.Strategy) -> Arrays:
    with strategy.scope():
        model = StandardModel(small_network(), label_smoothing=0.1)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    return fitted(strategy, model, epochs=3)


def aad(strategy: tf.distribute.Strategy, dtype: str, epochs: int, steps: int | None) -> Arrays:
    # A sum over the batch is one over the global batch.
    losses = AADLosses(preservation_over="batch_sum" if dtype == "float64" else "batch_mean")
    with strategy.scope():
        network = small_network(dtype=dtype if dtype == "float64" else None)
        model = AADModel(network, attack=step_ll(0.1, num_steps=2), losses=losses)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    return fitted(strategy, model, epochs, dtype, steps)


def aad_first_steps(strategy: tf.distribute.Strategy) -> Arrays:
    return aad(strategy, "float32", epochs=1, steps=3)


def aad_float64(strategy: tf.distribute.Strategy) -> Arrays:
    return aad(strategy, "float64", epochs=6, steps=None)


def batch_normalization(strategy: tf.distribute.Strategy) -> Arrays:
    """AAD with batch statistics, which each replica takes of its part."""
    with strategy.scope():
        model = AADModel(batch_norm_network(), attack=step_ll(0.1, num_steps=2))
        model.compile(keras.optimizers.SGD(0.01))
    return fitted(strategy, model, epochs=1)


def statistics_of_one_step(strategy: tf.distribute.Strategy) -> Arrays:
    """One step of a network that begins with batch normalization: statistics known by hand."""
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(momentum=0.9)
    layers = keras.layers
    with strategy.scope():
        network = keras.Sequential(
            [
                keras.Input(SHAPE),
                norm,
                layers.Conv2D(2, 3),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3),
            ]
        )
        model = StandardModel(network)
        model.compile("sgd")
    data = distributed(strategy, lambda fed: dataset(fed).repeat(), endless=True)
    model.fit(data, epochs=1, steps_per_epoch=1, verbose=0)
    return {"mean": norm.moving_mean.numpy(), "variance": norm.moving_variance.numpy()}


def other_defenses(strategy: tf.distribute.Strategy) -> Arrays:
    """Ensemble training, with random draws and dropout; PGD-like random starts; TRADES."""
    found: Arrays = {}
    with strategy.scope():
        dropping = small_network(middle=[keras.layers.Dropout(0.5)])
        source = small_network(seed=5)
        models = {
            "ensemble": EnsembleAdversarialModel(dropping, sources=[source], attack=fgsm(0.1)),
            "adversarial": AdversarialModel(
                small_network(), attack=pgd(0.1, 0.05, 1), warmup_steps=2
            ),
            "trades": TradesModel(small_network(), attack=trades_pgd(0.1, 0.05, 1)),
        }
        for model in models.values():
            model.compile("adam")
    for name, model in models.items():
        found |= {f"{name}_{k}": v for k, v in fitted(strategy, model, 1, steps=3).items()}
    return found
