"""Logit and attention pairing: the loss worked by hand, and what it leaves out without a weight."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AdversarialModel, PairingModel
from aad_tf.attacks import fgsm, pgd
from aad_tf.attention import grad_cam
from tests.networks import SHAPE, linear_network, random_images, small_network

IMAGES, LABELS = random_images(6), np.array([0, 1, 2, 0, 1, 2], np.int32)


def losses_of(model, images=IMAGES, labels=LABELS):
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model.train_on_batch(images, labels, return_dict=True)


def test_the_distance_of_logits_by_hand():
    # Logits (m, 0): FGSM darkens an image of class 0 from 0.5 to 0.3 and brightens one of class 1
    # to 0.7, so one logit of two moves by 0.2.
    images = np.full((2, 2, 2, 1), 0.5, np.float32)
    model = PairingModel(linear_network([1.0, 0.0]), attack=fgsm(0.2), logit_weight=5.0)
    logs = losses_of(model, images, np.array([0, 1]))
    entropy = {m: np.log1p(np.exp(-m)) for m in (0.5, -0.5, 0.3, -0.7)}
    adversarial = (entropy[0.3] + entropy[-0.7]) / 2
    classification = ((entropy[0.5] + entropy[-0.5]) / 2 + adversarial) / 2
    expected = {
        "loss": classification + 5.0 * 0.02,
        "adversarial_loss": adversarial,
        "logit_pairing_loss": 0.2**2 / 2,
        "attention_pairing_loss": 0.0,
    }
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_the_distance_of_maps_is_that_of_grad_cam():
    network, attack = small_network(), fgsm(0.1)
    model = PairingModel(network, attack=attack, logit_weight=2.0, attention_weight=3.0)
    attacked = attack(model.classifier, IMAGES, LABELS)
    maps = []
    for images in (IMAGES, attacked):
        found = grad_cam(model.classifier, images, LABELS).numpy()
        total = found.sum(axis=(1, 2), keepdims=True)
        maps.append(np.divide(found, total, out=np.zeros_like(found), where=total > 0))
    distance = np.sqrt(np.square(maps[0] - maps[1]).sum(axis=(1, 2))).mean()
    logits = np.square(network(IMAGES) - network(attacked)).mean()
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classification = (entropy(LABELS, network(IMAGES)) + entropy(LABELS, network(attacked))) / 2
    logs = losses_of(model)
    assert distance > 1e-3
    assert logs["attention_pairing_loss"] == pytest.approx(distance, rel=1e-4)
    assert logs["logit_pairing_loss"] == pytest.approx(logits, rel=1e-4)
    expected = float(classification) + 2 * logits + 3 * distance
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_maps_are_paired_where_gradients_end_before_the_attention_layer():
    stopped = keras.layers.Lambda(tf.stop_gradient)
    stopped = keras.Sequential([keras.Input(SHAPE), stopped, *small_network().layers])
    attack = "square(epsilon=0.2, num_queries=5)"
    found, expected = (
        losses_of(PairingModel(network, attack=attack, attention_weight=3.0))
        for network in (stopped, small_network())
    )
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["attention_pairing_loss"] > 0


def test_without_weights_it_is_adversarial_training():
    pairs = PairingModel(small_network(), attack=pgd(0.1, 0.05, 2), logit_weight=0.0)
    plain = AdversarialModel(small_network(), attack=pgd(0.1, 0.05, 2))
    found, expected = losses_of(pairs), losses_of(plain)
    assert {name: found[name] for name in expected} == expected
    for one, other in zip(pairs.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pairing_brings_logits_together():
    found = []
    for weight in (0.0, 10.0):
        model = PairingModel(small_network(), attack=fgsm(0.1), logit_weight=weight)
        model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
        for _ in range(25):
            logs = model.train_on_batch(IMAGES, LABELS, return_dict=True)
        found.append(logs["logit_pairing_loss"])
    assert found[1] < 0.5 * found[0]


def test_maps_are_not_compared_where_the_network_moves_images():
    network = keras.Sequential([keras.Input(SHAPE), keras.layers.RandomFlip(), small_network()])
    PairingModel(network, attack=fgsm(0.1), attention_layer="conv")
    with pytest.raises(ValueError, match="RandomFlip|random"):
        PairingModel(network, attack=fgsm(0.1), attention_layer="conv", attention_weight=1.0)


@pytest.mark.parametrize("name", ["logit_weight", "attention_weight"])
def test_weights_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
        PairingModel(small_network(), attack=fgsm(0.1), **{name: -1})


def test_the_loss_is_right_in_half_precision():
    network = small_network(dtype="mixed_bfloat16")
    network.set_weights(small_network().get_weights())
    exact = PairingModel(small_network(), attack=fgsm(0.1), attention_weight=1.0)
    found = losses_of(PairingModel(network, attack=fgsm(0.1), attention_weight=1.0))
    for name, value in losses_of(exact).items():
        if name.endswith("loss"):
            assert found[name] == pytest.approx(value, rel=0.1), name
