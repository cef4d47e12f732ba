"""That TensorFlow's second derivatives fail where they are refused or corrected.

If one of these tests fails after an update of TensorFlow, an operation can leave the list of
refused ones, or the correction of the moments is no longer needed.
"""

from __future__ import annotations

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.classifier import second_order
from tests.networks import random_images

# One layer of each kind that Classifier.from_keras refuses, and how TensorFlow fails there.
RAISES, WRONG = "raises", "silently wrong"
REFUSED = {
    "ResizeBilinear": (lambda z: tf.image.resize(z, (9, 9)), WRONG),
    "ResizeNearestNeighbor": (lambda z: tf.image.resize(z, (9, 9), "nearest"), RAISES),
    "ResizeBicubic": (lambda z: tf.image.resize(z, (9, 9), "bicubic"), RAISES),
    "ResizeArea": (lambda z: tf.image.resize(z, (9, 9), "area"), RAISES),
    "ScaleAndTranslate": (lambda z: tf.image.resize(z, (9, 9), "lanczos3"), RAISES),
    "CropAndResize": (
        lambda z: tf.image.crop_and_resize(z, tf.constant([[0.0, 0.0, 0.8, 0.8]]), [0], (4, 4)),
        RAISES,
    ),
    "ImageProjectiveTransformV3": (
        lambda z: keras.ops.image.affine_transform(z, tf.constant(SHEAR)),
        WRONG,
    ),
    "LRN": (tf.nn.local_response_normalization, RAISES),
    "FractionalMaxPool": (
        lambda z: tf.nn.fractional_max_pool(z, [1.0, 1.5, 1.5, 1.0], seed=1)[0],
        RAISES,
    ),
    "FractionalAvgPool": (
        lambda z: tf.nn.fractional_avg_pool(z, [1.0, 1.5, 1.5, 1.0], seed=1)[0],
        RAISES,
    ),
    "MaxPoolWithArgmax": (lambda z: tf.nn.max_pool_with_argmax(z, 2, 2, "VALID")[0], RAISES),
    "Dilation2D": (
        lambda z: tf.nn.dilation2d(z, FILTER, [1] * 4, "VALID", "NHWC", [1] * 4),
        RAISES,
    ),
    "Softsign": (tf.nn.softsign, RAISES),
}
SHEAR = [[1.0, 0.1, 0.0, 0.0, 1.0, 0.2, 0.0, 0.0]]
FILTER = np.linspace(0.1, 0.5, 12).reshape(2, 2, 3).astype("float32")


def test_every_refused_operation_is_shown_to_need_it():
    assert set(REFUSED) == set(second_order.UNSAFE_SECOND_ORDER_OPS)


@pytest.mark.parametrize("operation", REFUSED)
def test_refused_operations_still_need_refusing(operation):
    function, failure = REFUSED[operation]
    features = tf.constant(random_images(1, (6, 6, 3)))
    direction = tf.constant(np.random.default_rng(1).normal(size=features.shape), tf.float32)
    mixing = np.random.default_rng(2).normal(size=(3, 3)).astype("float32")

    def slope(mixing):
        """Derivative of a smooth score by the features, along one direction."""
        with tf.GradientTape() as tape:
            mixed = tf.tanh(tf.tensordot(features, mixing, 1))
            tape.watch(mixed)
            score = tf.reduce_sum(tf.tanh(function(mixed)) ** 2)
        return tf.reduce_sum(tape.gradient(score, mixed) * direction)

    def second():
        weights = tf.constant(mixing)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = slope(weights)
        return tape.gradient(value, weights, unconnected_gradients="zero")

    graph_has = tf.function(function).get_concrete_function(tf.TensorSpec(features.shape))
    assert operation in {each.type for each in graph_has.graph.get_operations()}
    if failure == RAISES:
        with pytest.raises((LookupError, TypeError)):
            second()
        return
    step = np.float32(1e-2) * np.sign(mixing)
    expected = (slope(mixing + step) - slope(mixing - step)).numpy() / 2e-2
    found = np.sum(second() * np.sign(mixing))
    # float32 and a wide step leave an error of some 1e-3; the derivative is off by far more.
    assert abs(found - expected) > 0.05 * abs(expected)


def test_moments_as_tensorflow_has_them_are_wrong_at_second_order():
    # The variance of two values (a, b) is (a - b)^2 / 4: second derivative by a is 1/2. With the
    # mean held still it is that of ((a - m)^2 + ...) / 2, which is 1.
    def second_derivative(context):
        with context, tf.GradientTape() as outer:
            outer.watch(VALUES)
            with tf.GradientTape() as inner:
                inner.watch(VALUES)
                variance = tf.nn.moments(VALUES, [0])[1]
            first = inner.gradient(variance, VALUES)[0]
        return first.numpy(), outer.gradient(first, VALUES)[0].numpy()

    assert second_derivative(contextlib.nullcontext()) == (-0.5, 1.0)
    assert second_derivative(second_order.exact_moments()) == (-0.5, 0.5)


VALUES = tf.constant([1.0, 2.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_corrected_moments_have_the_same_values(dtype, keepdims):
    values = tf.cast(random_images(2, (3, 4, 2)), dtype)
    theirs = tf.nn.moments(values, [0, 1, 2], keepdims=keepdims)
    with second_order.exact_moments():
        ours = tf.nn.moments(values, [0, 1, 2], keepdims=keepdims)
    for our, their in zip(ours, theirs, strict=True):
        assert (our.dtype, our.shape) == (their.dtype, their.shape)
        np.testing.assert_array_equal(our, their)
