"""ResNet-50, CBAM + ResNet-50 and VGG-16 as built, through all that a network must do here.

They are as narrow as can be, and normalized by statistics of the images, so that values stay of
size one through fifty layers. Residual branches weigh 0.3, so that rounding is not amplified, and
spatial gates are not a half everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AADModel, Classifier, attacks, export, models
from aad_tf.attention import grad_cam
from tests.networks import random_images

SHAPE, CLASSES = (32, 32, 3), 3
IMAGES, LABELS = random_images(3, SHAPE), np.array([0, 1, 2])
GRIDS = {"resnet50": (4, 4), "cbam_resnet50": (4, 4), "vgg16": (2, 2)}


def narrow(name: str, dtype: str = "float32") -> keras.Model:
    return models.build(name, SHAPE, CLASSES, width=1 / 16, dtype=dtype)


@pytest.fixture(scope="module", params=GRIDS)
def classifier(request) -> Classifier:
    keras.utils.set_random_seed(0)
    network = narrow(request.param)
    layers = [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        branch = layer.name.endswith("expand_norm")
        layer.gamma.assign(np.full(layer.gamma.shape, 0.3 if branch else 1.0))
        layer.momentum = 0.0
    network(IMAGES, training=True)
    for layer in layers:
        layer.momentum = 0.9
    return Classifier.from_keras(network)


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Compiling takes longer than one pass."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def maps(classifier):
    with eagerly():
        return grad_cam(classifier, IMAGES, LABELS)


def test_logits_of_an_image_are_those_of_any_batch(classifier):
    whole = classifier.predict_logits(IMAGES)
    assert whole.shape == (3, CLASSES) and np.isfinite(whole).all()
    assert classifier.model.output_shape == (None, CLASSES)
    np.testing.assert_allclose(whole, classifier.model(IMAGES), atol=1e-4)
    np.testing.assert_allclose(classifier.predict_logits(IMAGES[1:2]), whole[1:2], atol=1e-4)


def test_keras_file_round_trip(classifier, tmp_path):
    classifier.model.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(IMAGES), classifier.model(IMAGES))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_differs_by_rounding_alone(classifier, dtype):
    mixed = narrow(classifier.model.name, f"mixed_{dtype}")
    mixed.set_weights(classifier.model.get_weights())
    assert Classifier.from_keras(mixed).attention_layer == classifier.attention_layer
    assert mixed.get_layer(classifier.attention_layer).output.dtype == dtype
    exact, found = classifier.model(IMAGES).numpy(), mixed(IMAGES)
    assert found.dtype == "float32"
    tolerance = 24 * float(ml_dtypes.finfo(dtype).eps) * np.abs(exact).max()
    np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance)


def test_maps_of_attention(classifier, maps):
    assert maps.shape == (3, *GRIDS[classifier.model.name])
    assert np.isfinite(maps).all() and np.min(maps) >= 0 and np.max(maps) > 0


def test_fgsm_goes_along_the_sign_of_the_gradient(classifier):
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, classifier.model(images))
    gradient = tape.gradient(loss, images).numpy()
    with eagerly():
        attacked = attacks.fgsm(0.03)(classifier, IMAGES, LABELS).numpy()
    # The signs of the smallest are those of rounding.
    clear = np.abs(gradient) > 1e-3 * np.abs(gradient).mean()
    assert clear.mean() > 0.5
    expected = np.clip(IMAGES + 0.03 * np.sign(gradient), 0, 1)
    np.testing.assert_allclose(attacked[clear], expected[clear], atol=1e-6)


@pytest.mark.slow
def test_exported_it_is_the_same(classifier, maps, tmp_path):
    export.export_saved_model(classifier, tmp_path / "exported")
    loaded = tf.saved_model.load(tmp_path / "exported").signatures
    logits = classifier.predict_logits(IMAGES)
    for count in (3, 1):
        served = loaded["serving_default"](images=tf.constant(IMAGES[:count]))["logits"]
        np.testing.assert_allclose(served, logits[:count], atol=1e-4)
    found = loaded["attention"](images=tf.constant(IMAGES), class_ids=tf.constant(LABELS, tf.int32))
    np.testing.assert_allclose(found["attention_map"], maps, atol=1e-3 * np.max(maps))


@pytest.mark.slow
def test_a_step_of_attention_training_moves_every_weight(classifier):
    network = classifier.model
    before = network.get_weights()
    model = AADModel(classifier, attack=attacks.step_ll(0.1, num_steps=1))
    # Compiling takes longer than one step.
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    history = model.fit(IMAGES, LABELS, batch_size=3, verbose=0).history
    after = network.get_weights()
    network.set_weights(before)
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(each).all() for each in after)
    still = [
        weight.path
        for weight, old, new in zip(network.weights, before, after, strict=True)
        if np.array_equal(old, new) and "seed" not in weight.path
    ]
    assert still == []
