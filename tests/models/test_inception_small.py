"""The small relative of InceptionV3: grid, names, parameters, precision, saving."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from aad_tf import Classifier, models


@pytest.fixture(scope="module")
def network():
    return models.build("inception_small", (64, 64, 3), 40)


def test_grid_of_the_attention_layer_and_size(network):
    classifier = Classifier.from_keras(network)
    assert classifier.attention_layer == "mixed5"
    assert network.get_layer("mixed5").output.shape == (None, 8, 8, 448)
    assert network.output_shape == (None, 40)
    assert network.count_params() == 1_284_752


def test_narrow_network_has_half_the_filters():
    narrow = models.build("inception_small", (32, 32, 3), 5, width=0.5)
    # 96, 64, 64 and 48 halved and 40, 40: each to a multiple of eight.
    assert narrow.get_layer("mixed3").output.shape == (None, 4, 4, 48 + 48 + 48 + 24)
    assert narrow.output_shape == (None, 5)


def test_mixed_precision_keeps_float32_logits():
    mixed = models.build("inception_small", (32, 32, 3), 5, dtype="mixed_bfloat16")
    assert mixed.get_layer("mixed0").compute_dtype == "bfloat16"
    assert mixed.output.dtype == "float32"


def test_saved_and_loaded_it_is_the_same(network, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), network(images))


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least 16"):
        models.build("inception_small", (8, 64, 3), 5)
    with pytest.raises(ValueError, match="width must be a positive number"):
        models.build("inception_small", (64, 64, 3), 5, width=0.0)
