"""An evaluation ends where a direct call of the attack ends, random starts included."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.evaluation import evaluate_robustness
from tests.evaluation.attacked_networks import PRESETS, RESTARTED


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


@pytest.mark.parametrize("restarts", [1, 4])
def test_random_starts_equal_those_of_a_direct_call(restarts, random_network, random_examples):
    images, labels = random_examples
    attack = dataclasses.replace(RESTARTED, restarts=restarts)
    # In two parts, the second of which begins in the middle.
    attacked = np.concatenate(
        [
            attack(random_network, images[part], labels[part], seed=5, first_index=part.start)
            for part in (slice(0, 25), slice(25, 60))
        ]
    )
    predictions = random_network.predict_logits(attacked).numpy().argmax(-1)
    distances = np.abs(attacked - images).max(axis=(1, 2, 3))
    report = evaluate_robustness(
        random_network, random_examples, attack, seed=5, batch_size=13, success="last_iterate"
    )
    records = [record for record in report.records() if not record["clean_mistake"]]
    indices = [record["index"] for record in records]
    assert [r["adversarial_prediction"] for r in records] == predictions[indices].tolist()
    np.testing.assert_allclose([r["linf"] for r in records], distances[indices], atol=1e-6)
