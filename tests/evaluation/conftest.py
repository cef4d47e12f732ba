"""Small networks and images for evaluations, in float64: the same signs in any batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.classifier import Classifier
from tests.networks import curved_network


@pytest.fixture(scope="module")
def network() -> Classifier:
    return curved_network()


@pytest.fixture(scope="module")
def examples(network: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """37 images, of which the network classifies some nine in ten correctly."""
    images = np.random.default_rng(1).uniform(size=(37, 6, 6, 1))
    labels = network.predict_logits(tf.constant(images)).numpy().argmax(-1)
    labels[::10] = (labels[::10] + 1) % 3
    return images, labels.astype(np.int32)


@pytest.fixture(scope="session")
def random_network() -> Classifier:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((6, 6, 2), dtype="float64"),
            layers.Conv2D(8, 3, activation="gelu", dtype="float64"),
            layers.BatchNormalization(dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dropout(0.5, dtype="float64"),
            layers.Dense(5, dtype="float64"),
        ]
    )
    network.layers[-1].kernel.assign(3 * network.layers[-1].kernel)
    return Classifier.from_keras(network)


@pytest.fixture(scope="session")
def random_examples(random_network: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of which the network classifies some nine in ten correctly."""
    generator = np.random.RandomState(2)
    images = generator.uniform(size=(60, 6, 6, 2))
    labels = random_network.predict_logits(tf.constant(images)).numpy().argmax(-1)
    labels[::10] = (labels[::10] + 1) % 5
    return images, labels.astype(np.int32)
