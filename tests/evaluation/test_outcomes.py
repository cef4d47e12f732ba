"""Outcomes are those of a direct call of the attack.

They depend on the success rule, restarts and the seed, and on no batch or other example."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import a3, ifgsm, step_ll
from aad_tf.evaluation import evaluate_robustness
from tests.evaluation.attacked_networks import PRESETS, RESTARTED

AUGMENTED = {
    "step_ll, a3": a3(step_ll(0.05, num_steps=3), 10),
    "first target, a3": a3(step_ll(0.05, num_steps=3, relabel=False), 10),
    "first target, predicted, a3": a3(
        step_ll(0.05, num_steps=3, relabel=False), -1.0, explained="prediction"
    ),
    "kept, a3": a3(ifgsm(0.1, num_steps=3), -1.0),
}


def outcomes(report) -> dict[tuple[str, int], dict]:
    return {(record["attack"], record["index"]): record for record in report.records()}


@pytest.mark.parametrize("attack", [PRESETS["ifgsm"], PRESETS["step_ll"], RESTARTED])
def test_any_iterate_never_leaves_more_than_the_last_iterate(
    attack, random_network, random_examples
):
    worst, last = (
        evaluate_robustness(random_network, random_examples, attack, success=rule)
        for rule in ("any_iterate", "last_iterate")
    )
    missed_last = {key for key, record in outcomes(last).items() if record["success"]}
    missed_ever = {key for key, record in outcomes(worst).items() if record["success"]}
    assert missed_last <= missed_ever


def test_restarts_only_add_misclassified_examples(random_network, random_examples):
    missed = []
    for restarts in (1, 2, 4):
        attack = dataclasses.replace(RESTARTED, restarts=restarts)
        report = evaluate_robustness(
            random_network, random_examples, attack, success="last_iterate", seed=6
        )
        records = list(report.records())
        missed.append({record["index"] for record in records if record["success"]})
        assert max(record["restart"] for record in records) == restarts - 1
        survivors = [record for record in records if not record["success"]]
        assert {record["restart"] for record in survivors} == {restarts - 1}
    assert missed[0] <= missed[1] <= missed[2]
    assert missed[0] != missed[2]


@pytest.mark.parametrize("success", ["any_iterate", "last_iterate"])
def test_results_do_not_depend_on_batches(success, random_network, random_examples):
    attacks = [PRESETS["ifgsm"], RESTARTED]
    expected = None
    for batch_size, cut in ((4, 17), (60, 1), (1000, 25)):
        dataset = tf.data.Dataset.from_tensor_slices(random_examples).batch(cut)
        report = evaluate_robustness(
            random_network, dataset, attacks, batch_size=batch_size, success=success
        )
        records = list(report.records())
        expected = records if expected is None else expected
        assert records == expected


def test_other_examples_change_nothing(random_network, random_examples):
    together = outcomes(evaluate_robustness(random_network, random_examples, RESTARTED))
    first = evaluate_robustness(random_network, [part[:20] for part in random_examples], RESTARTED)
    assert outcomes(first) == {key: r for key, r in together.items() if key[1] < 20}


def test_other_seeds_start_elsewhere(random_network, random_examples):
    reports = [
        evaluate_robustness(random_network, random_examples, RESTARTED, seed=s) for s in (0, 0, 1)
    ]
    first, again, other = (list(report.records()) for report in reports)
    assert first == again
    assert first != other


def test_weights_and_batch_statistics_stay_untouched(random_network, random_examples):
    before = [np.array(value) for value in random_network.model.get_weights()]
    evaluate_robustness(random_network, random_examples, [*PRESETS.values(), RESTARTED][:3])
    for old, new in zip(before, random_network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", [*PRESETS, *AUGMENTED])
def test_last_iterates_equal_those_of_a_direct_call(name, random_network, random_examples):
    images, labels = random_examples
    attack = {**PRESETS, **AUGMENTED}[name]
    attacked = attack(random_network, images, labels)
    predictions = random_network.predict_logits(attacked).numpy().argmax(-1)
    clean = random_network.predict_logits(tf.constant(images)).numpy().argmax(-1)
    distances = np.abs(attacked.numpy() - images).max(axis=(1, 2, 3))
    report = evaluate_robustness(
        random_network, random_examples, attack, batch_size=7, success="last_iterate"
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
