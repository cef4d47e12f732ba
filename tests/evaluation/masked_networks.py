"""Networks whose accuracy under PGD is wrong on purpose: they mask the gradients of a right one.

All judge 6x6 gray images by which of three random patterns they resemble most, which is linear, so
that the true robust accuracy is known. What masks the gradients stands before it or behind it.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from aad_tf.classifier import Classifier

SIDE, CLASSES = 6, 3
layers = keras.layers


class Staircase(layers.Layer):
    """Pixels rounded to tenths by sigmoids so steep that float32 sees no slope between them."""

    def call(self, inputs):
        edges = tf.constant(np.arange(0.05, 1.0, 0.1), inputs.dtype)
        return 0.1 * tf.reduce_sum(tf.sigmoid(20_000 * (inputs[..., tf.newaxis] - edges)), -1)


class Rounded(layers.Layer):
    """Pixels rounded to twentieths, through which no gradient leads."""

    def call(self, inputs):
        return tf.round(20 * inputs) / 20


class Ripples(layers.Layer):
    """Pixels with waves that are lower than any budget here, but 15 times as steep as they are."""

    def call(self, inputs):
        return inputs + 0.01 * tf.sin(1500 * inputs)


class Noise(layers.Layer):
    """Noise on the pixels that inference does not turn off."""

    def call(self, inputs):
        return inputs + 0.1 * tf.random.normal(tf.shape(inputs), dtype=inputs.dtype)


class Winners(layers.Layer):
    """Keeps the largest channel, zero elsewhere: 1-winner-takes-all (Xiao et al. 2020)."""

    def call(self, inputs):
        largest = tf.reduce_max(inputs, axis=-1, keepdims=True)
        return tf.where(inputs >= largest, inputs, tf.zeros_like(inputs))


def winner_layers(count: int = 50) -> list[layers.Layer]:
    """Pixels as the winner among `count` units sees them: right from afar, falling close by.

    Units are tangents of (1.5 - x)^2, so the winner is the one whose point is nearest to x. Each is
    weighed so that it is right at its point; between two points it falls, as all tangents do.
    """
    points = (np.arange(count) + 0.5) / count
    values, slopes = (1.5 - points) ** 2, -2 * (1.5 - points)
    tangents, readout = layers.Conv2D(count, 1), layers.Conv2D(1, 1, use_bias=False)
    for layer, channels in ((tangents, 1), (readout, count)):
        layer.build((None, SIDE, SIDE, channels))
    tangents.set_weights([slopes.reshape(1, 1, 1, count), values - slopes * points])
    readout.set_weights([(points / values).reshape(1, 1, count, 1)])
    return [tangents, Winners(), readout]


def patterns() -> np.ndarray:
    kernel = np.random.default_rng(0).normal(size=(SIDE * SIDE, CLASSES))
    # Of gray images no class is favoured.
    return kernel - kernel.mean(0)


def patterns_network(*first: layers.Layer, scale: float = 1.0) -> Classifier:
    """Scores of the patterns, `scale` times, behind other layers."""
    copy = layers.Conv2D(1, 1, use_bias=False)
    scores = layers.Dense(CLASSES)
    network = keras.Sequential(
        [keras.Input((SIDE, SIDE, 1)), *first, copy, layers.Flatten(), scores]
    )
    copy.set_weights([np.ones((1, 1, 1, 1))])
    scores.set_weights([scale * patterns(), np.zeros(CLASSES)])
    return Classifier.from_keras(network)


def patterns_data(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Images away from black and white, with the class of the pattern that they resemble most."""
    images = np.random.default_rng(1).uniform(0.3, 0.7, (count, SIDE, SIDE, 1)).astype("float32")
    return images, np.argmax(images.reshape(count, -1) @ patterns(), -1).astype("int32")


def true_robust_accuracy(epsilon: float, count: int = 40) -> float:
    """Of the linear scores: an image is robust if no gap is closed by epsilon times its slope."""
    images, labels = patterns_data(count)
    kernel = patterns()
    logits = images.reshape(count, -1) @ kernel
    gaps = logits[np.arange(count), labels][:, None] - logits
    slopes = np.abs(kernel[:, labels].T[:, :, None] - kernel[None]).sum(1)
    return float(np.mean(np.all((gaps > epsilon * slopes) | (slopes == 0), axis=1)))
