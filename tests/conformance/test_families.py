"""Every family of `keras.applications` through the whole chain, against Keras on its own.

Weights are random: what is compared is the same network without its final softmax, differentiated
by a tape.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import fgsm
from aad_tf.attention import grad_cam
from aad_tf.attention.grad_cam import class_gradients
from aad_tf.classifier import Classifier
from aad_tf.defenses import AADModel
from aad_tf.types import Bounds
from tests.networks import random_images

applications = keras.applications
UNIT, BYTES = Bounds(0.0, 1.0), Bounds(0.0, 255.0)
LABELS, CLASSES = np.array([0, 2]), 3


class Family(NamedTuple):
    """A network, the smallest side of its images, and its attention layer at that and more.

    Attributes:
        build: from `keras.applications`.
        side: of the smallest images that it takes.
        small: attention layer for these. A layer of one cell shows nothing, so it may be an
            earlier one.
        usual: attention layer for images of the usual size, the last one before pooling.
        usual_side: of these.
        grid: `(h, w, channels)` of `usual`.
        bounds: pixels that its preprocessing takes.
        options: for `build`.
    """

    build: type
    side: int
    small: str
    usual: str
    usual_side: int
    grid: tuple[int, int, int]
    bounds: Bounds = UNIT
    options: dict = {}


FAMILIES = {
    "VGG16": Family(applications.VGG16, 32, "?", "block5_pool", 224, (7, 7, 512)),
    "ResNet50": Family(applications.ResNet50, 32, "?", "conv5_block3_out", 224, (7, 7, 2048)),
    "ResNet50V2": Family(applications.ResNet50V2, 32, "?", "post_relu", 224, (7, 7, 2048)),
    "Xception": Family(applications.Xception, 71, "?", "block14_sepconv2_act", 299, (10, 10, 2048)),
    "InceptionV3": Family(applications.InceptionV3, 75, "?", "mixed10", 299, (8, 8, 2048)),
    "InceptionResNetV2": Family(
        applications.InceptionResNetV2, 75, "?", "conv_7b_ac", 299, (8, 8, 1536)
    ),
    "MobileNet": Family(applications.MobileNet, 32, "?", "conv_pw_13_relu", 224, (7, 7, 1024)),
    "MobileNetV2": Family(applications.MobileNetV2, 32, "?", "out_relu", 224, (7, 7, 1280)),
    "MobileNetV3Small": Family(
        applications.MobileNetV3Small, 32, "?", "?", 224, (7, 7, 576), BYTES
    ),
    "MobileNetV3Large": Family(
        applications.MobileNetV3Large, 32, "?", "?", 224, (7, 7, 960), BYTES
    ),
    "DenseNet121": Family(applications.DenseNet121, 32, "?", "relu", 224, (7, 7, 1024)),
    "NASNetMobile": Family(applications.NASNetMobile, 32, "?", "?", 224, (7, 7, 1056)),
    "EfficientNetB0": Family(
        applications.EfficientNetB0, 32, "?", "top_activation", 224, (7, 7, 1280), BYTES
    ),
    "EfficientNetV2B0": Family(
        applications.EfficientNetV2B0, 32, "?", "top_activation", 224, (7, 7, 1280), BYTES
    ),
    "EfficientNetV2S": Family(
        applications.EfficientNetV2S, 32, "?", "top_activation", 224, (7, 7, 1280), BYTES
    ),
    "ConvNeXtTiny": Family(applications.ConvNeXtTiny, 32, "?", "?", 224, (7, 7, 768), BYTES),
}


def built(family: Family, side: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    return family.build(
        weights=None, input_shape=(side, side, 3), classes=CLASSES, **family.options
    )


def wrapped(family: Family, network: keras.Model) -> Classifier:
    """Of which no warning is given: bounds are right, and all goes through its attention layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Classifier.from_keras(network, bounds=family.bounds)


def images_for(family: Family, side: int) -> np.ndarray:
    return family.bounds.upper * random_images(len(LABELS), (side, side, 3))


class Expected(NamedTuple):
    """What Keras gives for the network without its softmax: values, and gradients by a tape."""

    logits: np.ndarray
    features: np.ndarray
    feature_gradients: np.ndarray
    image_gradients: np.ndarray


def expected(network: keras.Model, attention_layer: str, images: np.ndarray) -> Expected:
    last = network.layers[-1]
    outputs = [network.get_layer(attention_layer).output, last.input]
    images = tf.constant(images)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        features, scores = keras.Model(network.input, outputs)(images)
        # The softmax is that of a dense layer, or a layer of its own.
        dense = isinstance(last, keras.layers.Dense)
        logits = scores @ last.kernel + last.bias if dense else scores
        of_labels = tf.gather(logits, LABELS, axis=1, batch_dims=1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits)
    gradients = tape.gradient(of_labels, features), tape.gradient(losses, images)
    np.testing.assert_allclose(tf.nn.softmax(logits), network(images), atol=1e-6)
    return Expected(*(each.numpy() for each in (logits, features, *gradients)))


def assert_close(found, wanted, tolerance=1e-3):
    """Up to a share of the largest; deep networks sum up in another order when compiled."""
    assert np.abs(wanted).max() > 0
    np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max())


def check_features_and_gradients(classifier, wanted, images):
    logits, features, gradients = class_gradients(classifier, tf.constant(images), LABELS)
    assert_close(logits, wanted.logits)
    assert_close(features, wanted.features)
    assert_close(gradients, wanted.feature_gradients)


# One of each kind that differs in operations: depthwise convolution, swish and squeeze-excitation,
# and layer normalization with scales.
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "ConvNeXtTiny"])
def test_features_and_gradients(name):
    family = FAMILIES[name]
    network, images = built(family, family.side), images_for(family, family.side)
    classifier = wrapped(family, network)
    assert classifier.attention_layer == family.small
    wanted = expected(network, family.small, images)
    check_features_and_gradients(classifier, wanted, images)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_the_usual_size(name):
    family = FAMILIES[name]
    network = built(family, family.usual_side)
    assert wrapped(family, network).attention_layer == family.usual
    assert network.get_layer(family.usual).output.shape[1:] == family.grid


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_whole_chain(name, tmp_path):
    family = FAMILIES[name]
    network, images = built(family, family.side), images_for(family, family.side)
    classifier = wrapped(family, network)
    assert classifier.attention_layer == family.small
    wanted = expected(network, family.small, images)

    check_features_and_gradients(classifier, wanted, images)
    weights = wanted.feature_gradients.mean(axis=(1, 2), keepdims=True)
    maps = np.maximum(0.0, np.sum(weights * wanted.features, axis=-1))
    signed = np.abs(np.sum(weights * wanted.features, axis=-1)).max()
    np.testing.assert_allclose(grad_cam(classifier, images, LABELS), maps, atol=1e-3 * signed)

    width = family.bounds.upper
    attacked = fgsm(0.02 * width)(classifier, images, LABELS).numpy()
    steps = 0.02 * width * np.sign(wanted.image_gradients)
    # Signs of the smallest gradients are those of rounding.
    clear = np.abs(wanted.image_gradients) > 1e-2 * np.abs(wanted.image_gradients).mean()
    assert clear.mean() > 0.9
    np.testing.assert_allclose(
        attacked[clear], np.clip(images + steps, 0, width)[clear], atol=1e-5 * width
    )

    attack = f"step_ll(epsilon={0.02 * width}, num_steps=2)"
    model = AADModel(classifier, attack=attack)
    model.compile(keras.optimizers.SGD(1e-3))
    before = [variable.numpy() for variable in model.trainable_variables]
    history = model.fit(images, LABELS, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    moved = [
        np.abs(variable - kept).max()
        for variable, kept in zip(model.trainable_variables, before, strict=True)
    ]
    assert np.isfinite(moved).all() and max(moved) > 0

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.classifier.attention_layer == loaded.network.get_layer(family.small).name
    assert loaded.classifier.bounds == family.bounds
    np.testing.assert_array_equal(loaded.network(images), model.network(images))
