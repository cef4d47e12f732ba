"""Checkpoints of TF-slim: logits are those of slim's own networks, and errors say what is wrong."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import models
from tests.models.slim_reference import FILE, NETWORKS, images, values_of
from tests.networks import bytes_of

REFERENCE = json.loads(FILE.read_text(encoding="utf-8"))
LENET_SHAPE, LENET_CLASSES = NETWORKS["LeNet"]
# What an optimizer and moving averages of weights leave in a checkpoint.
OF_TRAINING = {
    "global_step": np.int64(7),
    "beta1_power": np.float32(0.5),
    "LeNet/conv1/weights/Adam_1": np.zeros((5, 5, 1, 32), np.float32),
    "LeNet/fc4/biases/ExponentialMovingAverage": np.zeros(4, np.float32),
}


def variables(network: str) -> dict[str, np.ndarray]:
    """Every variable that slim declares, with the value of the recipe."""
    declared = REFERENCE[network]["variables"]
    return {name: values_of(name, tuple(shape)) for name, shape in declared.items()}


@functools.cache
def lenet_variables() -> dict[str, np.ndarray]:
    return variables("LeNet")


def write(path: Path, values: dict[str, Any]) -> str:
    """A checkpoint as TensorFlow 1 writes it."""
    names = list(values)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )
    return str(path)


def lenet(classes: int = LENET_CLASSES):
    return models.build("lenet", LENET_SHAPE, classes)


@pytest.mark.parametrize("name", ["CifarNet", "LeNet"])
def test_logits_are_those_of_slims_own_network(name, tmp_path):
    shape, classes = NETWORKS[name]
    network = models.build(name.lower(), shape, classes)
    assert models.load_slim_weights(network, write(tmp_path / "model.ckpt", variables(name)))
    logits = network(images(shape), training=False)
    np.testing.assert_allclose(logits, REFERENCE[name]["logits"], rtol=1e-4, atol=1e-5)


def test_inception_v3_leaves_out_the_background_and_the_head_of_training(tmp_path, caplog):
    shape, classes = NETWORKS["InceptionV3"]
    values = variables("InceptionV3")
    assert any("AuxLogits" in name for name in values)
    path = write(tmp_path / "model.ckpt", values)
    network = models.build("inception_v3", shape, classes - 1, weights=path)
    expected = np.array(REFERENCE["InceptionV3"]["logits"])[:, 1:]
    logits = network(images(shape), training=False)
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    # Weights of as many classes are taken whole.
    last = network.get_layer("logits")
    assert last.bias.shape == (classes - 1,)
    background = values["InceptionV3/Logits/Conv2d_1c_1x1/biases"]
    np.testing.assert_array_equal(last.bias, background[1:])
    assert "stays" not in caplog.text and "start afresh" not in caplog.text


def test_what_belongs_to_training_is_not_loaded(tmp_path):
    network, plain = lenet(), lenet()
    write(tmp_path / "plain.ckpt", lenet_variables())
    write(tmp_path / "model.ckpt", {**lenet_variables(), **OF_TRAINING})
    assert models.load_slim_weights(plain, tmp_path / "plain.ckpt")
    # The endings of its files are no part of a checkpoint's name, and do no harm.
    assert models.load_slim_weights(network, tmp_path / "model.ckpt.index")
    assert models.load_slim_weights(network, tmp_path / "model.ckpt.data-00000-of-00001")
    assert bytes_of(network.weights) == bytes_of(plain.weights)


def test_the_older_format_of_one_file(tmp_path):
    network, path = lenet(), tmp_path / "model.ckpt"
    values = lenet_variables()
    tf.raw_ops.Save(
        filename=str(path),
        tensor_names=list(values),
        data=[tf.constant(value) for value in values.values()],
    )
    assert path.is_file()
    assert models.load_slim_weights(network, path)
    np.testing.assert_array_equal(network.get_layer("logits").bias, values["LeNet/fc4/biases"])


def test_logits_of_other_classes_stay(tmp_path):
    network = lenet(LENET_CLASSES - 1)
    fresh = bytes_of(network.get_layer("logits").weights)
    assert not models.load_slim_weights(network, write(tmp_path / "m.ckpt", lenet_variables()))
    assert bytes_of(network.get_layer("logits").weights) == fresh
    kernel = network.get_layer("fc3").kernel
    np.testing.assert_array_equal(kernel, lenet_variables()["LeNet/fc3/weights"])


def without_biases():
    return {name: value for name, value in lenet_variables().items() if "biases" not in name}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (without_biases, "lacks LeNet/conv1/biases, .* and 1 more. Is it of another"),
        (
            lambda: {**lenet_variables(), "LeNet/conv3/weights": np.zeros(2, np.float32)},
            "no checkpoint of lenet as TF-slim builds it: it has LeNet/conv3/weights",
        ),
        (
            lambda: {**lenet_variables(), "LeNet/conv1/biases": np.zeros(31, np.float32)},
            r"LeNet/conv1/biases of .* has shape \(31,\), the network's conv1/bias \(32,\)",
        ),
    ],
    ids=["missing", "surplus", "shape"],
)
def test_other_variables_are_refused(values, message, tmp_path):
    network = lenet()
    before = bytes_of(network.weights)
    with pytest.raises(ValueError, match=message):
        models.load_slim_weights(network, write(tmp_path / "model.ckpt", values()))
    assert bytes_of(network.weights) == before


def test_what_is_no_checkpoint_is_refused(tmp_path):
    network, path = lenet(), tmp_path / "model.ckpt"
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*model.ckpt.index"):
        models.load_slim_weights(network, path)
    write(path, lenet_variables())
    with pytest.raises(ValueError, match=r"is a directory.*ending: .*model.ckpt\."):
        models.load_slim_weights(network, tmp_path)
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    before = bytes_of(network.weights)
    with pytest.raises(ValueError, match="cut short"):
        models.load_slim_weights(network, path)
    (tmp_path / "text.ckpt").write_text("weights")
    with pytest.raises(ValueError, match="is no checkpoint of TensorFlow"):
        models.load_slim_weights(network, tmp_path / "text.ckpt")
    assert bytes_of(network.weights) == before


def test_other_networks_are_refused(tmp_path):
    network = models.build("vgg16", (32, 32, 3), 3, width=0.125)
    path = write(tmp_path / "model.ckpt", lenet_variables())
    with pytest.raises(ValueError, match="into inception_v3, cifarnet, lenet of .* named 'vgg16'"):
        models.load_slim_weights(network, path)
