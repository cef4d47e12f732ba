"""InceptionV3: the network of Keras, its preprocessing, precision and weights files."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import models
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.models.inception_v3 import _IMAGENET_FILE, _global_policy
from aad_tf.models.weights_files import load_weights_file
from tests.networks import bytes_of, random_images

# The smallest images for which mixed10 has more than one cell.
SHAPE = (107, 107, 3)
CLASSES = 3


@pytest.fixture(scope="module")
def application():
    keras.utils.set_random_seed(1)
    model = keras.applications.InceptionV3(
        weights=None, input_shape=SHAPE, classes=CLASSES, classifier_activation=None
    )
    settle(model, random_images(4, SHAPE, seed=3) * 2 - 1)
    return model


@pytest.fixture(scope="module")
def application_file(application, tmp_path_factory):
    """Its weights."""
    return saved(application, tmp_path_factory.mktemp("application") / "some.weights.h5")


@pytest.fixture(scope="module")
def network(application_file):
    """With the weights of the application."""
    return models.build("inception_v3", SHAPE, CLASSES, weights=application_file)


@pytest.fixture(scope="module")
def mixed():
    """In mixed precision, for the smallest images."""
    return models.build("inception_v3", (75, 75, 1), CLASSES, dtype="mixed_bfloat16")


def saved(model, path: Path) -> str:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return str(path)


def settle(model, images) -> None:
    """Takes the statistics of images, without which fresh layers damp an image away."""
    generator = np.random.default_rng(2)
    normalizations = [
        layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in normalizations:
        layer.momentum = 0.0
        layer.beta.assign(generator.normal(scale=0.1, size=layer.beta.shape))
    model(images, training=True)
    for layer in normalizations:
        layer.momentum = 0.99


def test_the_published_network_and_weights_for_other_classes(application, application_file, caplog):
    full = models.inception_v3(weights=application_file)
    # All weights but those of the logits.
    assert bytes_of(full.weights[:-2]) == bytes_of(application.weights[:-2])
    assert "all layers but the logits" in caplog.text
    # As Keras states it for 1000 classes.
    assert full.count_params() == 23_851_784
    assert full.name == "inception_v3"
    assert full.input_shape == (None, 299, 299, 3)
    assert full.output_shape == (None, 1000)
    assert full.get_layer("mixed10").output.shape == (None, 8, 8, 2048)
    assert [layer.name for layer in full.layers][:2] == ["images", "rescale"]
    tail = ["mixed10", "avg_pool", "dropout", "logits"]
    assert [layer.name for layer in full.layers][-4:] == tail
    assert full.get_layer("dropout").rate == 0.2


def test_logits_are_those_of_keras_on_its_own_preprocessing(application, network, tmp_path):
    images = random_images(2, SHAPE)
    # Keras preprocesses pixels of 0..255, in place.
    pixels = keras.applications.inception_v3.preprocess_input(images * 255.0)
    logits = network(images, training=False)
    expected = application(pixels, training=False).numpy()
    assert logits.shape == (2, CLASSES)
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(logits, expected, atol=5e-3)
    np.testing.assert_allclose(network.get_layer("rescale")(images), pixels, atol=1e-6)
    # The older format, in which Keras publishes the ImageNet weights.
    network.set_weights([np.zeros_like(weight) for weight in network.get_weights()])
    assert load_weights_file(network, saved(application, tmp_path / "application.h5"))
    assert bytes_of(network.weights) == bytes_of(application.weights)


def test_attention_layer_and_maps(network):
    classifier = Classifier.from_keras(network)
    assert classifier.attention_layer == "mixed10"
    images = random_images(2, SHAPE)
    maps = grad_cam(classifier, images, [0, 2])
    # The gradient of a logit by mixed10 is its dense weight over the 4 cells, everywhere.
    features = classifier(tf.constant(images)).features.numpy()
    kernel = network.get_layer("logits").kernel.numpy()[:, [0, 2]]
    expected = np.maximum(np.einsum("byxc,cb->byx", features, kernel / 4), 0)
    np.testing.assert_allclose(maps, expected, atol=1e-5 * expected.max())
    assert expected.max() > 0


def test_smaller_images_leave_mixed10_a_single_cell(mixed):
    assert mixed.get_layer("mixed10").output.shape == (None, 1, 1, 2048)
    with pytest.raises(ValueError, match="'mixed10' gives no spatial grid"):
        Classifier.from_keras(mixed, attention_layer="mixed10")


def test_float64_agrees_and_the_global_policy_stays(network):
    before = keras.config.dtype_policy().name
    model = models.build("inception_v3", SHAPE, CLASSES, dtype="float64")
    assert keras.config.dtype_policy().name == before
    assert {weight.dtype for weight in model.weights} == {"float64"}
    model.set_weights(network.get_weights())
    images = random_images(2, SHAPE)
    np.testing.assert_allclose(model(images), network(images), atol=5e-3)


def test_mixed_precision(mixed):
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    dtypes = [layer.compute_dtype for layer in mixed.layers]
    assert dtypes == ["float32", "float32", *["bfloat16"] * (len(dtypes) - 3), "float32"]
    assert mixed.outputs[0].dtype == "float32"
    logits = mixed(random_images(1, (75, 75, 1)))
    assert logits.shape == (1, CLASSES) and np.all(np.isfinite(logits))


def test_global_policy_is_restored_after_an_error():
    before = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError), _global_policy("mixed_bfloat16"):
        raise RuntimeError
    assert keras.config.dtype_policy().name == before != "mixed_bfloat16"


def test_keras_file_round_trip(network, tmp_path):
    path = saved(network, tmp_path / "network.keras")
    copy = keras.saving.load_model(path)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in network.layers]
    assert bytes_of(copy.weights) == bytes_of(network.weights)


def test_weights_of_another_network_are_refused(network, tmp_path):
    before = bytes_of(network.weights)
    path = saved(models.inception_small(), tmp_path / "small.weights.h5")
    with pytest.raises(ValueError, match="small.weights.h5 holds no weights for inception_v3"):
        load_weights_file(network, path)
    assert bytes_of(network.weights) == before


def test_imagenet_weights_need_three_channels():
    with pytest.raises(ValueError, match="ImageNet weights are for 3 channels, got 1"):
        models.build("inception_v3", (107, 107, 1), CLASSES, weights="imagenet")


def test_imagenet_weights_without_network(monkeypatch):
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    if (home / "models" / _IMAGENET_FILE).exists():
        pytest.skip("the weights are here already")
    # Nothing listens on the discard port.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)
    with pytest.raises(ConnectionError, match="could not be downloaded .* pass its path"):
        models.build("inception_v3", SHAPE, CLASSES, weights="imagenet")


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        ((74, 299, 3), 10, "grid of 3x3: height and width must be at least 75, got 74x299"),
        ((299, 299), 10, "three positive integers"),
        ((299, 299, 3), 1, "num_classes of inception_v3 must be at least 2, got 1"),
    ],
)
def test_bad_arguments(shape, classes, message):
    with pytest.raises(ValueError, match=message):
        models.build("inception_v3", shape, classes)
