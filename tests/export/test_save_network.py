"""A network saved as a Keras file comes back the same; other paths and objects are refused."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest

from aad_tf import export
from aad_tf.classifier import Classifier
from tests.export.exported_networks import nested, sequential, some_images


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
