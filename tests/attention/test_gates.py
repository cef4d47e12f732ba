"""Gates of CBAM: read out, held and compared, by hand on networks of one or two CBAM layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier
from aad_tf.attention import (
    Gates,
    HeldCBAM,
    NetworkGates,
    gate_agreement,
    hold_gates,
)
from aad_tf.evaluation import evaluate_gates
from aad_tf.models import CBAM

IMAGES = np.random.default_rng(0).random((6, 4, 4, 2)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Two CBAM layers, one behind a convolution, with spatial gates that are not constant."""
    keras.utils.set_random_seed(3)
    images = keras.Input((4, 4, 2))
    net = CBAM(reduction=1, kernel_size=3, name="first")(images)
    net = keras.layers.Conv2D(4, 2, strides=2, activation="relu", name="features")(net)
    net = CBAM(reduction=2, kernel_size=1, name="second")(net)
    net = keras.layers.GlobalAveragePooling2D()(net)
    network = keras.Model(images, keras.layers.Dense(3, name="logits")(net))
    for name in ("first", "second"):
        network.get_layer(name).spatial.normalization.gamma.assign([2.0])
    # The score is the sum of two passes: one channel of two is closed, one of four open.
    network.get_layer("first").channel.scores.bias.assign([-20.0, 0.0])
    network.get_layer("second").channel.scores.bias.assign([0.0, 0.0, 20.0, 0.0])
    return network


@pytest.fixture(scope="module")
def classifier(model) -> Classifier:
    return Classifier.from_keras(model, "features")


def test_gates_are_those_of_the_layers_on_their_inputs(model):
    gates = NetworkGates(model)
    assert gates.names == ("first", "second")
    found = gates(IMAGES)
    channel, spatial = model.get_layer("first").gates(IMAGES)
    np.testing.assert_allclose(found["first"].channel, channel[:, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["first"].spatial, spatial[..., 0], atol=1e-6)
    # By hand: the input of the second is what the first lets through, convolved.
    features = model.get_layer("features")(IMAGES * channel * spatial)
    channel, spatial = model.get_layer("second").gates(features)
    np.testing.assert_allclose(found["second"].channel, channel[:, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["second"].spatial, spatial[..., 0], atol=1e-6)
    assert found["second"].channel.shape == (6, 4) and found["second"].spatial.shape == (6, 2, 2)


def test_means_are_over_images_whatever_the_batches(model):
    gates = NetworkGates(model)
    means = gates.means([IMAGES[:4], (IMAGES[4:], LABELS[4:])])
    for name, found in gates(IMAGES).items():
        for mean, values in zip(means[name], found, strict=True):
            np.testing.assert_allclose(mean, np.mean(values, 0), atol=1e-6)
    with pytest.raises(ValueError, match="no images"):
        gates.means([])


def test_a_held_layer_multiplies_by_the_numbers_it_is_given():
    held = HeldCBAM(held_channel=[0.5, 2.0], held_spatial=np.full((4, 4), 0.25), reduction=1)
    np.testing.assert_allclose(held(IMAGES), IMAGES * [0.125, 0.5], rtol=1e-6)
    again = HeldCBAM.from_config(held.get_config())
    np.testing.assert_array_equal(again(IMAGES), held(IMAGES))
    # The spatial gate sees what the held channel gate lets through: max 1.5, mean 0.75 of 3 and 0.
    layer = HeldCBAM(held_channel=[0.5, 1.0], reduction=1, kernel_size=1)
    layer.build((None, 1, 1, 2))
    kernel, *_ = layer.spatial.get_weights()
    kernel[0, 0, :, 0] = 2.0, -4.0
    layer.spatial.set_weights([kernel, *np.array([[1.0], [0.0], [0.0], [1.0 - 1e-5]])])
    out = layer(np.array([[[[3.0, 0.0]]]], "float32"))
    np.testing.assert_allclose(out[0, 0, 0], [1.5 * sigmoid(2 * 1.5 - 4 * 0.75), 0], atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"held_channel": [1.0]}, {"held_spatial": np.ones((3, 4))}], ids=str
)
def test_numbers_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="must have shape"):
        HeldCBAM(reduction=1, **wrong)(IMAGES)


def test_gates_held_at_an_images_own_values_change_nothing_for_it(model):
    one = IMAGES[2:3]
    own = {
        name: Gates(*(each[0] for each in found))
        for name, found in NetworkGates(model)(one).items()
    }
    before = model(IMAGES).numpy()
    for kinds in (["channel"], ["spatial"], ["channel", "spatial"]):
        held = hold_gates(model, own, kinds)
        np.testing.assert_allclose(held(one), before[2:3], atol=1e-6)
        assert np.abs(held(IMAGES) - before).max() > 1e-4
        opened = NetworkGates(held)(IMAGES)["second"]
        spread = {
            kind: float(np.ptp(getattr(opened, kind), axis=0).max()) for kind in Gates._fields
        }
        assert {kind for kind, value in spread.items() if value < 1e-6} == set(kinds)
    np.testing.assert_array_equal(model(IMAGES), before)


def test_a_network_without_gates_and_other_mistakes_are_named(model):
    plain = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match=r"no layer of the kind aad_tf\.models\.CBAM"):
        NetworkGates(plain)
    with pytest.raises(ValueError, match="no gates for first, second"):
        hold_gates(model, {})
    with pytest.raises(ValueError, match="kinds is empty"):
        hold_gates(model, {}, [])
    with pytest.raises(ValueError, match="kind of gate 'chanel'.*'channel'"):
        hold_gates(model, {}, ["chanel"])


def test_agreement_by_hand():
    # The gate is averaged over blocks of 2x2: 0.1, 0.4 / 0.2, 0.9.
    blocks = np.array([[0.1, 0.4], [0.2, 0.9]])
    gate = np.kron(blocks, np.ones((2, 2)))
    gate[0, 0] += 0.05
    gate[1, 1] -= 0.05
    maps = np.array([[[0, 1], [2, 3]], [[3, 2], [1, 0]], [[1, 1], [1, 1]]], float)
    found = gate_agreement(np.stack([gate] * 3), maps, 2)
    # Ranks 1, 3, 2, 4 against 1, 2, 3, 4: 1 - 6 * 2 / (4 * 15); the areas share one cell of three.
    np.testing.assert_allclose(found.rank_correlation, [0.8, -0.8, np.nan], atol=1e-6)
    np.testing.assert_allclose(found.iou, [1 / 3, 1 / 3, np.nan], atol=1e-6)
    with pytest.raises(ValueError, match="of as many images"):
        gate_agreement(gate[np.newaxis], maps, 2)


@pytest.mark.parametrize(("size", "cells"), [(7, 3), (14, 5), (28, 6), (8, 4), (3, 7)])
@pytest.mark.parametrize("value", [0.5, 0.3, np.float32(0.7310586)])
def test_a_constant_gate_agrees_with_nothing_on_any_grid(value, size, cells):
    maps = np.random.default_rng(0).random((1, cells, cells))
    found = gate_agreement(np.full((1, size, size), value), maps, 3)
    np.testing.assert_array_equal(found, np.full((2, 1), np.nan))


def test_cells_that_average_alike_are_of_equal_rank():
    """One corner of a gate is higher, on a grid that the map's does not divide."""
    gate = np.full((1, 7, 7), 0.3, np.float32)
    gate[0, 0, 0] = 0.9
    ranks = np.arange(9.0)
    found = gate_agreement(gate, ranks.reshape(1, 3, 3)[:, ::-1, ::-1], 1)
    # The corner has rank 9 in both; the other eight of the gate share the mean of ranks 1 to 8.
    gate_ranks = np.where(ranks == 8, 9.0, 4.5)
    expected = np.corrcoef(ranks, gate_ranks)[0, 1]
    np.testing.assert_allclose(found.rank_correlation, [expected], atol=1e-12)
    np.testing.assert_array_equal(found.iou, [1.0])


def test_gates_are_averaged_over_cells_as_tensorflow_does():
    generator = np.random.default_rng(1)
    gates, maps = generator.random((4, 7, 9)), generator.random((4, 3, 4))
    means = tf.image.resize(gates[..., np.newaxis], (3, 4), "area").numpy()[..., 0]
    found, expected = gate_agreement(gates, maps, 3), gate_agreement(means, maps, 3)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_data_that_can_be_read_once_is_refused(classifier):
    once = iter([(tf.constant(IMAGES), tf.constant(LABELS))])
    with pytest.raises(ValueError, match="read only once"):
        evaluate_gates(classifier, once, (IMAGES, LABELS), "fgsm(epsilon=0.1)")
