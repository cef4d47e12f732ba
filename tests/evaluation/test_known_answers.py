"""Outcomes, steps and distances on networks of gray levels, worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from aad_tf.attacks import (
    GradientSignAttack,
    attack_from_record,
    fgsm,
    ifgsm,
    parse_attack,
    pgd,
)
from aad_tf.attacks.starts import unit_noise
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness
from aad_tf.records import RECORD_KEYS
from tests.evaluation.attacked_networks import brightness_classifier, gray_images, island_classifier


def test_robust_accuracy_and_records_of_a_linear_classifier():
    # Gray v is misclassified after FGSM of size 0.15 where |v - 0.5| < 0.15, the last one always.
    levels, labels = [0.1, 0.3, 0.4, 0.6, 0.7, 0.9], [0, 0, 0, 1, 1, 0]
    data = (gray_images(levels), np.array(labels))
    report = evaluate_robustness(brightness_classifier(), data, [fgsm(0.15)], batch_size=2)
    (entry,) = report.summary["attacks"]
    assert entry["clean_accuracy"] == 5 / 6
    assert entry["robust_accuracy"] == report.robust_accuracy("fgsm") == 3 / 6
    assert (entry["count"], entry["robust"], entry["fooled"], entry["clean_mistakes"]) == (
        6,
        3,
        2,
        1,
    )
    records = list(report.records())
    assert [record["success"] for record in records] == [False, False, True, True, False, True]
    assert [record["clean_mistake"] for record in records] == [False] * 5 + [True]
    assert [record["adversarial_prediction"] for record in records] == [0, 0, 1, 0, 1, 1]
    assert [record["linf"] for record in records] == [0.15] * 5 + [0.0]
    assert [record["steps"] for record in records] == [1, 1, 1, 1, 1, 0]
    assert all(tuple(record) == RECORD_KEYS for record in records)


def test_attacks_of_equal_name_are_told_apart_by_their_parameters():
    # Gray v is misclassified after FGSM of size epsilon where |v - 0.5| < epsilon.
    data = (gray_images([0.4, 0.6, 0.65, 0.9]), np.array([0, 1, 1, 1]))
    attacks = [fgsm(0.05), fgsm(0.12), fgsm(0.2), ifgsm(0.2)]
    report = evaluate_robustness(brightness_classifier(), data, attacks)
    found = {entry["attack"]: entry["robust_accuracy"] for entry in report.summary["attacks"]}
    assert found == {
        "fgsm(epsilon=0.05)": 1.0,
        "fgsm(epsilon=0.12)": 0.5,
        "fgsm(epsilon=0.2)": 0.25,
        "ifgsm": 0.25,
    }
    assert report.robust_accuracy("fgsm(epsilon=0.12)") == 0.5
    assert report.robust_accuracy("ifgsm") == 0.25
    with pytest.raises(ValueError, match=r"Several attacks are 'fgsm': choose one of fgsm\(epsil"):
        report.robust_accuracy("fgsm")
    with pytest.raises(ValueError, match="No attack is named 'pgd'"):
        report.robust_accuracy("pgd")
    assert [attack_from_record(entry["threat_model"]) for entry in report.summary["attacks"]] == (
        attacks
    )
    only = evaluate_robustness(brightness_classifier(), data, parse_attack("fgsm(epsilon=0.12)"))
    assert only.robust_accuracy("fgsm") == 0.5


def test_an_iterated_attack_stops_at_the_first_misclassification():
    # Steps of 0.05 from 0.5 + d lead to misclassification at the first multiple above d.
    distances = [0.02, 0.07, 0.12, 0.17, 0.24]
    data = (gray_images([0.5 + d for d in distances]), np.ones(5, int))
    attack = ifgsm(0.2, num_steps=4)
    report = evaluate_robustness(brightness_classifier(), data, attack, batch_size=2)
    records = list(report.records())
    assert [record["steps"] for record in records] == [1, 2, 3, 4, 4]
    assert [record["success"] for record in records] == [True] * 4 + [False]
    np.testing.assert_allclose([r["linf"] for r in records], [0.05, 0.1, 0.15, 0.2, 0.2])


def test_a_path_over_an_island_counts_under_any_iterate_only():
    # From 0.5 the loss climbs to 0.62, which is class 1; there the slope points back to 0.5.
    data = (gray_images([0.5]), np.array([0]))
    attack = ifgsm(0.15, num_steps=2, step_size=0.12)
    worst = evaluate_robustness(island_classifier(), data, attack)
    (record,) = worst.records()
    assert (record["success"], record["steps"], record["linf"]) == (True, 1, 0.12)
    last = evaluate_robustness(island_classifier(), data, attack, success="last_iterate")
    (record,) = last.records()
    assert (record["success"], record["steps"], record["linf"]) == (False, 2, 0.0)


def test_a_random_start_counts_as_an_iterate():
    # Within 0.3 of 0.6, uniform gray noise crosses 0.5 for some images before any step.
    data = (gray_images([0.55] * 40), np.ones(40, int))
    attack = pgd(0.3, step_size=0.3, num_steps=1)
    records = list(evaluate_robustness(brightness_classifier(), data, attack).records())
    starts = 0.55 + 0.3 * unit_noise(0, np.arange(40), 0, (2, 2, 1)).numpy()
    misclassified = starts.mean(axis=(1, 2, 3)) < 0.5
    assert 0 < misclassified.sum() < 40
    np.testing.assert_array_equal([r["steps"] == 0 for r in records], misclassified)


def test_attacks_of_other_pixel_ranges_use_them():
    inner = brightness_classifier().model
    wide = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Rescaling(1 / 255), inner])
    classifier = Classifier.from_keras(wide, bounds=(0.0, 255.0))
    attack = GradientSignAttack(fgsm(0.1).objective, 1.0, 1, 1.0, name="one level")
    images = 255 * gray_images([0.501, 0.51]).astype(np.float32)
    report = evaluate_robustness(classifier, (images, np.array([1, 1])), attack)
    assert [record["success"] for record in report.records()] == [True, False]
    assert [record["linf"] for record in report.records()] == [1.0, 1.0]
