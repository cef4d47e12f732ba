"""A3 where attacks are put to use: evaluation, whose pool refills its slots, and training."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import a3, fgsm, ifgsm, pgd, step_ll
from aad_tf.attacks.loop import compiled_context, compiled_iteration
from aad_tf.classifier import Classifier
from aad_tf.defenses import AADModel
from aad_tf.evaluation import evaluate_robustness
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.evaluation.pool import AttackPool
from aad_tf.evaluation.summary import comparisons, masking_warnings
from aad_tf.records import make_record
from tests.networks import random_images, small_network

layers = keras.layers
ATTACKS = {
    "fgsm": a3(fgsm(0.1), 10),
    "step_ll": a3(step_ll(0.05, num_steps=3), 10),
    "first target": a3(step_ll(0.05, num_steps=3, relabel=False), 10),
    "first target, predicted": a3(
        step_ll(0.05, num_steps=3, relabel=False), -1.0, explained="prediction"
    ),
    "first target, no sigma": a3(step_ll(0.05, num_steps=3, relabel=False), 0.0),
    "plain first target": step_ll(0.05, num_steps=3, relabel=False),
    "kept": a3(ifgsm(0.05, num_steps=3), -1.0),
    "predicted": a3(ifgsm(0.05, num_steps=3), 1.0, explained="prediction"),
    "pgd": a3(pgd(0.1, 0.04, num_steps=4, random_start=False), 1.0),
}
RESTARTED = a3(pgd(0.08, 0.03, num_steps=3, restarts=3), 1.0)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """In float64, where the same image gives the same signs in any batch."""
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((6, 6, 2), dtype="float64"),
            layers.Conv2D(8, 3, activation="gelu", dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dense(12, activation="tanh", dtype="float64"),
            layers.Dense(5, dtype="float64"),
        ]
    )
    network.layers[-1].kernel.assign(3 * network.layers[-1].kernel)
    return Classifier.from_keras(network)


@pytest.fixture(scope="module")
def examples(classifier) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of which the network gets nine in ten right."""
    images = random_images(60, (6, 6, 2), 2, "float64")
    labels = classifier.predict_logits(tf.constant(images)).numpy().argmax(-1)
    labels[::10] = (labels[::10] + 1) % 5
    return images, labels.astype(np.int32)


@pytest.mark.parametrize("name", ATTACKS)
def test_evaluation_equals_attack_then_predict(name, classifier, examples):
    images, labels = examples
    attack = ATTACKS[name]
    attacked = attack(classifier, images, labels)
    predictions = classifier.predict_logits(attacked).numpy().argmax(-1)
    clean = classifier.predict_logits(tf.constant(images)).numpy().argmax(-1)
    report = evaluate_robustness(classifier, examples, attack, batch_size=7, success="last_iterate")
    records = list(report.records())
    expected = np.where(clean == labels, predictions, clean)
    assert 0 < (expected == labels).sum() < (clean == labels).sum()
    np.testing.assert_array_equal([r["adversarial_prediction"] for r in records], expected)
    moved = np.abs(attacked.numpy() - images).max(axis=(1, 2, 3))
    np.testing.assert_allclose(
        [r["linf"] for r in records], np.where(clean == labels, moved, 0.0), atol=1e-6
    )


@pytest.mark.parametrize("attack", [ATTACKS["kept"], ATTACKS["predicted"], RESTARTED])
@pytest.mark.parametrize("success", ["any_iterate", "last_iterate"])
def test_results_do_not_depend_on_batches(attack, success, classifier, examples):
    expected = None
    for batch_size, cut in ((4, 17), (60, 1), (1000, 25)):
        dataset = tf.data.Dataset.from_tensor_slices(examples).batch(cut)
        report = evaluate_robustness(
            classifier, dataset, attack, batch_size=batch_size, success=success
        )
        records = list(report.records())
        expected = records if expected is None else expected
        assert records == expected
    assert 0 < sum(record["success"] for record in records) < len(records)
    for function in (compiled_iteration, compiled_context):
        assert function(classifier, attack.objective).experimental_get_tracing_count() == 1


def test_every_slot_holds_the_area_of_its_own_image(classifier, examples):
    images, labels = examples
    right = classifier.predict_logits(tf.constant(images)).numpy().argmax(-1) == labels
    images, labels = images[right], labels[right]
    (areas,) = RESTARTED.objective.context(classifier, tf.constant(images), labels)
    assert len(np.unique(areas, axis=0)) > 30
    pool = AttackPool(classifier, RESTARTED, 5, seed=0, any_iterate=True)
    for start in range(0, len(images), 8):
        part = slice(start, start + 8)
        pool.add(images[part], labels[part], np.arange(len(images))[part])
    restarted = 0
    for _ in pool.run(drain=True):
        held = pool._slots["index"]
        active, _ = pool._active
        np.testing.assert_array_equal(active.context[0], areas.numpy()[held])
        np.testing.assert_array_equal(active.images, images[held])
        restarted += (pool._slots["restart"] > 0).sum()
    assert restarted > 0


def test_the_summary_says_sigma(classifier, examples):
    report = evaluate_robustness(classifier, examples, ATTACKS["kept"])
    (entry,) = report.summary["attacks"]
    assert entry["attack"] == "a3(ifgsm,sigma=-1)"
    assert entry["threat_model"]["objective"] == "a3(away_from_label, sigma=-1)"
    parameters = report.summary["evaluated"]["attacks"]["a3(ifgsm,sigma=-1)"]
    assert parameters["objective"]["sigma"] == -1.0


def test_another_sigma_is_another_evaluation(classifier, examples, tmp_path):
    attack = ATTACKS["kept"]
    evaluate_robustness(classifier, examples, attack, output=tmp_path / "records.csv")
    other = dataclasses.replace(a3(ifgsm(0.05), -2.0), name=attack.name)
    with pytest.raises(ValueError, match="attacks"):
        evaluate_robustness(classifier, examples, other, output=tmp_path / "records.csv")


def test_more_steps_of_a_mixed_aim_are_no_sign_of_masking():
    def warnings(one_step, three_steps):
        counts = OutcomeCounts([one_step.name, three_steps.name])
        for index in range(50):
            for attack, predicted in ((one_step, 1), (three_steps, 0)):
                numbers = {"index": index, "label": 0, "clean_prediction": 0, "linf": 0.1}
                counts.add(make_record(attack.name, adversarial_prediction=predicted, **numbers))
        attacks = [one_step, three_steps]
        models = [attack.threat_model() for attack in attacks]
        return masking_warnings(models, comparisons(attacks), counts)

    assert warnings(a3(fgsm(0.1), 10), a3(ifgsm(0.1), 10)) == []
    # PGD alone aims at the label only, so it should not do worse than an A3 step.
    assert len(warnings(a3(fgsm(0.1), 10), ifgsm(0.1))) == 1


@pytest.mark.parametrize("update_per_round", [False, True])
def test_a_network_trains_on_it(update_per_round):
    attack = a3(step_ll(0.1, num_steps=2), 10)
    model = AADModel(small_network(), attack=attack, update_per_round=update_per_round)
    model.compile("adam")
    before = model.network.get_weights()
    history = model.fit(random_images(8), np.arange(8) % 3, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, model.network.get_weights(), strict=True))
