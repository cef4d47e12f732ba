"""LeNet and CifarNet: sizes worked by hand, precision, preprocessing, saving."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from aad_tf import models

SHAPES = {"lenet": (28, 28, 1), "cifarnet": (32, 32, 3)}
# Kernel plus bias of each layer.
PARAMETERS = {
    "lenet": {
        "conv1": 5 * 5 * 1 * 32 + 32,
        "conv2": 5 * 5 * 32 * 64 + 64,
        "fc3": 7 * 7 * 64 * 1024 + 1024,
        "logits": 1024 * 10 + 10,
    },
    "cifarnet": {
        "conv1": 5 * 5 * 3 * 64 + 64,
        "conv2": 5 * 5 * 64 * 64 + 64,
        "fc3": 8 * 8 * 64 * 384 + 384,
        "fc4": 384 * 192 + 192,
        "logits": 192 * 10 + 10,
    },
}
NETWORKS = pytest.mark.parametrize("name", sorted(SHAPES))


def random_images(shape, count=3, dtype="float32"):
    return np.random.RandomState(0).uniform(size=(count, *shape)).astype(dtype)


def outputs_of(model, layer_name, images):
    return keras.Model(model.inputs[0], model.get_layer(layer_name).output)(images)


@NETWORKS
def test_parameter_counts(name):
    model = models.build(name, SHAPES[name], 10)
    assert model.name == name
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.weights}
    counts.pop("dropout3", None)
    assert counts == PARAMETERS[name]


def test_totals_of_the_docstrings():
    assert models.lenet().count_params() == 3_274_634
    assert models.cifarnet().count_params() == 1_756_426


@NETWORKS
@pytest.mark.parametrize(
    ("input_shape", "num_classes", "map_shape"),
    [((28, 28, 1), 10, (7, 7)), ((32, 32, 3), 10, (8, 8)), ((13, 8, 2), 2, (3, 2))],
)
def test_output_and_attention_map_shapes(name, input_shape, num_classes, map_shape):
    model = models.build(name, input_shape, num_classes)
    images = random_images(input_shape)
    assert model(images).shape == (3, num_classes)
    assert outputs_of(model, "pool2", images).shape == (3, *map_shape, 64)


@NETWORKS
@pytest.mark.parametrize(
    ("dtype", "body", "edge"),
    [
        ("float64", "float64", "float64"),
        ("mixed_bfloat16", "bfloat16", "float32"),
    ],
)
def test_precision(name, dtype, body, edge):
    model = models.build(name, SHAPES[name], 10, dtype=dtype)
    images = random_images(SHAPES[name])
    assert model(images).dtype == edge
    assert outputs_of(model, "pool2", images).dtype == body
    assert {variable.dtype for variable in model.trainable_variables} == {edge}


@NETWORKS
def test_precisions_agree_on_the_same_weights(name):
    images = random_images(SHAPES[name])
    exact = models.build(name, SHAPES[name], 10, dtype="float64")
    reference = exact(images).numpy()
    scale = np.abs(reference).max()
    for dtype, tolerance in (("float32", 1e-5), ("mixed_bfloat16", 5e-2)):
        model = models.build(name, SHAPES[name], 10, dtype=dtype)
        model.set_weights(exact.get_weights())
        np.testing.assert_allclose(model(images), reference, rtol=0, atol=tolerance * scale)


def test_global_policy_is_the_default():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = models.build("lenet", (28, 28, 1), 10)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    assert model.get_layer("logits").compute_dtype == "float32"


def test_cifarnet_maps_unit_range_to_minus_one_one():
    model = models.build("cifarnet", (32, 32, 3), 10)
    for pixel, expected in ((0.0, -1.0), (0.5, 0.0), (1.0, 1.0)):
        rescaled = outputs_of(model, "rescale", np.full((1, 32, 32, 3), pixel, "float32"))
        np.testing.assert_array_equal(rescaled, np.full((1, 32, 32, 3), expected))


def test_lenet_by_hand_where_all_weights_are_one():
    # 8x8 ones: conv1 gives 25 inside (16 and 20 near the border), of which every pool of
    # 2x2 holds one 25 unless it is at the border, where its best is 16 (corner), 20 or 25.
    model = models.build("lenet", (8, 8, 1), 2)
    model.set_weights(
        [np.zeros_like(w) if w.ndim == 1 else np.ones_like(w) for w in model.get_weights()]
    )
    pooled = outputs_of(model, "pool1", np.ones((1, 8, 8, 1), "float32"))[0, :, :, 0]
    edge = [16.0, 20.0, 20.0, 16.0]
    inner = [20.0, 25.0, 25.0, 20.0]
    np.testing.assert_array_equal(pooled, [edge, inner, inner, edge])


@pytest.mark.parametrize(
    ("name", "decayed"),
    [("lenet", "conv1 conv2 fc3 logits"), ("cifarnet", "fc3 fc4")],
)
def test_weight_decay_is_that_of_slim(name, decayed):
    model = models.build(name, SHAPES[name], 10, weight_decay=0.004)
    kernels = [model.get_layer(layer).kernel.numpy() for layer in decayed.split()]
    expected = sum(0.004 * np.sum(np.square(kernel, dtype="float64")) / 2 for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)
    assert models.build(name, SHAPES[name], 10).losses == []


@NETWORKS
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_keras_file_round_trip(name, dtype, tmp_path):
    model = models.build(name, SHAPES[name], 10, dtype=dtype)
    model.save(tmp_path / "network.keras")
    copy = keras.saving.load_model(tmp_path / "network.keras")
    images = random_images(SHAPES[name])
    np.testing.assert_array_equal(copy(images), model(images))
    assert copy(images).dtype == model(images).dtype
