"""Exported networks give the logits, maps and gradients of Keras, also without Keras."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import export
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from tests.export.exported_networks import CLASSES, LABELS, NETWORKS, some_images

layers = keras.layers


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_artefact_agrees_with_keras(name, artefact, loaded):
    classifier, path = artefact(name)
    signatures, loaded = tf.saved_model.load(str(path)).signatures, loaded(name)
    for count in (1, 3, 7):
        images = tf.constant(some_images(count))
        labels = tf.constant(np.arange(count) % CLASSES, tf.int32)
        logits = classifier.predict_logits(images)
        served = signatures["serving_default"](images=images)
        maps = signatures["attention"](images=images, class_ids=labels)["attention_map"]
        np.testing.assert_allclose(served["logits"], logits, atol=1e-5)
        np.testing.assert_allclose(served["probabilities"], tf.nn.softmax(logits), atol=1e-5)
        np.testing.assert_allclose(maps, grad_cam(classifier, images, labels), atol=1e-5)
        np.testing.assert_allclose(grad_cam(loaded, images, labels), maps, atol=1e-5)
        np.testing.assert_allclose(loaded.predict_logits(images), logits, atol=1e-5)
    assert float(tf.reduce_max(maps)) > 0


def gradients_by_images_and_features(function, images):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        logits, features = function(images)
        score = tf.reduce_sum(logits[:, 1] ** 2)
    return tape.gradient(score, images), tape.gradient(score, features), features


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_loaded_network_has_the_gradients_of_the_keras_network(name, artefact, loaded):
    classifier, loaded = artefact(name)[0], loaded(name)
    images = tf.constant(some_images())
    expected = gradients_by_images_and_features(classifier, images)
    for take in (gradients_by_images_and_features, tf.function(gradients_by_images_and_features)):
        found = take(loaded, images)
        for wanted, value in zip(expected, found, strict=True):
            np.testing.assert_allclose(value, wanted, atol=1e-5)
    assert np.abs(expected[0]).max() > 0


def test_attention_map_worked_by_hand(tmp_path):
    """One cell-wise channel each for w = 2 and w = -1, averaged, times (3, 1) for class 0.

    The map is ReLU(3/4 * 2 x + 1/4 * -x) = 1.25 x, the logit 3 * 2 mean(x) - mean(x).
    """
    images = keras.Input((2, 2, 1))
    features = layers.Conv2D(2, 1, use_bias=False, name="cells")(images)
    logits = layers.Dense(2, use_bias=False)(layers.GlobalAveragePooling2D()(features))
    model = keras.Model(images, logits)
    model.set_weights([np.array([[[[2.0, -1.0]]]]), np.array([[3.0, 0.0], [1.0, 0.0]])])
    path = export.export_saved_model(Classifier.from_keras(model, "cells"), tmp_path / "model")
    signatures = tf.saved_model.load(str(path)).signatures
    image = tf.constant([[[[0.1], [0.2]], [[0.3], [0.4]]]])
    maps = signatures["attention"](images=image, class_ids=tf.constant([0]))["attention_map"]
    np.testing.assert_allclose(maps[0], [[0.125, 0.25], [0.375, 0.5]], atol=1e-6)
    served = signatures["serving_default"](images=image)
    np.testing.assert_allclose(served["logits"], [[5 * 0.25, 0.0]], atol=1e-6)
    np.testing.assert_allclose(served["probabilities"][0, 0], 1 / (1 + np.exp(-1.25)), atol=1e-6)


def test_class_minus_one_is_the_predicted_class(artefact):
    classifier, path = artefact("sequential")
    signatures = tf.saved_model.load(str(path)).signatures
    images = tf.constant(some_images())
    predicted = tf.argmax(classifier.predict_logits(images), -1, tf.int32)
    expected = grad_cam(classifier, images, predicted)
    found = signatures["attention_predicted"](images=images)["attention_map"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    mixed = tf.constant([-1, int(predicted[1]), -1])
    found = signatures["attention"](images=images, class_ids=mixed)["attention_map"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for unknown in (-2, CLASSES):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"class_ids must lie in \[0, 4\)"):
            signatures["attention"](images=images, class_ids=tf.constant([0, unknown, 0]))


WITHOUT_PACKAGE = """
import sys
sys.modules["aad_tf"] = None
import numpy as np, tensorflow as tf
sys.modules["keras"] = None
loaded = tf.saved_model.load(sys.argv[1])
data = np.load(sys.argv[2])
images = tf.constant(data["images"])
served = loaded.signatures["serving_default"](images=images)
maps = loaded.signatures["attention"](images=images, class_ids=tf.constant(data["labels"]))
with tf.GradientTape() as tape:
    tape.watch(images)
    output = loaded.forward(images)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(data["labels"], output["logits"])
gradient = tape.gradient(loss, images)
np.savez(sys.argv[3], gradient=gradient, features=output["features"],
         attention_map=maps["attention_map"], **served)
"""


def test_loads_without_this_package_and_without_keras(artefact, tmp_path):
    classifier, path = artefact("around")
    images = some_images()
    np.savez(tmp_path / "in.npz", images=images, labels=LABELS)
    command = [sys.executable, "-I", "-c", WITHOUT_PACKAGE, path, "in.npz", "out.npz"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    found = np.load(tmp_path / "out.npz")
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = classifier(images)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, output.logits)
    maps = grad_cam(classifier, images, LABELS)
    np.testing.assert_allclose(found["gradient"], tape.gradient(loss, images), atol=1e-5)
    np.testing.assert_allclose(found["features"], output.features, atol=1e-5)
    np.testing.assert_allclose(found["logits"], output.logits, atol=1e-5)
    np.testing.assert_allclose(found["attention_map"], maps, atol=1e-5)
