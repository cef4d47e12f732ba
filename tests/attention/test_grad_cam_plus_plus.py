"""Grad-CAM++: worked by hand, against its definition by derivatives, then what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import (
    grad_cam,
    grad_cam_map,
    grad_cam_plus_plus,
    grad_cam_plus_plus_map,
    signed_grad_cam_map,
)
from aad_tf.attention.grad_cam import compiled_attention_maps
from aad_tf.classifier import Classifier
from tests.networks import random_images, small_network

# One image, a row of two cells, two channels.
FEATURES = tf.constant([[[[1.0, 2.0], [3.0, 0.0]]]])
GRADIENTS = tf.constant([[[[1.0, -1.0], [0.5, 2.0]]]])


def test_map_by_hand():
    # Channel 1: A = (1, 3), sum 4, g = (1, 1/2): alpha = 1/(2 + 4) and 1/(2 + 2), so
    # 1/6 * 1 + 1/4 * 1/2 = 7/24.
    # Channel 2: A = (2, 0), sum 2, g = (-1, 2): relu(g) = (0, 2), alpha = 1/(2 + 4) in the second
    # cell, so 1/6 * 2 = 1/3.
    # Cells: 7/24 * 1 + 1/3 * 2 = 23/24 and 7/24 * 3 = 7/8.
    maps = grad_cam_plus_plus_map(FEATURES, GRADIENTS)
    np.testing.assert_allclose(maps, [[[23 / 24, 7 / 8]]], rtol=1e-6)


def test_normalized_map_by_hand():
    # Channel 1: alphas 1/6 and 1/4 become 2/5 and 3/5: 2/5 * 1 + 3/5 * 1/2 = 7/10.
    # Channel 2: 2 + g sum is 2 - 2 = 0 in the first cell, whose alpha is set to 0; so the second
    # cell's becomes 1: weight 2.
    # Cells: 7/10 + 2 * 2 = 4.7 and 7/10 * 3 = 2.1.
    maps = grad_cam_plus_plus_map(FEATURES, GRADIENTS, normalize=True)
    np.testing.assert_allclose(maps, [[[4.7, 2.1]]], rtol=1e-6)


def test_signed_map_by_hand():
    # Channel weights 3/4 and 1/2: 3/4 + 1 and 9/4.
    np.testing.assert_allclose(signed_grad_cam_map(FEATURES, GRADIENTS), [[[1.75, 2.25]]])
    against = signed_grad_cam_map(FEATURES, -GRADIENTS)
    np.testing.assert_allclose(against, [[[-1.75, -2.25]]])
    assert not np.any(grad_cam_map(FEATURES, -GRADIENTS))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_closed_form_as_printed(dtype):
    generator = np.random.default_rng(0)
    features = generator.uniform(size=(3, 4, 5, 6)).astype(dtype)
    gradients = generator.normal(size=features.shape).astype(dtype)
    gradients[0, :, :, 0] = 0
    totals = features.sum(axis=(1, 2), keepdims=True)
    denominator = 2 * gradients**2 + totals * gradients**3
    alphas = np.where(gradients == 0, 0, gradients**2 / np.where(denominator, denominator, 1))
    weights = (alphas * np.maximum(gradients, 0)).sum(axis=(1, 2), keepdims=True)
    expected = np.maximum((weights * features).sum(axis=-1), 0)
    maps = grad_cam_plus_plus_map(features, gradients)
    assert maps.dtype == dtype
    np.testing.assert_allclose(maps, expected, rtol={"float32": 1e-4, "float64": 1e-10}[dtype])


def test_alpha_solves_the_equation_it_was_derived_from():
    # Y = exp(w . A), the paper's score over a logit linear in the features, its derivatives taken
    # by TensorFlow: alpha_ij = Y'' / (2 Y'' + sum(A) Y''').
    features = tf.constant(np.random.default_rng(1).uniform(size=(6,)), tf.float64)
    slopes = tf.constant(np.random.default_rng(2).uniform(0.1, 1.0, size=(6,)), tf.float64)

    def derivative(function):
        def differentiated(values):
            with tf.GradientTape() as tape:
                tape.watch(values)
                total = tf.reduce_sum(function(values))
            return tape.gradient(total, values)

        return differentiated

    # Each cell on its own: the others enter as constants.
    offset = tf.reduce_sum(slopes * features) - slopes * features
    second = derivative(derivative(lambda values: tf.exp(slopes * values + offset)))
    seconds, thirds = second(features), derivative(second)(features)
    alphas = seconds / (2 * seconds + tf.reduce_sum(features) * thirds)
    weight = tf.reduce_sum(alphas * slopes)
    shape = (1, 2, 3, 1)
    maps = grad_cam_plus_plus_map(tf.reshape(features, shape), tf.reshape(slopes, shape))
    np.testing.assert_allclose(tf.reshape(maps, [-1]), weight * features, rtol=1e-10)


def test_tiny_and_zero_gradients():
    # Their squares underflow, and the map is still g / 2 * A in the limit.
    tiny = grad_cam_plus_plus_map(tf.ones((1, 1, 1, 1)), tf.fill((1, 1, 1, 1), 1e-30))
    np.testing.assert_allclose(tiny, [[[0.5e-30]]], rtol=1e-6)
    for normalize in (False, True):
        zero = grad_cam_plus_plus_map(FEATURES, tf.zeros_like(FEATURES), normalize)
        np.testing.assert_array_equal(zero, [[[0.0, 0.0]]])


def test_maps_of_half_precision_features_are_float32():
    maps = grad_cam_plus_plus_map(tf.cast(FEATURES, "bfloat16"), tf.cast(GRADIENTS, "bfloat16"))
    assert maps.dtype == tf.float32
    np.testing.assert_allclose(maps, [[[23 / 24, 7 / 8]]], rtol=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_maps_equal_plain_keras(normalize):
    model = small_network()
    both = keras.Model(model.inputs[0], [model.get_layer("conv").output, model.outputs[0]])
    images, class_ids = random_images(5), np.array([0, 1, 2, 1, 0])
    with tf.GradientTape() as tape:
        features, logits = both(images)
        tape.watch(features)
        scores = tf.reduce_sum(logits * tf.one_hot(class_ids, 3))
    expected = grad_cam_plus_plus_map(features, tape.gradient(scores, features), normalize)
    classifier = Classifier.from_keras(model, "conv")
    maps = grad_cam_plus_plus(classifier, images, class_ids, normalize=normalize)
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert np.max(expected) > 0.01


def test_each_method_is_compiled_once_and_keeps_its_own_maps():
    classifier = Classifier.from_keras(small_network())
    before = grad_cam(classifier, random_images(), [0, 1, 2, 0])
    for size in (4, 1, 3):
        images, class_ids = random_images(size), np.zeros(size, int)
        plain = grad_cam_plus_plus(classifier, images, class_ids)
        normalized = grad_cam_plus_plus(classifier, images, class_ids, normalize=True)
        assert np.abs(plain - normalized).max() > 1e-3
    functions = [each for key, each in classifier.compiled.items() if "attention_maps" in key]
    assert [each.experimental_get_tracing_count() for each in functions] == [1, 1, 1]
    assert compiled_attention_maps(classifier) in functions
    np.testing.assert_array_equal(grad_cam(classifier, random_images(), [0, 1, 2, 0]), before)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": random_images() * 255}, ValueError, "divide by 255"),
        ({"class_ids": [0, 1, 2, 3]}, ValueError, r"class_ids must lie in \[0, 3\)"),
        ({"classifier": small_network()}, TypeError, "Classifier.from_keras"),
    ],
)
def test_bad_input(changes, error, message):
    arguments = {
        "classifier": Classifier.from_keras(small_network()),
        "images": random_images(),
        "class_ids": [0] * 4,
        **changes,
    }
    with pytest.raises(error, match=message):
        grad_cam_plus_plus(**arguments)
