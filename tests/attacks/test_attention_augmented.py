"""A3: signs worked out by hand, and gradients against finite differences.

The network of `plain_sight` has one feature channel, the image itself, and logits that are sums
of pixels. The map of class 0 is thus the image, and every gradient can be written down.
"""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import a3, fgsm, ifgsm, step_ll
from aad_tf.attacks.attention_augmented import AttentionAugmented, divided_by_maximum
from aad_tf.attacks.objectives import AwayFromLabel, TowardsLeastLikely
from aad_tf.attention import TopCells
from aad_tf.classifier import Classifier
from tests.networks import curved_network, random_images

layers = keras.layers


@functools.cache
def plain_sight(weight: float = 1.0) -> Classifier:
    """Logits `weight * sum(image)` and 0; the map of class 0 is relu(weight * image)."""
    network = keras.Sequential(
        [
            keras.Input((2, 2, 1), dtype="float64"),
            layers.Conv2D(1, 1, use_bias=False, dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dense(2, use_bias=False, dtype="float64"),
        ]
    )
    kernel = weight * np.array([[1.0, 0.0]] * 4)
    network.set_weights([np.ones((1, 1, 1, 1)), kernel])
    return Classifier.from_keras(network)


@pytest.fixture(scope="module")
def curved() -> Classifier:
    return curved_network()


def images_of(count: int = 4, seed: int = 0) -> np.ndarray:
    return random_images(count, (6, 6, 1), seed, "float64")


# Known answers

# Att = 1 0 0 1, the cells above the mean 0.475. With g = image / 0.8 the mean deviation is
# (0 + 0.1/0.8 + 0.4/0.8 + 1 - 0.6/0.8) / 4, so its slopes are, by the second, third and fourth
# pixel, 1/3.2, 1/3.2, -1/3.2 and, by the greatest one, -(0.1 + 0.4 - 0.6) / (4 * 0.64) = 1/25.6.
# Minus the cross-entropy of class 0 has the slope p_1 = 1 / (1 + e^1.9) = 0.1301 everywhere.
IMAGE = np.array([[0.8, 0.1], [0.4, 0.6]])[np.newaxis, ..., np.newaxis]


@pytest.mark.parametrize(
    ("sigma", "options", "signs"),
    [
        (0.0, {}, [-1, -1, -1, -1]),
        # 0.1301 * 3.2 = 0.416 turns the pixels outside the area, 0.1301 * 25.6 = 3.33 the peak.
        (0.41, {}, [-1, -1, -1, -1]),
        (0.42, {}, [-1, 1, 1, -1]),
        (3.3, {}, [-1, 1, 1, -1]),
        (3.4, {}, [1, 1, 1, -1]),
        (-0.41, {}, [-1, -1, -1, -1]),
        (-0.42, {}, [-1, -1, -1, 1]),
        # A sum over four cells weighs four times as much.
        (0.1025, {"reduction": "sum"}, [-1, -1, -1, -1]),
        (0.105, {"reduction": "sum"}, [-1, 1, 1, -1]),
        # g = image: slopes -1/4, 1/4, 1/4, -1/4, and 0.1301 * 4 = 0.5204.
        (0.51, {"scale": "none"}, [-1, -1, -1, -1]),
        (0.53, {"scale": "none"}, [-1, 1, 1, -1]),
        (-0.53, {"scale": "none"}, [1, -1, -1, 1]),
        # The greatest cell alone; or all above 0.45 of it, where its own slope is 0.9 / 2.56.
        (0.42, {"threshold": TopCells(1)}, [-1, 1, 1, 1]),
        (0.42, {"threshold": 0.45}, [1, 1, -1, -1]),
    ],
)
def test_signs_by_hand(sigma, options, signs):
    attacked = a3(fgsm(0.05), sigma, **options)(plain_sight(), IMAGE, [0]).numpy()
    np.testing.assert_allclose((attacked - IMAGE).ravel(), 0.05 * np.array(signs), rtol=1e-9)


def test_values_by_hand():
    classifier, labels = plain_sight(), tf.constant([0])
    objective = AttentionAugmented(AwayFromLabel(), 2.0)
    context = objective.context(classifier, tf.constant(IMAGE), labels)
    np.testing.assert_array_equal(context[0], [[[1, 0], [0, 1]]])
    # At half the brightness g is the same and log p_0 is -log(1 + e^-0.95).
    values, logits = objective(classifier, tf.constant(IMAGE / 2), labels, *context)
    deviation = (0.1 / 0.8 + 0.4 / 0.8 + 1 - 0.6 / 0.8) / 4
    np.testing.assert_allclose(values, [-np.log1p(np.exp(-0.95)) - 2 * deviation], rtol=1e-12)
    np.testing.assert_allclose(logits, [[0.95, 0.0]], rtol=1e-12)


def test_the_area_is_that_of_the_original_image_in_every_round():
    # The first round gives 1.0 0.3 0.6 0.4, whose own area would be 1 0 1 0. By that of the
    # original the slopes are -(0.3 + 0.6 - 0.4) / 4, 1/4, 1/4, -1/4, and p_1 is 0.0911.
    rounds = a3(ifgsm(0.4, num_steps=2), 3.4)(plain_sight(), IMAGE, [0])
    np.testing.assert_allclose(rounds.numpy().ravel(), [0.8, 0.5, 0.8, 0.2])


def test_a_map_of_zeros_leaves_the_plain_attack():
    # Channel weight -1: the map is zero, and darker images are of class 0.
    classifier = plain_sight(-1.0)
    attacked = a3(fgsm(0.05), 10.0)(classifier, IMAGE, [0])
    np.testing.assert_allclose(attacked, IMAGE + 0.05)


@pytest.mark.parametrize("peak", [0.0, 1e-30, 1e-15, 1e30])
def test_scaled_maps_and_their_gradients_are_finite(peak):
    maps = tf.constant([[[peak, peak / 2]]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        scaled = divided_by_maximum(maps)
        ratio = scaled[0, 0, 1]
    expected = [[[0.0, 0.0]]] if peak < 1e-18 else [[[1.0, 0.5]]]
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    expected = [[[0.0, 0.0]]] if peak < 1e-18 else [[[-0.5, 1.0]]]
    np.testing.assert_allclose(tape.gradient(ratio, maps) * peak, expected, rtol=1e-5)


@pytest.mark.parametrize("plain", [AwayFromLabel(0.1), TowardsLeastLikely()])
@pytest.mark.parametrize(
    ("sigma", "options"),
    [(10.0, ()), (-10.0, ("sum",)), (3.0, ("mean", "none")), (3.0, ("sum", "max", 0.2, "label"))],
)
def test_gradients_agree_with_central_differences(curved, plain, sigma, options):
    objective, labels = AttentionAugmented(plain, sigma, *options), tf.constant([0, 1])
    original, step = images_of(2), 1e-5
    context = objective.context(curved, tf.constant(original), labels)
    moved = np.clip(original + 0.05 * np.sign(images_of(2, seed=1) - 0.5), 0, 1)
    variable = tf.constant(moved)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        values, _ = objective(curved, variable, labels, *context)
    gradient = tape.gradient(values, variable).numpy()[..., 0]
    for row, column in itertools.product(range(6), repeat=2):
        slopes = np.zeros(2)
        for sign in (1, -1):
            shifted = moved.copy()
            shifted[:, row, column] += sign * step
            slopes += sign * objective(curved, tf.constant(shifted), labels, *context)[0].numpy()
        # Errors of order step^2 and rounding / step, both near 1e-10 of the slopes' size.
        found = gradient[:, row, column]
        np.testing.assert_allclose(slopes / (2 * step), found, rtol=1e-5, atol=1e-7)


def test_the_class_explained_may_be_the_predicted_one(curved):
    images = images_of(12)
    predicted = curved.predict_logits(tf.constant(images)).numpy().argmax(-1)
    others = (predicted + 1) % 3
    plain = step_ll(0.05, num_steps=3)  # Its loss knows no labels.
    by_prediction = a3(plain, 50.0, explained="prediction")(curved, images, others)
    np.testing.assert_array_equal(by_prediction, a3(plain, 50.0)(curved, images, predicted))
    assert np.abs(by_prediction - a3(plain, 50.0)(curved, images, others)).max() > 0.01
