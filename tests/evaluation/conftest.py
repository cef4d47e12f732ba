"""A small network and images for evaluations, in float64 so that batches do not matter."""

from __future__ import annotations

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
    """37 images, of which the network gets some nine in ten right."""
    images = np.random.default_rng(1).uniform(size=(37, 6, 6, 1))
    labels = network.predict_logits(tf.constant(images)).numpy().argmax(-1)
    labels[::10] = (labels[::10] + 1) % 3
    return images, labels.astype(np.int32)
