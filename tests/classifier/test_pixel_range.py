"""The pixel that the first weights see as zeros, worked by hand for what may stand before them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import models
from aad_tf.classifier import Classifier
from tests.networks import linear_network

layers = keras.layers


def network_behind(*first: keras.layers.Layer, channels: int = 1) -> keras.Model:
    head = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
    return keras.Sequential(
        [keras.Input((6, 6, channels)), *first, layers.Conv2D(2, 3, name="conv"), *head]
    )


def swapped_mean(images):
    """Channels the other way round, minus 0.5, 0.25 and 0.125."""
    return images[..., ::-1] - np.array([0.5, 0.25, 0.125], np.float32)


@pytest.mark.parametrize(
    ("first", "channels", "bounds", "expected"),
    [
        ((), 1, (0, 1), (0.0,)),
        ((), 3, (-1, 1), (0.0, 0.0, 0.0)),
        # No pixel is 0: the one next to it.
        ((), 1, (0.25, 1), (0.25,)),
        ((layers.Rescaling(2.0, -1.0),), 1, (0, 1), (0.5,)),
        ((layers.Rescaling(1 / 127.5, -1.0),), 1, (0, 255), (127.5,)),
        ((layers.Rescaling(1 / 255), layers.Rescaling(2.0, -1.0)), 1, (0, 255), (127.5,)),
        ((layers.ZeroPadding2D(1), layers.Rescaling(2.0, -1.0)), 1, (0, 1), (0.5,)),
        # Zero would be a pixel of -1.
        ((layers.Rescaling(1.0, 1.0),), 1, (0, 1), (0.0,)),
        (
            (layers.Normalization(mean=[0.5, 0.25, 0.75], variance=[0.04, 0.09, 0.25]),),
            3,
            (0, 1),
            (0.5, 0.25, 0.75),
        ),
        ((layers.Lambda(swapped_mean),), 3, (0, 1), (0.125, 0.25, 0.5)),
        # Never zero, and no affine function.
        ((layers.Lambda(lambda images: images**2 + 1),), 1, (0, 1), (0.0,)),
        # A layer with weights sees the images as they are.
        ((layers.BatchNormalization(),), 1, (0, 1), (0.0,)),
    ],
)
def test_the_pixel_that_is_zero_to_a_network(first, channels, bounds, expected):
    classifier = Classifier.from_keras(network_behind(*first, channels=channels), "conv", bounds)
    np.testing.assert_allclose(classifier.zero_pixel, expected, atol=1e-4)
    assert len(classifier.zero_pixel) == channels


def test_the_networks_of_the_paper():
    gray = Classifier.from_keras(models.build("cifarnet", (16, 16, 3), 3))
    assert gray.zero_pixel == (0.5, 0.5, 0.5)
    assert Classifier.from_keras(models.build("lenet", (12, 12, 1), 3)).zero_pixel == (0.0,)


def test_a_normalization_adapted_after_wrapping():
    """What was traced before is traced again, also from inside a compiled function."""
    normalization = layers.Normalization(axis=None)
    network = keras.Sequential(
        [keras.Input((4, 4, 1)), normalization, *linear_network([1, 2]).layers]
    )
    classifier = Classifier.from_keras(network)
    images = tf.fill((1, 4, 4, 1), 0.75)
    np.testing.assert_allclose(classifier.predict_logits(images), [[0.75, 1.5]])
    # Mean 0.5 and standard deviation 0.25; then 127.5 and 127.5, which shows pixels of 0..255.
    normalization.adapt(np.float32([0.25, 0.75]).reshape(2, 1, 1, 1))
    assert tf.function(lambda: tf.constant(classifier.zero_pixel))() == 0.5
    np.testing.assert_allclose(classifier.predict_logits(images), [[1.0, 2.0]])
    assert classifier.shrinking == ""
    normalization.adapt(np.float32([0.0, 255.0]).reshape(2, 1, 1, 1))
    assert classifier.shrinking == f"'{normalization.name}' (Normalization)"
    np.testing.assert_allclose(classifier.predict_logits(images), network(images))
