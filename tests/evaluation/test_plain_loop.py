"""An evaluation ends where the plain loop over an attack's steps ends, from documented noise."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import pgd
from aad_tf.attacks.steps import compiled_step
from aad_tf.evaluation import evaluate_robustness
from aad_tf.evaluation.noise import unit_noise
from tests.evaluation.attacked_networks import PRESETS


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("batch_size", [7, 100])
def test_last_iterates_equal_the_plain_loop(name, batch_size, random_network, random_examples):
    images, labels = random_examples
    attack = PRESETS[name]
    attacked = attack(random_network, images, labels)
    predictions = random_network.predict_logits(attacked).numpy().argmax(-1)
    clean = random_network.predict_logits(tf.constant(images)).numpy().argmax(-1)
    distances = np.abs(attacked.numpy() - images).max(axis=(1, 2, 3))
    report = evaluate_robustness(
        random_network, random_examples, attack, batch_size=batch_size, success="last_iterate"
    )
    records = list(report.records())
    expected = np.where(clean == labels, predictions, clean)
    assert 0 < (expected == labels).sum() < (clean == labels).sum()
    np.testing.assert_array_equal([r["adversarial_prediction"] for r in records], expected)
    expected = np.where(clean == labels, distances, 0.0)
    np.testing.assert_allclose([r["linf"] for r in records], expected, atol=1e-6)


def test_a_random_start_is_the_documented_one(random_network, random_examples):
    images, labels = random_examples
    attack = pgd(0.1, step_size=0.03, num_steps=3)
    noise = np.stack([unit_noise(5, i, 0, images.shape[1:]) for i in range(len(images))])
    current = tf.constant(np.clip(images + 0.1 * noise, 0, 1))
    step = compiled_step(random_network, attack.objective)
    for _ in range(3):
        current, _ = step(current, images, labels, *attack.scalars(tf.float64))
    predictions = random_network.predict_logits(current).numpy().argmax(-1)
    report = evaluate_robustness(
        random_network, random_examples, attack, seed=5, batch_size=13, success="last_iterate"
    )
    for record in report.records():
        if not record["clean_mistake"]:
            assert record["adversarial_prediction"] == predictions[record["index"]]


def test_noise_is_uniform_and_fixed_for_good():
    noise = unit_noise(seed=3, index=5, restart=1, shape=(64, 64, 3))
    assert noise.dtype == np.float32
    assert noise.min() >= -1 and noise.max() < 1
    histogram, _ = np.histogram(noise, bins=8, range=(-1, 1))
    # Binomial counts of 12,288 draws in eight bins: 1536, standard deviation 37.
    assert np.abs(histogram - 1536).max() < 5 * 37
    others = [(4, 5, 1), (3, 6, 1), (3, 5, 2)]
    for seed, index, restart in others:
        other = unit_noise(seed, index, restart, (64, 64, 3))
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05
    negative = unit_noise(seed=-1, index=0, restart=0, shape=(3,))
    assert np.isfinite(negative).all()
