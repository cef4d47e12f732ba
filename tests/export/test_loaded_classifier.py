"""A loaded network is attacked and evaluated like the one exported, but not trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks, export
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.types import Bounds
from tests.export.exported_networks import CLASSES, LABELS, SHAPE, sequential, some_images
from tests.networks import small_network

layers = keras.layers


@pytest.mark.parametrize(
    "attack",
    [attacks.fgsm(0.1), attacks.step_ll(0.1, 2), attacks.pgd(0.1, 0.05, 2, restarts=2)],
    ids=lambda attack: attack.name,
)
def test_attacks_find_the_same_images_on_the_artefact(attack, artefact, loaded):
    classifier, loaded = artefact("nested")[0], loaded("nested")
    before = [variable.numpy() for variable in loaded.variables]
    for count in (3, 2):
        images, labels = some_images(count), LABELS[:count]
        expected = attack(classifier, images, labels, seed=5)
        found = attack(loaded, images, labels, seed=5)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert not np.array_equal(found, images)
    keys = [key for key in loaded.compiled if isinstance(key, tuple) and attack.objective in key]
    steps = [loaded.compiled[key] for key in keys]
    assert {step.experimental_get_tracing_count() for step in steps} == {1}
    for variable, value in zip(loaded.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_other_precisions_are_served_in_float32(dtype, tolerance, tmp_path):
    classifier = Classifier.from_keras(small_network(dtype=dtype))
    loaded = export.load_classifier(export.export_saved_model(classifier, tmp_path / "model"))
    images = some_images(shape=(8, 8, 1))
    labels = np.array([0, 1, 2])
    output = loaded(tf.constant(images))
    maps = grad_cam(loaded, images, labels)
    assert {output.logits.dtype, output.features.dtype, maps.dtype, loaded.dtype} == {tf.float32}
    expected = classifier.predict_logits(tf.cast(images, classifier.dtype))
    np.testing.assert_allclose(output.logits, tf.cast(expected, tf.float32), atol=tolerance)
    np.testing.assert_allclose(maps, grad_cam(classifier, images, labels), atol=tolerance)
    assert attacks.fgsm(0.1)(loaded, images, labels).dtype == tf.float32


def test_images_of_any_size(tmp_path):
    images = keras.Input((None, None, 1))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(images))
    classifier = Classifier.from_keras(keras.Model(images, layers.Dense(2)(pooled)))
    loaded = export.load_classifier(export.export_saved_model(classifier, tmp_path / "model"))
    for shape in ((6, 9, 1), (12, 5, 1)):
        batch = tf.constant(some_images(2, shape))
        np.testing.assert_allclose(loaded(batch).logits, classifier(batch).logits, atol=1e-5)
        assert grad_cam(loaded, batch, [0, 1]).shape == (2, shape[0] - 2, shape[1] - 2)


def test_what_evaluation_needs_survives(tmp_path):
    model = sequential()
    model.layers[0].trainable = False
    classifier = Classifier.from_keras(model, bounds=Bounds(-1.0, 1.0))
    loaded = export.load_classifier(export.export_saved_model(classifier, tmp_path / "model"))
    assert loaded.bounds == Bounds(-1.0, 1.0)
    assert loaded.num_classes == CLASSES
    assert loaded.input_shape == SHAPE
    assert loaded.attention_layer == "conv"
    assert loaded.image_spec == tf.TensorSpec((None, *SHAPE), tf.float32)
    for name in ("variables", "trainable_variables"):
        values = zip(getattr(loaded, name), getattr(classifier, name), strict=True)
        for found, expected in values:
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="0..255 pixels"):
        attacks.fgsm(0.1)(loaded, 255 * some_images(), LABELS)


def test_only_variables_of_the_network_are_saved(tmp_path):
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(2, 3),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(CLASSES),
        ]
    )
    model = StandardModel(network)
    model.compile("adam", run_eagerly=True)
    model.fit(some_images(), LABELS, verbose=0)
    loaded = export.load_classifier(export.export_saved_model(model.classifier, tmp_path / "model"))
    assert [tuple(v.shape) for v in loaded.variables] == [w.shape for w in network.get_weights()]


def test_exported_classifier_cannot_be_trained(loaded):
    loaded = loaded("sequential")
    with pytest.raises(ValueError, match="inference mode only"):
        loaded(tf.constant(some_images()), training=True)
    with pytest.raises(AttributeError, match="no Keras model"):
        StandardModel(loaded)
    with pytest.raises(AttributeError, match="has no attribute 'weights'"):
        _ = loaded.weights
