"""Gradients of losses on attention maps against central finite differences, in float64.

Grad-CAM is a first derivative, so these are second derivatives. The networks use smooth
activations, because a difference quotient across a kink says nothing about the derivative. Kinks
that stay (ReLU of the map, |.| of the l1 distance, max-pooling, the ReLU networks) are harmless:
random float64 values lie many steps of 1e-6 away from them, and the tests would fail otherwise.
"""

from __future__ import annotations

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import second_order
from aad_tf.attacks import step_ll
from aad_tf.attention.areas import mask_out
from aad_tf.defenses import AADModel
from aad_tf.losses import AADLosses
from tests.networks import random_images

layers = keras.layers
SHAPE = (7, 7, 2)
STEP = 1e-6
SEED = 4  # With some, a map is zero everywhere and so has no gradient.
TOLERANCE = 1e-5
ENTRIES = 16


def convolution(filters, size, **options):
    return layers.Conv2D(filters, size, activation="softplus", **options)


def dense_head(activation="softplus"):
    return [layers.Flatten(), layers.Dense(8, activation=activation), layers.Dense(3)]


# What stands between the attention layer, a convolution, and the logits.
HEADS = {
    "dense": dense_head,
    "dense relu": lambda: dense_head("relu"),
    "global pooling": lambda: [layers.GlobalAveragePooling2D(), layers.Dense(3)],
    "max pooling, conv": lambda: [layers.MaxPooling2D(2), convolution(3, 2), *dense_head()],
    "average pooling, conv": lambda: [layers.AveragePooling2D(2), convolution(3, 2), *dense_head()],
    "conv, max pooling": lambda: [convolution(3, 2), layers.MaxPooling2D(2), *dense_head()],
    "relu conv, pooling": lambda: [
        layers.Conv2D(4, 2, activation="relu"),
        layers.MaxPooling2D(2),
        *dense_head("relu"),
    ],
    "depthwise, gelu": lambda: [layers.DepthwiseConv2D(2, activation="gelu"), *dense_head("silu")],
    "nearest upsampling": lambda: [layers.UpSampling2D(2), convolution(3, 3), *dense_head()],
    "transposed conv": lambda: [layers.Conv2DTranspose(3, 2, strides=2), *dense_head()],
    "batch normalization": lambda: [layers.BatchNormalization(), convolution(3, 2), *dense_head()],
    "layer normalization": lambda: [layers.LayerNormalization(), *dense_head()],
    "group normalization": lambda: [layers.GroupNormalization(2), *dense_head()],
}


def defense(head, losses="balanced", **parts) -> AADModel:
    """AAD on a float64 network: two convolutions, the second explained, then the head."""
    keras.utils.set_random_seed(SEED)
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        first = [layers.Conv2D(3, 3, activation="softplus"), layers.Conv2D(4, 2, activation="tanh", name="explained")]
        network = keras.Sequential([keras.Input(SHAPE), *first, *HEADS[head]()])
    finally:
        keras.config.set_floatx(before)
    losses = AADLosses.preset(losses).replace(**parts)
    return AADModel(network, attack=step_ll(0.05, 2), attention_layer="explained", losses=losses)


def batch():
    """Clean images, labels, and two rounds of stand-ins for attacked images."""
    images = tf.constant(random_images(3, SHAPE, dtype="float64"))
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, size=(2, *images.shape))
    return images, tf.constant([0, 1, 2]), images + noise


def check_gradient(loss, variables, value=None) -> None:
    """Compares gradients by every variable with central differences, at a sample of entries."""

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            value = loss()
        sources = [variable.value for variable in variables]
        return tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    exact = [each.numpy() for each in gradient()]
    value = value or tf.function(loss, autograph=False)
    scale = np.linalg.norm([np.linalg.norm(each) for each in exact])
    assert scale > 1e-7
    for variable, ours in zip(variables, exact, strict=True):
        sample = np.random.default_rng(0).permutation(ours.size)[:ENTRIES]
        theirs = np.array([difference(value, variable, index) for index in sample])
        # An output bias moves no logit's gradient: such a zero is compared with the others' size.
        error = np.linalg.norm(ours.ravel()[sample] - theirs)
        error /= max(np.linalg.norm(theirs), 1e-3 * scale)
        assert error < TOLERANCE, f"{variable.path}: relative error {error:.1e}"


def difference(loss, variable, index) -> float:
    """Central difference quotient by one entry of a variable."""
    kept, ends = variable.numpy(), []
    for step in (STEP, -STEP):
        moved = kept.copy()
        moved.ravel()[index] += step
        variable.assign(moved)
        ends.append(loss().numpy())
    variable.assign(kept)
    return (ends[0] - ends[1]) / (2 * STEP)


# Batch normalization is another function in training.
IN_TRAINING = [("batch normalization", True)]


@pytest.mark.parametrize(("head", "training"), [(head, False) for head in HEADS] + IN_TRAINING)
def test_preservation_loss(head, training):
    model = defense(head)
    arguments = batch()

    def loss():
        terms, _ = model.training_losses(*arguments, training)
        return tf.reduce_mean(terms["preservation_loss"])

    check_gradient(loss, model.trainable_variables)


@pytest.mark.parametrize(
    "parts",
    [
        {"normalized_maps": False},
        {"preservation": "l2"},
        {"preservation": "squared_sum", "full_size_maps": True},
        {"maps": "softmax_grad_cam", "normalized_maps": False, "preservation": "squared_mean"},
    ],
    ids=lambda parts: ", ".join(f"{name}={value}" for name, value in parts.items()),
)
def test_preservation_loss_of_other_maps_and_distances(parts):
    model = defense("max pooling, conv", **parts)
    arguments = batch()

    def loss():
        terms, _ = model.training_losses(*arguments, False)
        return tf.reduce_mean(terms["preservation_loss"])

    check_gradient(loss, model.trainable_variables)


@pytest.mark.parametrize("head", ["dense", "max pooling, conv", "batch normalization"])
@pytest.mark.parametrize("losses", ["balanced", "paper", "reference_code"])
def test_whole_aad_loss_with_frozen_masks(head, losses):
    # Masks are constants to the gradient. They are steps in the weights, so the difference is
    # that of frozen masks as long as no cell crosses its threshold; the last line checks that.
    model = defense(head, losses)
    arguments = batch()
    masks = []

    def loss():
        terms, _ = model.training_losses(*arguments, head == "batch normalization")
        return tf.reduce_mean(terms["loss"])

    @tf.function(autograph=False)
    def masked():
        images = tf.concat([arguments[0], *tf.unstack(arguments[2])], axis=0)
        training = head == "batch normalization"
        _, maps = model._logits_and_maps(images, tf.tile(arguments[1], [3]), training)
        return mask_out(tf.ones_like(images), maps, model.parts.threshold)

    def watched():
        masks.append(masked().numpy().tobytes())
        return value()

    value = tf.function(loss, autograph=False)
    check_gradient(loss, model.trainable_variables, value=watched)
    assert len(set(masks)) == 1


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
    # If this fails after an update of TensorFlow, the operation can leave the list.
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
    assert tf.nn.moments is not second_order._moments
