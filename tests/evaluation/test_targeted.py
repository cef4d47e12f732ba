"""Targeted attacks: towards a class of one's own, for all images or for each class."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import (
    PRESETS,
    TowardsClass,
    a3,
    attack_call,
    attack_from_dict,
    attack_to_dict,
    fgsm,
    ifgsm,
    parse_attack,
    pgd,
)
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, format_summary, merge_shards
from tests.evaluation.attacked_networks import gray_images
from tests.networks import linear_network, random_images, small_network

NEXT = (1, 2, 3, 4, 0)


def shades_classifier() -> Classifier:
    """Three classes of gray levels: 0 below 0.25, 1 up to 0.75, 2 above.

    Logits 0, 4 v - 1 and 8 v - 4 of the mean gray level v.
    """
    return Classifier.from_keras(
        linear_network([0.0, 4.0, 8.0], [0.0, -1.0, -4.0], dtype="float64")
    )


def test_outcomes_by_hand():
    # In steps of 0.1 towards class 2, up by at most 0.4: 0.1 -> 0.5 is class 1 on the way, 0.2
    # likewise, 0.4 -> 0.8 is there, 0.6 after two steps. 0.9 is class 2 already, and 0.3 is
    # labelled 2 but taken for 1: neither is attacked.
    data = (gray_images([0.1, 0.2, 0.4, 0.6, 0.9, 0.3]), np.array([0, 0, 1, 1, 2, 2]))
    attack = ifgsm(0.4, num_steps=4, target=2)
    report = evaluate_robustness(shades_classifier(), data, attack, batch_size=2)
    records = list(report.records())
    assert [record["target"] for record in records] == [2] * 6
    assert [record["adversarial_prediction"] for record in records] == [1, 1, 2, 2, 2, 1]
    assert [record["success"] for record in records] == [True] * 4 + [False, True]
    # The first misclassification is kept where the target is not reached.
    assert [record["steps"] for record in records] == [2, 1, 4, 2, 0, 0]
    assert [record["linf"] for record in records] == [0.2, 0.1, 0.4, 0.2, 0.0, 0.0]
    (entry,) = report.summary["attacks"]
    assert (entry["robust_accuracy"], entry["clean_accuracy"]) == (1 / 6, 5 / 6)
    assert (entry["target_reached"], entry["own_class"]) == (2 / 4, 1)
    assert entry["images_attacked"] == 4
    assert entry["threat_model"]["target"] == 2
    assert entry["threat_model"]["objective"] == "towards_class"
    assert report.summary["warnings"] == []
    assert (
        "ifgsm is targeted at 2: 50.00% of the images attacked reach it; "
        "1 of class 2 not attacked, counted as robust." in format_summary(report.summary)
    )


def test_under_the_last_iterate_only_final_images_count():
    # Five steps of 0.1 lead 0.2 past class 1, and 0.3 into class 2.
    data = (gray_images([0.2, 0.3]), np.array([0, 1]))
    attack = ifgsm(0.5, num_steps=5, target=2)
    report = evaluate_robustness(shades_classifier(), data, attack, success="last_iterate")
    assert [record["adversarial_prediction"] for record in report.records()] == [1, 2]
    assert [record["steps"] for record in report.records()] == [5, 5]
    assert report.summary["attacks"][0]["target_reached"] == 1 / 2


def test_each_class_may_have_its_own_target():
    # Class 0 is pushed to 1, 1 to 0, and 2 to 1: by 0.3 down or up.
    data = (gray_images([0.1, 0.3, 0.9, 0.7]), np.array([0, 1, 2, 1]))
    report = evaluate_robustness(shades_classifier(), data, fgsm(0.3, target=(1, 0, 1)))
    assert [record["target"] for record in report.records()] == [1, 0, 1, 0]
    assert [record["adversarial_prediction"] for record in report.records()] == [1, 0, 1, 1]
    (entry,) = report.summary["attacks"]
    assert (entry["target_reached"], entry["own_class"]) == (3 / 4, 0)
    assert entry["threat_model"]["target"] == [1, 0, 1]


def test_only_images_of_the_target_class_leave_nothing_to_attack():
    data = (gray_images([0.8, 0.9]), np.array([2, 2]))
    report = evaluate_robustness(shades_classifier(), data, fgsm(0.3, target=2))
    (entry,) = report.summary["attacks"]
    assert (entry["robust_accuracy"], entry["target_reached"], entry["own_class"]) == (1, None, 2)
    assert "no image attacked" in format_summary(report.summary)


@pytest.mark.parametrize("target", [2, NEXT])
def test_the_last_iterate_is_that_of_a_direct_call(target, random_network, random_examples):
    images, labels = random_examples
    attack = pgd(0.15, 0.05, 4, restarts=3, target=target)
    last = evaluate_robustness(
        random_network, random_examples, attack, batch_size=7, success="last_iterate", seed=2
    )
    adversarial = attack(random_network, images, labels, seed=2)
    predicted = random_network.predict_logits(adversarial).numpy().argmax(-1)
    goals = np.full_like(labels, 2) if target == 2 else np.array(NEXT)[labels]
    attacked = [r for r in last.records() if not r["clean_mistake"] and r["target"] != r["label"]]
    reached = [r["index"] for r in attacked if r["adversarial_prediction"] == r["target"]]
    assert 0 < len(reached) < len(attacked)
    assert reached == [r["index"] for r in attacked if predicted[r["index"]] == goals[r["index"]]]
    # The worst case over the path is no milder, in either count.
    worst = evaluate_robustness(random_network, random_examples, attack, seed=2).summary
    (entry,), (final,) = worst["attacks"], last.summary["attacks"]
    assert entry["robust_accuracy"] <= final["robust_accuracy"]
    assert entry["target_reached"] >= final["target_reached"]


def test_gradients_point_at_the_target_and_spare_its_own_images():
    # Of logits w_c v the cross-entropy of class t has the gradient mean_p(w) - w_t by v.
    classifier = Classifier.from_keras(linear_network([0.0, 1.0, 3.0], dtype="float64"))
    images = tf.fill([3, 2, 2, 1], tf.constant(0.5, tf.float64))
    labels = tf.constant([0, 1, 2])
    moved = fgsm(0.1, target=2)(classifier, images, labels) - images
    np.testing.assert_allclose(moved[:, 0, 0, 0], [0.1, 0.1, 0.0], atol=1e-12)
    moved = fgsm(0.1, target=(2, 0, 1))(classifier, images, labels) - images
    np.testing.assert_allclose(moved[:, 0, 0, 0], [0.1, -0.1, -0.1], atol=1e-12)
    values, logits = TowardsClass(2)(classifier, images, labels)
    expected = keras.ops.logsumexp(logits[0]) - logits[0, 2]
    np.testing.assert_allclose(values, [expected, expected, 0.0])


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgsm(epsilon=0.1,target=3)", fgsm(0.1, target=3)),
        ("ifgsm(epsilon=0.1,target=0)", ifgsm(0.1, target=0)),
        (
            "pgd(epsilon=8/255,step_size=2/255,num_steps=10,target=(1,2,0))",
            pgd(8 / 255, 2 / 255, 10, target=(1, 2, 0)),
        ),
        ("a3(fgsm(epsilon=0.1,target=2),sigma=3.0)", a3(fgsm(0.1, target=2), 3)),
    ],
)
def test_targets_in_text_and_in_records(text, attack):
    assert parse_attack(text) == attack
    assert attack_call(attack) == text
    assert attack_from_dict(json.loads(json.dumps(attack_to_dict(attack)))) == attack


def test_arrays_of_targets_become_tuples():
    assert (
        fgsm(0.1, target=np.array([1, 0])) == fgsm(0.1, target=[1, 0]) == fgsm(0.1, target=(1, 0))
    )
    assert hash(fgsm(0.1, target=np.int64(3))) == hash(fgsm(0.1, target=3))


@pytest.mark.parametrize("name", ["fgsm", "ifgsm", "pgd"])
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (-1, ValueError, "target must be at least 0, got -1"),
        (1.5, TypeError, "target must be an integer, got 1.5"),
        ("cat", TypeError, "target must be an integer, got 'cat'"),
        ((1, "cat"), TypeError, "target must be an integer, got 'cat'"),
        ((1, 1, 0), ValueError, "another class for each class.*class 1 has itself"),
        ((), ValueError, "another class for each class"),
    ],
)
def test_targets_that_are_no_classes(name, target, error, message):
    sizes = {"step_size": 0.1, "num_steps": 2} if name == "pgd" else {}
    with pytest.raises(error, match=message):
        PRESETS[name](epsilon=0.1, target=target, **sizes)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, r"target must lie in \[0, 3\), the classes of the network, got 3"),
        ((1, 0), "one for each of the 3 classes of the network, got 2"),
        ((1, 2, 0, 0), "one for each of the 3 classes of the network, got 4"),
    ],
)
def test_targets_that_the_network_does_not_have(target, message, tmp_path):
    classifier, attack = Classifier.from_keras(small_network()), fgsm(0.1, target=target)
    with pytest.raises(ValueError, match=message):
        attack(classifier, random_images(), [0, 1, 2, 0])
    with pytest.raises(ValueError, match=message):
        evaluate_robustness(
            classifier, (random_images(), [0, 1, 2, 0]), attack, output=tmp_path / "x.jsonl"
        )
    assert not list(tmp_path.iterdir())


def test_parts_are_joined(tmp_path):
    classifier, images = shades_classifier(), gray_images(np.linspace(0.05, 0.95, 12))
    labels = np.repeat([0, 1, 2], [3, 6, 3])
    options = {"attacks": ifgsm(0.3, target=2)}
    whole = evaluate_robustness(
        classifier, (images, labels), output=tmp_path / "whole.jsonl", **options
    ).summary
    for number, part in ((1, slice(0, 6)), (2, slice(6, 12))):
        evaluate_robustness(
            classifier,
            (images[part], labels[part]),
            output=tmp_path / f"{number}.jsonl",
            first_index=part.start,
            shard=(number, 2),
            **options,
        )
    merged = merge_shards([tmp_path / "1.jsonl", tmp_path / "2.jsonl"], tmp_path / "all.jsonl")
    for key in ("target_reached", "own_class", "robust_accuracy"):
        assert merged["attacks"][0][key] == whole["attacks"][0][key]
