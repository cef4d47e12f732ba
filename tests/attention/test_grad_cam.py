"""Grad-CAM: worked by hand, then against plain Keras, then what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import (
    grad_cam,
    grad_cam_map,
    signed_grad_cam_map,
    softmax_grad_cam_map,
)
from aad_tf.attention.grad_cam import class_gradients, class_scores, compiled_attention_maps
from aad_tf.classifier import Classifier
from tests.networks import batch_norm_network, bytes_of, random_images, small_network

layers = keras.layers


def network_by_hand():
    """Features A1 = x and A2 = 1 - x; logits 2 m1 + 4 m2 and -8 m1 + 4 m2, m the means."""
    images = keras.Input((2, 2, 1))
    features = layers.Conv2D(2, 1, name="features")
    means = layers.GlobalAveragePooling2D()
    scores = layers.Dense(2, use_bias=False)
    model = keras.Model(images, scores(means(features(images))))
    features.set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 1.0])])
    scores.set_weights([np.array([[2.0, -8.0], [4.0, 4.0]])])
    return model


def test_maps_worked_by_hand():
    image = np.array([[1.0, 0.0], [0.5, 0.25]], np.float32).reshape(1, 2, 2, 1)
    classifier = Classifier.from_keras(network_by_hand())
    maps = grad_cam(classifier, np.repeat(image, 2, axis=0), [0, 1])
    # Each cell's gradient is a quarter of the dense weight, so channel weights are
    # class 0: 2/4 = 0.5 and 4/4 = 1; class 1: -8/4 = -2 and 4/4 = 1.
    # Class 0: 0.5 x + (1 - x)  = 1 - 0.5 x -> [[0.5, 1], [0.75, 0.875]]
    # Class 1: -2 x + (1 - x)   = 1 - 3 x   -> [[-2, 1], [-0.5, 0.25]], and ReLU.
    expected = [[[0.5, 1.0], [0.75, 0.875]], [[0.0, 1.0], [0.0, 0.25]]]
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_map_of_given_gradients_by_hand():
    features = tf.constant([[[[1.0, 2.0], [3.0, 1.0]]]])
    gradients = tf.constant([[[[1.0, -1.0], [3.0, 0.0]]]])
    # Channel weights (1 + 3)/2 = 2 and (-1 + 0)/2 = -0.5; cells 2 - 1 = 1 and 6 - 0.5 = 5.5.
    np.testing.assert_allclose(grad_cam_map(features, gradients), [[[1.0, 5.5]]])
    np.testing.assert_allclose(grad_cam_map(features, -gradients), [[[0.0, 0.0]]])


def test_signed_maps_of_pooled_networks_sum_to_the_logit_less_its_bias():
    # By hand: class 1 of the map 1 - 3 x above sums to 4 - 3 * 1.75 = -1.25; its logit is
    # -8 m1 + 4 m2 at the means m1 = 1.75/4, m2 = 1 - m1: -3.5 + 2.25 = -1.25.
    image = np.array([[1.0, 0.0], [0.5, 0.25]], np.float32).reshape(1, 2, 2, 1)
    by_hand = Classifier.from_keras(network_by_hand())
    _, *parts = class_gradients(by_hand, tf.constant(image), tf.constant([1]))
    np.testing.assert_allclose(tf.reduce_sum(signed_grad_cam_map(*parts)), -1.25)

    network = batch_norm_network()
    bias = np.array([0.5, -1.0, 2.0], np.float32)
    network.get_layer("scores").bias.assign(bias)
    images, classes = tf.constant(random_images(3)), tf.constant([2, 0, 1])
    logits, *parts = class_gradients(Classifier.from_keras(network, "norm2"), images, classes)
    sums = tf.reduce_sum(signed_grad_cam_map(*parts), axis=(1, 2))
    np.testing.assert_allclose(sums, class_scores(logits, classes) - bias[[2, 0, 1]], atol=1e-5)


def test_softmax_map_by_hand():
    features = tf.constant([[[[1.0, 2.0], [3.0, 1.0]]]])
    gradients = tf.constant([[[[1.0, -1.0], [3.0, 1.0]]]])
    # Mean square (1 + 1 + 9 + 1)/4 = 3. Weights (4/2, 0/2)/sqrt(3); cells (2, 6)/sqrt(3), whose
    # softmax is sigmoid(-+ 4/sqrt(3)).
    second = 1 / (1 + np.exp(-4 / np.sqrt(3)))
    maps = softmax_grad_cam_map(features, gradients)
    np.testing.assert_allclose(maps, [[[1 - second, second]]], rtol=1e-6)


def test_softmax_maps_have_one_scale_and_sum_to_one():
    rng = np.random.default_rng(0)
    features, gradients = rng.normal(size=(2, 3, 5, 4, 2)).astype("float32")
    maps = softmax_grad_cam_map(features, gradients)
    np.testing.assert_allclose(tf.reduce_sum(maps, (1, 2)), np.ones(3), rtol=1e-5)
    # The root mean square runs over the batch, so a factor common to all gradients has no effect
    # and one of a single example has.
    np.testing.assert_allclose(softmax_grad_cam_map(features, gradients * 7), maps, rtol=1e-4)
    gradients[0] *= 7
    assert np.abs(softmax_grad_cam_map(features, gradients)[1] - maps[1]).max() > 1e-3


def test_zero_gradients_give_a_flat_softmax_map():
    zeros = tf.zeros((1, 2, 2, 3))
    np.testing.assert_allclose(softmax_grad_cam_map(zeros + 1, zeros), np.full((1, 2, 2), 0.25))


def test_class_scores_pick_one_logit_per_example():
    logits = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    assert class_scores(logits, tf.constant([1, 0])).numpy().tolist() == [2.0, 3.0]


def test_gradients_of_target_classes_by_hand():
    classifier = Classifier.from_keras(network_by_hand())
    images = tf.reshape(tf.constant([0.9] * 4 + [0.1] * 4), (2, 2, 2, 1))
    # Logits 2 m + 4 (1 - m) = 4 - 2 m and -8 m + 4 (1 - m) = 4 - 12 m: class 0 is predicted.
    chosen = {
        "given": tf.constant([1, 0]),
        "chosen": lambda logits: tf.cast(logits[:, 1] < 0, tf.int32),
    }
    for class_ids in chosen.values():
        logits, features, gradients = class_gradients(classifier, images, class_ids)
        np.testing.assert_allclose(logits, [[2.2, -6.8], [3.8, 2.8]], rtol=1e-6)
        np.testing.assert_allclose(features[0, 0, 0], [0.9, 0.1], rtol=1e-6)
        np.testing.assert_allclose(gradients[0], np.tile([-2.0, 1.0], (2, 2, 1)))
        np.testing.assert_allclose(gradients[1], np.tile([0.5, 1.0], (2, 2, 1)))
    predicted = class_gradients(classifier, images, None).gradients
    np.testing.assert_allclose(predicted, np.tile([0.5, 1.0], (2, 2, 2, 1)))


@pytest.mark.parametrize("layer", ["conv", "pool"])
def test_maps_equal_plain_keras(layer):
    model = small_network()
    both = keras.Model(model.inputs[0], [model.get_layer(layer).output, model.outputs[0]])
    images, class_ids = random_images(5), np.array([0, 1, 2, 1, 0])
    with tf.GradientTape() as tape:
        features, logits = both(images)
        tape.watch(features)
        scores = tf.reduce_sum(logits * tf.one_hot(class_ids, 3))
    gradients = tape.gradient(scores, features).numpy()
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    expected = np.maximum((weights * features.numpy()).sum(axis=-1), 0)
    maps = grad_cam(Classifier.from_keras(model, layer), images, class_ids)
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert expected.max() > 0.01


def test_each_map_depends_on_its_own_image_only():
    classifier = Classifier.from_keras(small_network())
    images = random_images(5)
    maps = grad_cam(classifier, images, [0, 1, 2, 1, 0])
    alone = grad_cam(classifier, images[3:4], [1])
    np.testing.assert_allclose(maps[3:4], alone, atol=1e-6)


def test_half_precision_networks_give_float32_maps_near_the_exact_ones():
    exact, rounded = small_network(), small_network(dtype="mixed_bfloat16")
    rounded.set_weights(exact.get_weights())
    images = random_images(5)
    expected = grad_cam(Classifier.from_keras(exact), images, [0, 1, 2, 1, 0])
    maps = grad_cam(Classifier.from_keras(rounded), images, [0, 1, 2, 1, 0])
    assert maps.dtype == tf.float32
    # bfloat16 carries 8 bits; a few roundings of that size.
    np.testing.assert_allclose(maps, expected, atol=0.03 * np.max(expected))


def test_one_trace_whatever_the_batch_size():
    classifier = Classifier.from_keras(small_network())
    for size in (4, 1, 3):
        grad_cam(classifier, random_images(size), np.zeros(size, int))
        grad_cam(classifier, tf.constant(random_images(size)), tf.zeros(size, tf.int64))
    assert compiled_attention_maps(classifier).experimental_get_tracing_count() == 1


def test_explaining_changes_no_variable():
    model = small_network(middle=[layers.BatchNormalization(), layers.Dropout(0.5)])
    before = bytes_of(model.variables)
    grad_cam(Classifier.from_keras(model), random_images(), [0, 1, 2, 0])
    assert bytes_of(model.variables) == before


@pytest.mark.parametrize(
    ("images", "class_ids", "error", "message"),
    [
        (random_images() * 255, [0] * 4, ValueError, "divide by 255"),
        (np.zeros((4, 9, 9, 1), np.float32), [0] * 4, ValueError, r"\[batch, 8, 8, 1\]"),
        (random_images(), [0, 1, 2, 3], ValueError, r"class_ids must lie in \[0, 3\)"),
        (random_images(), [0.5] * 4, ValueError, "class_ids must be whole numbers"),
        (random_images(), [0] * 3, ValueError, r"class_ids .* one entry per image \(4\), got 3"),
    ],
)
def test_bad_input(images, class_ids, error, message):
    classifier = Classifier.from_keras(small_network())
    with pytest.raises(error, match=message):
        grad_cam(classifier, images, class_ids)
