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


raw = tf.raw_ops
FLAT = np.ones((2, 3), "float32")
CHANNELS = np.ones(3, "float32")
WINDOW = {"strides": [1] * 4, "padding": "VALID"}
# One call of each operation that is held to pass gradients on; x is [2, 6, 6, 3].
PASSING = {
    "Add": lambda x: raw.Add(x=x, y=x),
    "AddN": lambda x: raw.AddN(inputs=[x, x]),
    "AddV2": lambda x: raw.AddV2(x=x, y=x),
    "AvgPool": lambda x: raw.AvgPool(value=x, ksize=[1, 2, 2, 1], **WINDOW),
    "BatchMatMulV2": lambda x: raw.BatchMatMulV2(x=x, y=x, adj_y=True),
    "BiasAdd": lambda x: raw.BiasAdd(value=x, bias=CHANNELS),
    "Cast": lambda x: raw.Cast(x=x, DstT=tf.bfloat16),
    "ConcatV2": lambda x: raw.ConcatV2(values=[x, x], axis=3),
    "Conv2D": lambda x: raw.Conv2D(input=x, filter=np.ones((2, 2, 3, 4), "float32"), **WINDOW),
    "Conv2DBackpropInput": lambda x: raw.Conv2DBackpropInput(
        input_sizes=[2, 7, 7, 4],
        filter=np.ones((2, 2, 4, 3), "float32"),
        out_backprop=x,
        **WINDOW,
    ),
    "DepthwiseConv2dNative": lambda x: raw.DepthwiseConv2dNative(
        input=x, filter=np.ones((2, 2, 3, 1), "float32"), **WINDOW
    ),
    "Einsum": lambda x: raw.Einsum(inputs=[x, FLAT], equation="bhwc,dc->bhwd"),
    "Elu": lambda x: raw.Elu(features=x),
    "Erf": lambda x: raw.Erf(x=x),
    "Erfc": lambda x: raw.Erfc(x=x),
    "Exp": lambda x: raw.Exp(x=x),
    "ExpandDims": lambda x: raw.ExpandDims(input=x, axis=1),
    "FusedBatchNormV3": lambda x: (
        raw.FusedBatchNormV3(
            x=x,
            scale=CHANNELS,
            offset=CHANNELS,
            mean=CHANNELS,
            variance=CHANNELS,
            is_training=False,
        ).y
    ),
    "Identity": lambda x: raw.Identity(input=x),
    "LeakyRelu": lambda x: raw.LeakyRelu(features=x),
    "MatMul": lambda x: raw.MatMul(a=tf.reshape(x, (-1, 3)), b=FLAT, transpose_b=True),
    "Max": lambda x: raw.Max(input=x, axis=[1, 2]),
    "MaxPool": lambda x: raw.MaxPool(input=x, ksize=[1, 2, 2, 1], **WINDOW),
    "Maximum": lambda x: raw.Maximum(x=x, y=CHANNELS),
    "Mean": lambda x: raw.Mean(input=x, axis=[1, 2]),
    "Minimum": lambda x: raw.Minimum(x=x, y=CHANNELS),
    "MirrorPad": lambda x: raw.MirrorPad(input=x, paddings=[[0, 0]] + [[1, 1]] * 3, mode="REFLECT"),
    "Mul": lambda x: raw.Mul(x=x, y=CHANNELS),
    "Neg": lambda x: raw.Neg(x=x),
    "Pad": lambda x: raw.Pad(input=x, paddings=[[0, 0]] + [[1, 1]] * 3),
    "RealDiv": lambda x: raw.RealDiv(x=x, y=CHANNELS),
    "Relu": lambda x: raw.Relu(features=x),
    "Relu6": lambda x: raw.Relu6(features=x),
    "Reshape": lambda x: raw.Reshape(tensor=x, shape=[-1]),
    "Rsqrt": lambda x: raw.Rsqrt(x=x),
    "Sigmoid": lambda x: raw.Sigmoid(x=x),
    "Softmax": lambda x: raw.Softmax(logits=x),
    "Softplus": lambda x: raw.Softplus(features=x),
    "Sqrt": lambda x: raw.Sqrt(x=x),
    "Square": lambda x: raw.Square(x=x),
    "SquaredDifference": lambda x: raw.SquaredDifference(x=x, y=CHANNELS),
    "Squeeze": lambda x: raw.Squeeze(input=x[..., :1], axis=[3]),
    "StridedSlice": lambda x: x[:, 1:, ::2],
    "Sub": lambda x: raw.Sub(x=x, y=CHANNELS),
    "Sum": lambda x: raw.Sum(input=x, axis=[1, 2]),
    "Tanh": lambda x: raw.Tanh(x=x),
    "Transpose": lambda x: raw.Transpose(x=x, perm=[0, 3, 1, 2]),
}


def test_every_operation_that_passes_gradients_on_is_shown_to_do_so():
    assert set(PASSING) == set(second_order._PASS_GRADIENTS_ON)


@pytest.mark.parametrize("kind", PASSING)
def test_operations_pass_gradients_on(kind):
    with tf.Graph().as_default():
        operation = PASSING[kind](tf.compat.v1.placeholder(tf.float32, (2, 6, 6, 3))).op
        assert operation.type == kind
        read = [each for each in second_order._inputs(operation) if each.dtype.is_floating]
        assert read and None not in tf.gradients(operation.outputs[0], read)


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
