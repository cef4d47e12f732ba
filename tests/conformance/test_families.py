"""Every family of `keras.applications` through the whole chain, against Keras on its own.

Weights are random: what is compared is the same network without its final softmax, differentiated
by a tape.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.applications.convnext import ConvNeXt
from keras.src.applications.efficientnet import EfficientNet

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
    """A network, and the layer that maps explain for the smallest and for usual images.

    Attributes:
        build: from `keras.applications`.
        side: of the smallest images that it takes.
        small: attention layer for these, by name or by its place in the network. Of one cell
            nothing is seen, so it is often not the last one.
        usual_side: of images of the usual size.
        usual: attention layer for these, the last one before pooling.
        grid: `(h, w, channels)` of `usual`.
        bounds: pixels that its preprocessing takes.
        goes_past: whether, of the smallest images, part goes past the layer, as a warning says.
    """

    build: Callable[..., keras.Model]
    side: int
    small: str | int
    usual_side: int
    usual: str | int
    grid: tuple[int, int, int]
    bounds: Bounds = UNIT
    goes_past: bool = False


FAMILIES = {
    "VGG16": Family(applications.VGG16, 32, "block5_conv3", 224, "block5_pool", (7, 7, 512)),
    "ResNet50": Family(
        applications.ResNet50, 32, "conv4_block6_out", 224, "conv5_block3_out", (7, 7, 2048)
    ),
    "ResNet50V2": Family(
        applications.ResNet50V2,
        32,
        "conv4_block5_out",
        224,
        "post_relu",
        (7, 7, 2048),
        goes_past=True,
    ),
    "Xception": Family(
        applications.Xception,
        71,
        "block14_sepconv2_act",
        299,
        "block14_sepconv2_act",
        (10, 10, 2048),
    ),
    "InceptionV3": Family(
        applications.InceptionV3, 75, "mixed7", 299, "mixed10", (8, 8, 2048), goes_past=True
    ),
    "InceptionResNetV2": Family(
        applications.InceptionResNetV2,
        75,
        "block17_20_ac",
        299,
        "conv_7b_ac",
        (8, 8, 1536),
        goes_past=True,
    ),
    "MobileNet": Family(
        applications.MobileNet, 32, "conv_pw_11_relu", 224, "conv_pw_13_relu", (7, 7, 1024)
    ),
    "MobileNetV2": Family(
        applications.MobileNetV2, 32, "block_13_expand_relu", 224, "out_relu", (7, 7, 1280)
    ),
    "MobileNetV3Small": Family(applications.MobileNetV3Small, 32, -59, 224, -8, (7, 7, 576), BYTES),
    "MobileNetV3Large": Family(applications.MobileNetV3Large, 32, -59, 224, -8, (7, 7, 960), BYTES),
    "DenseNet121": Family(applications.DenseNet121, 32, "pool4_conv", 224, "relu", (7, 7, 1024)),
    # Each of its cells reads the two cells before it.
    "NASNetMobile": Family(
        applications.NASNetMobile, 32, "stem_bn1", 224, -3, (7, 7, 1056), goes_past=True
    ),
    "EfficientNetB0": Family(
        applications.EfficientNetB0,
        32,
        "block6a_expand_activation",
        224,
        "top_activation",
        (7, 7, 1280),
        BYTES,
    ),
    "EfficientNetV2B0": Family(
        applications.EfficientNetV2B0,
        32,
        "block6a_expand_activation",
        224,
        "top_activation",
        (7, 7, 1280),
        BYTES,
    ),
    "EfficientNetV2S": Family(
        applications.EfficientNetV2S,
        32,
        "block6a_expand_activation",
        224,
        "top_activation",
        (7, 7, 1280),
        BYTES,
    ),
    # A sum, which is no layer in Keras 3. For images of 32 it is a layer inside a nested model.
    "ConvNeXtTiny": Family(applications.ConvNeXtTiny, 64, -4, 224, -4, (7, 7, 768), BYTES),
}


def built(family: Family, side: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    return family.build(weights=None, input_shape=(side, side, 3), classes=CLASSES)


def explained(network: keras.Model, layer: str | int):
    """A layer, or an operation such as a sum, by name or place."""
    if isinstance(layer, int):
        return network.operations[layer]
    return next(each for each in network.operations if each.name == layer)


def wrapped(family: Family, network: keras.Model, layer: str | int, warns: bool = False):
    """The network as a classifier that explains the expected layer, with a warning or none."""
    told = pytest.warns(match="Part of it goes past") if warns else warnings.catch_warnings()
    with told:
        if not warns:
            warnings.simplefilter("error")
        classifier = Classifier.from_keras(network, bounds=family.bounds)
    assert classifier.attention_layer == explained(network, layer).name
    return classifier


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
    outputs = [explained(network, attention_layer).output, last.input]
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


# Small ones of each kind of operations: depthwise convolution, swish with squeeze-excitation, and
# layer normalization with GELU.
SMALL = {
    "MobileNet": FAMILIES["MobileNet"]._replace(
        build=functools.partial(applications.MobileNet, alpha=0.25)
    ),
    "EfficientNet": FAMILIES["EfficientNetB0"]._replace(
        build=functools.partial(EfficientNet, 0.25, 0.1, 32)
    ),
    "ConvNeXt": FAMILIES["ConvNeXtTiny"]._replace(
        build=functools.partial(ConvNeXt, [1] * 4, [8, 16, 24, 32])
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_features_and_gradients(name):
    family = SMALL[name]
    network, images = built(family, family.side), images_for(family, family.side)
    classifier = wrapped(family, network, family.small, family.goes_past)
    wanted = expected(network, classifier.attention_layer, images)
    check_features_and_gradients(classifier, wanted, images)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_the_usual_size(name):
    family = FAMILIES[name]
    network = built(family, family.usual_side)
    wrapped(family, network, family.usual)
    assert explained(network, family.usual).output.shape[1:] == family.grid


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_whole_chain(name, tmp_path):
    family = FAMILIES[name]
    network, images = built(family, family.side), images_for(family, family.side)
    classifier = wrapped(family, network, family.small, family.goes_past)
    wanted = expected(network, classifier.attention_layer, images)

    check_features_and_gradients(classifier, wanted, images)
    weights = wanted.feature_gradients.mean(axis=(1, 2), keepdims=True)
    maps = np.maximum(0.0, np.sum(weights * wanted.features, axis=-1))
    signed = np.abs(np.sum(weights * wanted.features, axis=-1)).max()
    np.testing.assert_allclose(grad_cam(classifier, images, LABELS), maps, atol=1e-3 * signed)

    width = family.bounds.upper
    attacked = fgsm(0.02 * width)(classifier, images, LABELS).numpy()
    steps = 0.02 * width * np.sign(wanted.image_gradients)
    # Signs of the smallest gradients are those of rounding. Xception hardly looks at some
    # of the pixels of images this small.
    clear = np.abs(wanted.image_gradients) > 1e-2 * np.abs(wanted.image_gradients).mean()
    assert clear.mean() > 0.5
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
    layer = network.operations.index(explained(network, family.small))
    assert loaded.classifier.attention_layer == loaded.network.operations[layer].name
    assert loaded.classifier.bounds == family.bounds
    np.testing.assert_array_equal(loaded.network(images), model.network(images))
