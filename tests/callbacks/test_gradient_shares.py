"""Fractions of the terms in the gradient are those of gradients taken one by one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks
from aad_tf.callbacks import GradientShares
from aad_tf.defenses import AADModel
from aad_tf.losses import AADLosses
from tests.callbacks.small_fits import fit, quadrants, small_network, standard


def test_gradient_shares_agree_with_gradients_taken_one_by_one():
    images, labels = quadrants(6)
    network = small_network()
    attack = attacks.step_ll(0.1, 2)
    weights = (8.0, 4.0, 1.0)

    def norm(one):
        model = AADModel(network, attack=attack, weights=np.eye(3)[one] * weights)
        adversarial = model.adversarial_images(tf.constant(images), tf.constant(labels, tf.int32))
        with tf.GradientTape() as tape:
            losses, _ = model.training_losses(
                tf.constant(images), tf.constant(labels, tf.int32), adversarial, training=False
            )
            loss = tf.reduce_mean(losses["loss"])
        gradients = tape.gradient(loss, network.trainable_variables)
        return np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients))

    norms = np.array([norm(one) for one in range(3)])
    model = AADModel(network, attack=attack, weights=weights)
    model.compile(keras.optimizers.SGD(0.0))
    callback = GradientShares(images, labels)
    callback.set_model(model)
    found = callback.measure(0)
    np.testing.assert_allclose(list(found.values()), norms / norms.sum(), rtol=1e-4)
    assert list(found) == [
        "gradient_share_classification",
        "gradient_share_rectification",
        "gradient_share_preservation",
    ]


@pytest.mark.parametrize("update_per_round", [False, True])
def test_gradient_shares_in_a_fit(update_per_round):
    model = AADModel(
        small_network(),
        attack=attacks.step_ll(0.1, 2),
        weights=(1, 1, 0),
        update_per_round=update_per_round,
    )
    model.compile("adam", run_eagerly=True)
    history = fit(model, [GradientShares(*quadrants(6))], epochs=2, batch_size=24)
    terms = ("classification", "rectification", "preservation")
    fractions = np.array([history[f"gradient_share_{term}"] for term in terms])
    np.testing.assert_allclose(fractions.sum(axis=0), 1.0, atol=1e-6)
    assert (fractions[:2] > 0).all() and (fractions[2] == 0).all()
    norms = model.classifier.compiled[("gradient_norms", model, False)]
    assert norms.experimental_get_tracing_count() == 1


def test_training_mode_shows_dropout_and_changes_nothing():
    """Clean and attacked images are equal here, so that L_p is of dropout masks alone."""
    layers = keras.layers
    images, labels = quadrants(6)
    # Unlike that of l1, its gradient fades with rounding errors.
    losses = AADLosses(preservation="squared_sum")
    found = {}
    for noise in ("independent", "shared"):
        network = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(4, 3, activation="relu"),
                layers.BatchNormalization(),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dropout(0.5),
                layers.Dense(4),
            ]
        )
        model = AADModel(network, attack=attacks.fgsm(0.0), losses=losses, attention_noise=noise)
        model.compile(keras.optimizers.SGD(0.0))
        before = [variable.numpy() for variable in network.variables]
        for training in (False, True) if noise == "independent" else (True,):
            callback = GradientShares(images, labels, training=training, name="part")
            callback.set_model(model)
            first, second = callback.measure(0), callback.measure(1)
            assert first == second
            found[noise, training] = first["part_preservation"]
        for variable, value in zip(network.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
    assert found["independent", True] > 1e-3
    assert found["independent", False] < 1e-6 and found["shared", True] < 1e-6


def test_training_mode_restores_weights_that_layers_change():
    """SpectralNormalization divides its kernel by an estimate of its largest singular value."""
    layers = keras.layers
    images, labels = quadrants(6)
    first = layers.SpectralNormalization(layers.Conv2D(4, 3, activation="relu"))
    last = [layers.GlobalAveragePooling2D(), layers.Dense(4)]
    network = keras.Sequential([keras.Input((8, 8, 1)), first, *last])
    model = AADModel(network, attack=attacks.fgsm(0.1))
    model.compile(keras.optimizers.SGD(0.0))
    before = [variable.numpy() for variable in network.variables]
    callback = GradientShares(images, labels, training=True)
    callback.set_model(model)
    assert sum(callback.measure(0).values()) == pytest.approx(1.0)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_gradient_shares_need_several_terms():
    with pytest.raises(TypeError, match="GradientShares needs an AADModel.*Leave the callback out"):
        fit(standard(), [GradientShares(*quadrants(4))])
