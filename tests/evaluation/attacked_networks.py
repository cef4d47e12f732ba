"""Networks of gray levels whose robustness is worked out by hand, and attacks on any network."""

from __future__ import annotations

import functools

import keras
import numpy as np

from aad_tf.attacks import fgsm, ifgsm, iter_ll, pgd, step_ll
from aad_tf.classifier import Classifier

PRESETS = {
    "fgsm": fgsm(0.1),
    "ifgsm": ifgsm(0.1, num_steps=3),
    "step_ll": step_ll(0.08, num_steps=2),
    "iter_ll": iter_ll(0.1, num_steps=3),
    "pgd": pgd(0.1, step_size=0.04, num_steps=6, random_start=False),
}
RESTARTED = pgd(0.05, step_size=0.02, num_steps=3, restarts=4)


@functools.cache
def brightness_classifier(scale: float = 1.0) -> Classifier:
    """Class 1 where the four pixels sum to more than 2: `scale * (sum - 2)` against 0.

    Tests share it, and what is compiled for it, and leave its weights as they are.
    """
    return mean_network([0.0], [[0.0, 4.0 * scale]], [0.0, -2.0 * scale])


def island_classifier() -> Classifier:
    """Class 1 only for gray levels near 0.6: relu(v - 0.45) - 2 relu(v - 0.6) above 0.1."""
    return mean_network([-0.45, -0.6], [[0.0, 1.0], [0.0, -2.0]], [0.0, -0.1])


def mean_network(thresholds: list[float], weights: list, bias: list) -> Classifier:
    """Logits `relu(v + thresholds) @ weights + bias` of the mean gray level v."""
    units = len(thresholds)
    network = keras.Sequential(
        [
            keras.Input((2, 2, 1), dtype="float64"),
            keras.layers.Conv2D(1, 1, use_bias=False, dtype="float64"),
            keras.layers.GlobalAveragePooling2D(dtype="float64"),
            keras.layers.Dense(units, activation="relu", dtype="float64"),
            keras.layers.Dense(2, dtype="float64"),
        ]
    )
    network.set_weights(
        [np.ones((1, 1, 1, 1)), np.ones((1, units)), *map(np.array, (thresholds, weights, bias))]
    )
    return Classifier.from_keras(network)


def gray_images(levels: list[float]) -> np.ndarray:
    return np.tile(np.array(levels)[:, None, None, None], (1, 2, 2, 1))


def any_size_classifier() -> Classifier:
    """Three classes of colour images of any size, smooth, in float64."""
    keras.utils.set_random_seed(5)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((None, None, 3), dtype="float64"),
            layers.Conv2D(4, 3, activation="gelu", name="conv", dtype="float64"),
            layers.GlobalAveragePooling2D(dtype="float64"),
            layers.Dense(3, name="scores", dtype="float64"),
        ]
    )
    return Classifier.from_keras(network)


def batches_of_sizes(classifier: Classifier, sizes, per_batch: int = 4) -> list:
    """Batches of images of one size each; most labels are what the network predicts."""
    generator, batches = np.random.default_rng(3), []
    for size in sizes:
        images = generator.uniform(size=(per_batch, *size, 3))
        labels = classifier.predict_logits(images).numpy().argmax(-1)
        labels[0] = (labels[0] + 1) % 3
        batches.append((images, labels.astype(np.int32)))
    return batches
