"""A3 where attacks are put to use: evaluation, whose pool refills its slots, and training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import a3, fgsm, ifgsm, pgd, step_ll
from aad_tf.attacks.strength import comparisons
from aad_tf.defenses import AADModel
from aad_tf.evaluation import evaluate_robustness
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.evaluation.pool import AttackPool
from aad_tf.evaluation.summary import masking_warnings
from aad_tf.records import make_record
from tests.networks import random_images, small_network, traces

KEPT = a3(ifgsm(0.05, num_steps=3), -1.0)
PREDICTED = a3(ifgsm(0.05, num_steps=3), 1.0, explained="prediction")
RESTARTED = a3(pgd(0.08, 0.03, num_steps=3, restarts=3), 1.0)


@pytest.mark.parametrize(
    ("attack", "success"),
    [(KEPT, "last_iterate"), (PREDICTED, "any_iterate"), (RESTARTED, "any_iterate")],
)
def test_results_do_not_depend_on_batches(attack, success, network, examples):
    expected = None
    for batch_size, cut in ((4, 17), (60, 1), (1000, 25)):
        dataset = tf.data.Dataset.from_tensor_slices(examples).batch(cut)
        report = evaluate_robustness(
            network, dataset, attack, batch_size=batch_size, success=success
        )
        records = list(report.records())
        expected = records if expected is None else expected
        assert records == expected
    assert 0 < sum(record["success"] for record in records) < len(records)
    assert traces(network) == {1}


def test_every_slot_holds_the_area_of_its_own_image(network, examples):
    images, labels = examples
    correct = network.predict_logits(tf.constant(images)).numpy().argmax(-1) == labels
    images, labels = images[correct], labels[correct]
    (areas,) = RESTARTED.objective.context(network, tf.constant(images), labels)
    assert len(np.unique(areas, axis=0)) > 20
    pool = AttackPool(network, RESTARTED, 5, seed=0, any_iterate=True)
    for start in range(0, len(images), 8):
        part = slice(start, start + 8)
        indices = np.arange(len(images))[part]
        pool.add(images[part], pool.slots(labels[part], indices, labels[part], labels[part]))
    restarted = 0
    for _ in pool.run(drain=True):
        held = pool._slots["index"]
        active, _ = pool._active
        np.testing.assert_array_equal(active.context[0], areas.numpy()[held])
        np.testing.assert_array_equal(active.images, images[held])
        restarted += (pool._slots["restart"] > 0).sum()
    assert restarted > 0


def test_the_summary_says_sigma(network, examples):
    report = evaluate_robustness(network, examples, KEPT)
    (entry,) = report.summary["attacks"]
    assert entry["attack"] == "a3(ifgsm,sigma=-1)"
    assert entry["threat_model"]["objective"] == "a3(away_from_label, sigma=-1)"
    parameters = report.summary["evaluated"]["attacks"]["a3(ifgsm,sigma=-1)"]
    assert parameters["objective"]["sigma"] == -1.0


def test_another_sigma_is_another_evaluation(network, examples, tmp_path):
    attack = KEPT
    evaluate_robustness(network, examples, attack, output=tmp_path / "records.csv")
    other = dataclasses.replace(a3(ifgsm(0.05), -2.0), name=attack.name)
    with pytest.raises(ValueError, match="attacks"):
        evaluate_robustness(network, examples, other, output=tmp_path / "records.csv")


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
