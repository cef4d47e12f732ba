"""Gradients of losses on attention maps against central finite differences, in float64.

Grad-CAM is a first derivative, so these are second derivatives. The networks use smooth
activations, because a difference quotient across a kink says nothing about the derivative. Kinks
that stay (ReLU of the map, |.| of the l1 distance, max-pooling, the ReLU networks) are harmless:
random float64 values lie many steps of 1e-6 away from them, and the tests would fail otherwise.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import step_ll
from aad_tf.attention.areas import mask_out
from aad_tf.attention.grad_cam import class_gradients
from aad_tf.defenses import AADModel
from aad_tf.losses import AADLosses
from tests.networks import random_images

layers = keras.layers
SHAPE = (7, 7, 2)
STEP = 1e-6
SEED = 7  # With some, a map is zero everywhere and so has no gradient.
TOLERANCE = 1e-5
ENTRIES = 8


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
    # Layers made earlier in this process fixed the policy, which set_floatx leaves alone.
    keras.config.set_dtype_policy("float64")
    try:
        first = [
            layers.Conv2D(3, 3, activation="softplus"),
            layers.Conv2D(4, 2, activation="tanh", name="explained"),
        ]
        network = keras.Sequential([keras.Input(SHAPE), *first, *HEADS[head]()])
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)
    losses = AADLosses.preset(losses).replace(**parts)
    return AADModel(network, attack=step_ll(0.05, 2), attention_layer="explained", losses=losses)


def batch():
    """Clean images, labels, and two rounds of stand-ins for attacked images."""
    images = tf.constant(random_images(3, SHAPE, dtype="float64"))
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, size=(2, *images.shape))
    return images, tf.constant([0, 1, 2]), images + noise


def check_gradient(loss, variables, value=None, compiled=False) -> None:
    """Compares gradients by every variable with central differences, at a sample of entries."""

    def gradient():
        with tf.GradientTape() as tape:
            value = loss()
        sources = [variable.value for variable in variables]
        return tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    # Op by op a single gradient takes less time than compiling it.
    gradient = tf.function(gradient, autograph=False) if compiled else gradient
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


# What the heads do to a map is seen above; here each loss is seen once, and each kind of head.
@pytest.mark.parametrize(
    ("head", "losses"),
    [
        ("dense", "balanced"),
        ("max pooling, conv", "paper"),
        ("max pooling, conv", "reference_code"),
        ("batch normalization", "balanced"),
        ("batch normalization", "reference_code"),
    ],
)
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
        labels = tf.tile(arguments[1], [3])
        _, features, gradients = class_gradients(model.classifier, images, labels, training)
        maps = model.parts.attention_maps(features, gradients)
        return mask_out(tf.ones_like(images), maps, model.parts.threshold)

    def watched():
        masks.append(masked().numpy().tobytes())
        return value()

    value = tf.function(loss, autograph=False)
    check_gradient(loss, model.trainable_variables, value=watched, compiled=True)
    assert len(set(masks)) == 1
