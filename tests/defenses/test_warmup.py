"""Warm-up: perturbations grow linearly over the first updates, and only in training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AADModel, AdversarialModel
from aad_tf.attacks import fgsm, step_ll
from tests.networks import small_network


def network() -> keras.Model:
    return small_network(shape=(6, 6, 1))


IMAGES = tf.fill((2, 6, 6, 1), 0.5)


@pytest.mark.parametrize(("updates", "fraction"), [(0, 0.25), (1, 0.5), (3, 1.0), (10, 1.0)])
def test_the_perturbation_grows_by_one_part_per_update(updates: int, fraction: float) -> None:
    model = AdversarialModel(network(), attack=fgsm(0.2), warmup_steps=4)
    model.compile("sgd")
    model.optimizer.iterations.assign(updates)
    warmed = model.warmed_up(IMAGES, IMAGES + 0.2)
    np.testing.assert_allclose(warmed, IMAGES + 0.2 * fraction, atol=1e-7)


def test_rounds_grow_alike() -> None:
    model = AADModel(network(), attack=step_ll(0.1, num_steps=2), warmup_steps=2)
    model.compile("sgd")
    rounds = tf.stack([IMAGES + 0.1, IMAGES + 0.2])
    expected = tf.stack([IMAGES + 0.05, IMAGES + 0.1])
    np.testing.assert_allclose(model.warmed_up(IMAGES, rounds), expected, atol=1e-7)


def test_without_warmup_images_are_left_as_they_are() -> None:
    model = AdversarialModel(network(), attack=fgsm(0.2))
    adversarial = IMAGES + 0.2
    assert model.warmed_up(IMAGES, adversarial) is adversarial


def test_training_sees_the_smaller_perturbation_and_evaluation_the_full_one() -> None:
    keras.utils.set_random_seed(1)
    generator = np.random.default_rng(0)
    images = generator.uniform(0.3, 0.7, (8, 6, 6, 1)).astype("float32")
    labels = np.arange(8) % 3
    losses = {}
    one_network = network()
    for steps in (0, 1000):
        model = AdversarialModel(
            one_network, attack=fgsm(0.3), warmup_steps=steps, replace_clean=True
        )
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        trained = model.fit(images, labels, batch_size=8, verbose=0).history["loss"][0]
        losses[steps] = trained, model.evaluate(images, labels, batch_size=8, verbose=0)[0]
    assert losses[1000][0] < losses[0][0] - 1e-4
    assert losses[1000][1] == pytest.approx(losses[0][1], abs=1e-6)


def test_a_negative_number_of_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup_steps must be at least 0, got -1"):
        AdversarialModel(network(), attack=fgsm(0.2), warmup_steps=-1)
