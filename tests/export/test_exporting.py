"""An export replaces an earlier one wholly or not at all, and nothing else; `.keras` files too."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import export
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.export import saved_model
from tests.export.exported_networks import (
    CLASSES,
    SHAPE,
    classifier_of,
    nested,
    sequential,
    some_images,
)
from tests.networks import TracedCalls, small_network

layers = keras.layers


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


@pytest.mark.parametrize("name", ["notes.txt", "assets.extra/tf_serving_warmup_requests"])
def test_an_export_to_which_files_were_added_is_left_alone(name, tmp_path):
    classifier = classifier_of()
    path = export.export_saved_model(classifier, tmp_path / "model")
    (path / name).write_text("of others")
    with pytest.raises(FileExistsError, match=f"not of the earlier export: {name}. Give another"):
        export.export_saved_model(classifier, path)
    assert (path / name).read_text() == "of others"
    (path / name).rename(tmp_path / "aside")
    export.export_saved_model(classifier, path)
    # A damaged export does not tell what is its own.
    (path / export.saved_model.METADATA).write_text("{")
    export.export_saved_model(classifier, path)
    export.load_classifier(path)


def test_a_network_is_traced_for_each_function_once_and_for_no_signature(tmp_path):
    noted = TracedCalls()
    classifier = Classifier.from_keras(small_network(middle=[noted]))
    before = noted.count
    export.export_saved_model(classifier, tmp_path / "model")
    # forward, features, logits_from_features and attend.
    assert noted.count == before + 4


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
        saved_model.replace_directory(tmp_path / "target", tmp_path / "missing", tmp_path / "aside")
    assert os.listdir(tmp_path / "target") == ["kept"]


def test_unwritable_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write to .*file.* choose another path"):
        export.export_saved_model(classifier_of(), tmp_path / "file" / "model")
    with pytest.raises(OSError, match="Cannot write to .*file.* choose another path"):
        export.save_network(sequential(), tmp_path / "file" / "model.keras")


@pytest.mark.parametrize("kind", ["keras", "defence", "exported"])
def test_only_a_classifier_is_exported(kind, loaded, tmp_path):
    given = {
        "keras": sequential,
        "defence": lambda: StandardModel(sequential()),
        "exported": lambda: loaded("sequential"),
    }[kind]()
    with pytest.raises(TypeError, match="Classifier.from_keras"):
        export.export_saved_model(given, tmp_path / "model")
    assert os.listdir(tmp_path) == []


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
