"""APGD, FAB, Square and the cascade of AutoAttack in evaluations, where the answer is known."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, format_summary, merge_shards

SIDE, CLASSES, EPSILON = 6, 3, 0.02


def linear_classifier(scale: float = 1.0) -> Classifier:
    """Logits that are linear in the pixels."""
    copy = keras.layers.Conv2D(1, 1, use_bias=False)
    scores = keras.layers.Dense(CLASSES)
    network = keras.Sequential([keras.Input((SIDE, SIDE, 1)), copy, keras.layers.Flatten(), scores])
    copy.set_weights([np.ones((1, 1, 1, 1))])
    kernel = np.random.default_rng(0).normal(size=(SIDE * SIDE, CLASSES))
    # Of gray images no class is favoured.
    scores.set_weights([scale * (kernel - kernel.mean(0)), np.zeros(CLASSES)])
    return Classifier.from_keras(network)


@pytest.fixture(scope="module")
def linear() -> Classifier:
    return linear_classifier()


@pytest.fixture(scope="module")
def data(linear) -> tuple[np.ndarray, np.ndarray]:
    """Images away from black and white, so that the ball lies within the pixel range."""
    images = np.random.default_rng(1).uniform(0.3, 0.7, (40, SIDE, SIDE, 1)).astype("float32")
    labels = np.argmax(linear.predict_logits(tf.constant(images)), -1)
    labels[:3] = (labels[:3] + 1) % CLASSES
    return images, labels


@pytest.fixture(scope="module")
def distances(linear, data) -> np.ndarray:
    """l-inf distances to the nearest boundary: the gap of logits over the l1 norm of its slope."""
    images, labels = data
    kernel = linear.model.layers[-1].get_weights()[0]
    logits = images.reshape(len(images), -1) @ kernel
    rows = np.arange(len(images))
    gaps = logits[rows, labels][:, None] - logits
    slopes = np.abs(kernel[:, labels].T[:, :, None] - kernel[None]).sum(1)
    with np.errstate(invalid="ignore"):
        ratios = np.where(slopes > 0, gaps / slopes, np.inf)
    return ratios.min(1)


CASCADE = attacks.AttackCascade(
    (
        attacks.apgd(EPSILON, num_steps=10),
        attacks.apgd(EPSILON, num_steps=10, loss="targeted_dlr"),
        attacks.fab(EPSILON, num_steps=5),
        attacks.square(EPSILON, num_queries=20),
    ),
    ("apgd-ce", "apgd-t", "fab-t", "square"),
)


# APGD's losses curve where the logits do not, so one image close to the boundary may be missed.
@pytest.mark.parametrize(
    ("attack", "missed"),
    [
        (attacks.apgd(EPSILON, num_steps=20), 1),
        (attacks.apgd(EPSILON, num_steps=20, loss="dlr"), 0),
        (attacks.apgd(EPSILON, num_steps=20, loss="targeted_dlr"), 1),
        (attacks.fab(EPSILON, num_steps=10), 0),
        (CASCADE, 0),
    ],
    ids=["apgd-ce", "apgd-dlr", "apgd-t", "fab", "cascade"],
)
def test_attacks_are_exact_on_a_linear_network(linear, data, distances, attack, missed):
    report = evaluate_robustness(linear, data, attack, batch_size=16)
    found = np.full(40, False)
    for record in report.records():
        found[record["index"]] = not record["success"]
        assert record["linf"] <= EPSILON + 1e-6
    clear = np.abs(distances - EPSILON) > 1e-4
    robust = distances > EPSILON
    assert 3 < robust.sum() < 37
    assert found[robust & clear].all()
    assert found[~robust & clear].sum() <= missed
    # What is called directly ends the same way.
    images, labels = data
    adversarial = attack(linear, images, labels)
    assert float(tf.reduce_max(tf.abs(adversarial - images))) <= EPSILON + 1e-6
    again = np.argmax(linear.predict_logits(adversarial), -1) == labels
    np.testing.assert_array_equal(again[clear], found[clear])


def test_fab_without_a_budget_finds_the_distance_to_the_boundary(linear, data, distances):
    report = evaluate_robustness(linear, data, attacks.fab(None, num_steps=10))
    for record in report.records():
        if not record["clean_mistake"]:
            assert record["success"]
            # It stops a little beyond the boundary, and never before.
            assert record["linf"] == pytest.approx(distances[record["index"]], rel=0.06)
            assert record["linf"] >= distances[record["index"]] * (1 - 1e-4)


def test_records_name_the_attack_that_broke_an_image(linear, data):
    report = evaluate_robustness(linear, data, CASCADE)
    entry = report.summary["attacks"][0]
    broken = [record["broken_by"] for record in report.records()]
    for stage, record in zip(broken, report.records(), strict=True):
        assert (stage is not None) == (record["success"] and not record["clean_mistake"])
    after, left = [], sum(not record["clean_mistake"] for record in report.records())
    for name in CASCADE.stage_names:
        left -= broken.count(name)
        after.append(left / 40)
    assert [stage["robust_accuracy"] for stage in entry["stages"]] == after
    assert after[-1] == entry["robust_accuracy"]
    assert "cascade, robust accuracy after each attack: apgd-ce" in format_summary(report.summary)


def test_a_cascade_is_as_strong_as_its_attacks_apart(linear, data):
    weak = attacks.AttackCascade((attacks.fgsm(EPSILON), attacks.square(EPSILON, num_queries=15)))
    together = evaluate_robustness(linear, data, weak).records()
    apart = [evaluate_robustness(linear, data, stage).records() for stage in weak.stages]
    for joined, *single in zip(together, *apart, strict=True):
        assert joined["success"] == any(record["success"] for record in single)


def test_neither_batches_nor_parts_change_records(linear, data, tmp_path):
    attack = dataclasses.replace(CASCADE, name="parts")
    whole = list(evaluate_robustness(linear, data, attack, batch_size=40).records())
    assert list(evaluate_robustness(linear, data, attack, batch_size=7).records()) == whole
    images, labels = data
    parts = []
    for number, (start, stop) in enumerate([(0, 14), (14, 40)], 1):
        parts.append(tmp_path / f"{number}.jsonl")
        evaluate_robustness(
            linear,
            (images[start:stop], labels[start:stop]),
            attack,
            output=parts[-1],
            first_index=start,
            shard=(number, 2),
        )
    merged = merge_shards(parts, tmp_path / "whole.jsonl")
    report = evaluate_robustness(linear, data, attack, output=tmp_path / "once.jsonl")
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "once.jsonl").read_bytes()
    assert merged["attacks"][0]["stages"] == report.summary["attacks"][0]["stages"]


def test_a_ratio_of_logits_sees_through_saturation(data, distances):
    # In float32 the softmax of logits this large is exactly one, and the gradient zero.
    saturated = linear_classifier(scale=1e5)
    cross_entropy = attacks.apgd(EPSILON, num_steps=10)
    ratio = attacks.apgd(EPSILON, num_steps=10, loss="dlr")
    report = evaluate_robustness(
        saturated, data, [cross_entropy, dataclasses.replace(ratio, name="dlr")]
    )
    exact = np.mean(distances > EPSILON)
    assert report.robust_accuracy("dlr") == pytest.approx(exact, abs=0.03)
    assert report.robust_accuracy("apgd") > exact + 0.2


def test_few_classes_are_all_targets():
    attack = attacks.apgd(0.1, loss="targeted_dlr", restarts=2)
    assert attack.restarts == 18
    assert attack.for_classes(10) == attack
    assert attack.for_classes(4).restarts == 6
    assert attacks.fab(0.1, num_steps=7).for_classes(4).num_steps == 22


def test_auto_attack_has_the_published_numbers():
    cascade = attacks.auto_attack(8 / 255)
    ce, targeted, fab, square = cascade.stages
    assert (ce.num_steps, ce.restarts, ce.objective.name) == (100, 1, "away_from_label")
    assert (targeted.num_steps, targeted.restarts) == (100, 9)
    assert (fab.steps_per_target, fab.num_steps) == (100, 901)
    assert (square.num_steps, square.fraction) == (5000, 0.8)
    assert cascade.stage_names == ("apgd-ce", "apgd-t", "fab-t", "square")
    assert cascade.threat_model()["epsilon_255"] == pytest.approx(8)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: attacks.AttackCascade(()), "at least one"),
        (
            lambda: attacks.AttackCascade((attacks.fgsm(0.1), attacks.fgsm(0.2))),
            "names that differ",
        ),
        (
            lambda: attacks.AttackCascade((attacks.fgsm(0.1), attacks.fgsm(0.2)), ("a", "b")),
            "one budget",
        ),
        (lambda: attacks.apgd(0.1, loss="hinge"), "Unknown loss"),
        (lambda: attacks.square(0.1, fraction=0.0), "fraction"),
        (lambda: attacks.fab(0.1, num_steps=0), "num_steps"),
    ],
)
def test_impossible_attacks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
