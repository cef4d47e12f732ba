"""Exported networks: agreement with Keras, use without the package, bad and broken paths."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks, export, models
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.export import files
from aad_tf.types import Bounds

SHAPE = (8, 8, 2)
CLASSES = 4
layers = keras.layers


def sequential(softmax=False):
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(5, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax" if softmax else None),
        ]
    )


def around_attention_layer():
    """A network with a path past the layer that is explained, moving statistics and swish."""
    images = keras.Input(SHAPE)
    stem = layers.Conv2D(5, 3, padding="same", activation="swish")(images)
    branch = layers.Conv2D(5, 3, padding="same", name="branch")(stem)
    joined = layers.BatchNormalization()(layers.Add()([stem, branch]))
    pooled = layers.GlobalAveragePooling2D()(layers.Activation("swish")(joined))
    return keras.Model(images, layers.Dense(CLASSES)(pooled))


def nested():
    inner_images = keras.Input(SHAPE)
    inner = layers.Conv2D(6, 3, strides=2, activation="gelu")(inner_images)
    backbone = keras.Model(inner_images, inner, name="backbone")
    images = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(backbone(images))
    return keras.Model(images, layers.Dense(CLASSES)(layers.Dropout(0.5)(pooled)))


class SharedConvolution(keras.Model):
    """A subclassed network that calls one convolution twice; the second call is explained."""

    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv2D(SHAPE[2], 3, padding="same", activation="relu")
        self.classify = layers.Dense(CLASSES)

    def call(self, images):
        features = self.convolution(self.convolution(images))
        return self.classify(tf.reshape(features, (-1, np.prod(SHAPE))))


def subclassed():
    model = SharedConvolution()
    model(np.zeros((1, *SHAPE), np.float32))
    return model


NETWORKS = {
    "sequential": (sequential, None),
    "softmax": (lambda: sequential(softmax=True), None),
    "around": (around_attention_layer, "branch"),
    "nested": (nested, None),
    "subclassed": (subclassed, None),
}


def classifier_of(name="sequential", seed=0):
    keras.utils.set_random_seed(seed)
    build, attention_layer = NETWORKS[name]
    return Classifier.from_keras(build(), attention_layer)


def some_images(count=3, shape=SHAPE, seed=1):
    return np.random.RandomState(seed).uniform(size=(count, *shape)).astype(np.float32)


LABELS = np.array([0, 3, 1], np.int32)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """Returns a function that exports a network once: classifier and path."""
    done = {}

    def export_once(name):
        if name not in done:
            classifier = classifier_of(name)
            path = tmp_path_factory.mktemp(name) / "model"
            done[name] = classifier, export.export_saved_model(classifier, path)
        return done[name]

    return export_once


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_artefact_agrees_with_keras(name, artefact):
    classifier, path = artefact(name)
    signatures = tf.saved_model.load(str(path)).signatures
    loaded = export.load_classifier(path)
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
def test_loaded_network_has_the_gradients_of_the_keras_network(name, artefact):
    classifier, path = artefact(name)
    loaded = export.load_classifier(path)
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


@pytest.mark.parametrize(
    "attack",
    [attacks.fgsm(0.1), attacks.step_ll(0.1, 2), attacks.pgd(0.1, 0.03, 6, restarts=2)],
    ids=lambda attack: attack.name,
)
def test_attacks_find_the_same_images_on_the_artefact(attack, artefact):
    classifier, path = artefact("nested")
    loaded = export.load_classifier(path)
    before = [variable.numpy() for variable in loaded.variables]
    for count in (3, 2):
        images, labels = some_images(count), LABELS[:count]
        expected = attack(classifier, images, labels, seed=5)
        found = attack(loaded, images, labels, seed=5)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert not np.array_equal(found, images)
    step = loaded.compiled[("gradient_sign_step", attack.objective)]
    assert step.experimental_get_tracing_count() == 1
    for variable, value in zip(loaded.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_other_precisions_are_served_in_float32(dtype, tolerance, tmp_path):
    keras.utils.set_random_seed(0)
    model = models.build("lenet", (8, 8, 1), 3, dtype=dtype)
    classifier = Classifier.from_keras(model)
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
    model.compile("adam")
    model.fit(some_images(), LABELS, verbose=0)
    loaded = export.load_classifier(export.export_saved_model(model.classifier, tmp_path / "model"))
    assert [tuple(v.shape) for v in loaded.variables] == [w.shape for w in network.get_weights()]


def test_exported_classifier_cannot_be_trained(artefact):
    loaded = export.load_classifier(artefact("sequential")[1])
    with pytest.raises(ValueError, match="inference mode only"):
        loaded(tf.constant(some_images()), training=True)
    with pytest.raises(AttributeError, match="no Keras model"):
        StandardModel(loaded)
    with pytest.raises(AttributeError, match="has no attribute 'weights'"):
        _ = loaded.weights


def test_earlier_export_is_replaced(tmp_path):
    path = tmp_path / "deep" / "model"
    images = tf.constant(some_images())
    for seed in (0, 1):
        classifier = classifier_of(seed=seed)
        assert export.export_saved_model(classifier, path) == path
        found = export.load_classifier(path).predict_logits(images)
        np.testing.assert_allclose(found, classifier.predict_logits(images), atol=1e-5)
    assert os.listdir(path.parent) == ["model"]
    assert path.stat().st_mode == path.parent.stat().st_mode


def test_empty_directory_is_used_and_other_things_are_left_alone(tmp_path):
    classifier = classifier_of()
    (tmp_path / "empty").mkdir()
    export.load_classifier(export.export_saved_model(classifier, tmp_path / "empty"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("content")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("notes", "file", "dangling"):
        with pytest.raises(FileExistsError, match="no model exported by aad_tf"):
            export.export_saved_model(classifier, tmp_path / name)
    assert (tmp_path / "notes" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "content"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "empty", "file", "notes"]


class Lookup(keras.layers.Layer):
    """Reads a table that SavedModel knows nothing of, so that saving fails halfway."""

    def call(self, inputs):
        return inputs + tf.cast(_TABLE.lookup(tf.constant(1)), inputs.dtype)


_TABLE = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), -1)


def test_failed_export_leaves_the_earlier_one(tmp_path):
    path = export.export_saved_model(classifier_of(), tmp_path / "model")
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(2, 3), Lookup(), layers.Flatten(), layers.Dense(2)]
    )
    classifier = Classifier.from_keras(model)
    with pytest.raises(AssertionError, match="untracked"):
        export.export_saved_model(classifier, path)
    assert export.load_classifier(path).num_classes == CLASSES
    assert os.listdir(tmp_path) == ["model"]


def test_failed_exchange_puts_the_earlier_directory_back(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").touch()
    with pytest.raises(FileNotFoundError):
        files.replace_directory(tmp_path / "target", tmp_path / "absent", tmp_path / "aside")
    assert os.listdir(tmp_path / "target") == ["kept"]


def test_unwritable_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write to .*file.* choose another path"):
        export.export_saved_model(classifier_of(), tmp_path / "file" / "model")
    with pytest.raises(OSError, match="Cannot write to .*file.* choose another path"):
        export.save_network(sequential(), tmp_path / "file" / "model.keras")


@pytest.mark.parametrize("wrong", ["keras", "defence", "exported"])
def test_only_a_classifier_is_exported(wrong, artefact, tmp_path):
    given = {
        "keras": sequential,
        "defence": lambda: StandardModel(sequential()),
        "exported": lambda: export.load_classifier(artefact("sequential")[1]),
    }[wrong]()
    with pytest.raises(TypeError, match="Classifier.from_keras"):
        export.export_saved_model(given, tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def exported(artefact, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(artefact("sequential")[1], tmp_path / "model"))


def test_missing_and_foreign_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="No exported model at .*absent.*export"):
        export.load_classifier(tmp_path / "absent")
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(export.ExportError, match="SavedModel of another origin"):
        export.load_classifier(tmp_path / "foreign")
    with pytest.raises(export.ExportError, match="is no SavedModel"):
        export.load_classifier(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ],
)
def test_cut_short_damaged_and_lost_files(exported, name):
    path = exported / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        export.ExportError,
        match=f"{path.name} is cut short: expected {len(content)} bytes, found {len(content) // 2}",
    ):
        export.load_classifier(exported)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(export.ExportError, match=f"{path.name} is damaged"):
        export.load_classifier(exported)
    path.unlink()
    with pytest.raises(export.ExportError, match=f"lacks {name}"):
        export.load_classifier(exported)


def test_cut_short_and_newer_metadata(exported):
    path = exported / files.METADATA
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(export.ExportError, match="aad_tf.json is cut short"):
        export.load_classifier(exported)
    path.write_text(json.dumps({**json.loads(text), "format": 99}))
    with pytest.raises(export.ExportError, match="not of format 1"):
        export.load_classifier(exported)


def test_save_network_round_trip(tmp_path):
    path = tmp_path / "deep" / "model.keras"
    images = some_images()
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = nested()
        given = model if seed else Classifier.from_keras(model)
        assert export.save_network(given, path) == path
        loaded = keras.saving.load_model(path)
        np.testing.assert_array_equal(loaded(images), model(images))
    assert os.listdir(path.parent) == ["model.keras"]


def test_save_network_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"must end in .keras, got 'model.h5'"):
        export.save_network(sequential(), tmp_path / "model.h5")
    with pytest.raises(TypeError, match="must be a keras.Model, got dict"):
        export.save_network({}, tmp_path / "model.keras")
    (tmp_path / "model.keras").mkdir()
    with pytest.raises(IsADirectoryError, match="Give the path of a file"):
        export.save_network(sequential(), tmp_path / "model.keras")
    assert os.listdir(tmp_path) == ["model.keras"]
