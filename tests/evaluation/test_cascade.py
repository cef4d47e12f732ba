"""APGD, FAB, Square and the cascade of AutoAttack in evaluations, where the answer is known."""

from __future__ import annotations

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AADModel, AdversarialModel, attacks
from aad_tf.attention_study import study_attention
from aad_tf.callbacks import RobustAccuracy
from aad_tf.classifier import Classifier
from aad_tf.configs import DefenseConfig
from aad_tf.evaluation import (
    bisected_curve,
    evaluate_robustness,
    format_summary,
    merge_shards,
    security_curve,
)
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.evaluation.summary import summarize, timing
from aad_tf.metrics import wilson_interval
from aad_tf.records import make_record, read_records
from aad_tf.types import Bounds
from tests.evaluation.attacked_networks import brightness_classifier, gray_images
from tests.networks import TracedCalls, small_network, traces

SIDE, CLASSES, EPSILON = 6, 3, 0.02


def linear_classifier(scale: float = 1.0, seed: int = 0) -> Classifier:
    """Logits that are linear in the pixels; of another seed, close to those of seed 0."""
    copy = keras.layers.Conv2D(1, 1, use_bias=False)
    scores = keras.layers.Dense(CLASSES)
    network = keras.Sequential([keras.Input((SIDE, SIDE, 1)), copy, keras.layers.Flatten(), scores])
    copy.set_weights([np.ones((1, 1, 1, 1))])
    kernel = np.random.default_rng(0).normal(size=(SIDE * SIDE, CLASSES))
    if seed:
        kernel += np.random.default_rng(seed).normal(size=kernel.shape)
    # Of gray images no class is favoured.
    scores.set_weights([scale * (kernel - kernel.mean(0)), np.zeros(CLASSES)])
    return Classifier.from_keras(network)


@pytest.fixture(scope="module")
def linear() -> Classifier:
    return linear_classifier()


@pytest.fixture(scope="module")
def saturated() -> Classifier:
    """In float32 the softmax of logits this large is exactly one, and its gradient zero."""
    return linear_classifier(scale=1e5)


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
        attacks.fab(EPSILON, num_steps=10),
        attacks.square(EPSILON, num_queries=20),
    ),
    ("apgd-ce", "apgd-t", "fab-t", "square"),
)


# APGD's losses curve where the logits do not, so one image close to the boundary may be missed.
@pytest.mark.parametrize(
    ("attack", "missed"),
    [
        (attacks.apgd(EPSILON, num_steps=10), 1),
        (attacks.apgd(EPSILON, num_steps=10, loss="dlr"), 0),
        (attacks.apgd(EPSILON, num_steps=10, loss="targeted_dlr"), 1),
        (attacks.fab(EPSILON, num_steps=10), 0),
        (attacks.quick_cascade(EPSILON, num_steps=10), 0),
        (CASCADE, 0),
    ],
    ids=["apgd-ce", "apgd-dlr", "apgd-t", "fab", "quick", "cascade"],
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


def test_a_cascade_called_directly_attacks_only_what_is_left(linear, data):
    images, labels = data
    adversarial = CASCADE(linear, images, labels, seed=4)
    # Misclassified as they are.
    np.testing.assert_array_equal(adversarial[:3], images[:3])
    # Random starts are those of the example's index, whichever images are left.
    alone = CASCADE(linear, images[20:21], labels[20:21], seed=4, first_index=20)
    np.testing.assert_allclose(alone[0], adversarial[20], atol=1e-6)
    text = f"auto_attack(epsilon={EPSILON})"
    callback = RobustAccuracy((images[:4], labels[:4]), text)
    # The first three are mistakes, the fourth lies within reach or not.
    assert callback.evaluate(linear) in (0.0, 0.25)


@pytest.mark.parametrize("stages", [("auto_attack(0.1)",), (0.1,), "fgsm(0.1)"])
def test_stages_are_single_attacks(stages):
    with pytest.raises(TypeError, match="attack"):
        attacks.AttackCascade(stages)


def test_the_budgets_of_a_cascade_may_differ_by_rounding():
    # 3 * (0.35 / 3) is not 0.35 in floating point.
    stages = (attacks.ifgsm(0.35, 3), attacks.apgd(0.35))
    assert attacks.AttackCascade(stages).stage_names == ("ifgsm", "apgd")


def test_a_transferred_attack_that_keeps_its_best_ends_with_one_image(linear, data):
    images, labels = data
    surrogate = linear_classifier(seed=7)
    attack = attacks.apgd(EPSILON, num_steps=6)
    last, any_iterate = (
        list(
            evaluate_robustness(
                linear, data, attack, surrogate=surrogate, success=success, seed=3
            ).records()
        )
        for success in ("last_iterate", "any_iterate")
    )
    adversarial = attack(surrogate, images, labels, seed=3)
    predicted = np.argmax(linear.predict_logits(adversarial), -1)
    clean = np.argmax(linear.predict_logits(tf.constant(images)), -1)
    for index, (record, looser) in enumerate(zip(last, any_iterate, strict=True)):
        expected = predicted[index] != labels[index] or clean[index] != labels[index]
        assert record["success"] == expected
        assert record["steps"] <= 6
        assert looser["success"] >= record["success"]
    assert sum(r["success"] for r in any_iterate) > sum(r["success"] for r in last)


def test_what_withstands_gradients_but_not_square_is_flagged(saturated, data):
    stages = (attacks.apgd(EPSILON, num_steps=10), attacks.square(EPSILON, num_queries=30))
    report = evaluate_robustness(saturated, data, attacks.AttackCascade(stages))
    broken = [record["broken_by"] for record in report.records()].count("square")
    outcomes = {each["name"]: each for each in report.summary["diagnostics"]["outcomes"]}
    finding = outcomes["black_box_is_stronger"]
    assert broken > 0 and finding["status"] == "flagged"
    assert finding["value"] == pytest.approx(broken / 40)


def test_what_two_attacks_leave_goes_on_to_the_third_and_fourth(saturated, data, distances):
    # Cross-entropy has no gradient here, so the first two attacks break nothing.
    stages = (
        attacks.fgsm(EPSILON),
        attacks.ifgsm(EPSILON, num_steps=2),
        attacks.apgd(EPSILON, num_steps=10, loss="dlr"),
        attacks.square(EPSILON, num_queries=5),
    )
    report = evaluate_robustness(saturated, data, attacks.AttackCascade(stages))
    first, second, third, last = report.summary["attacks"][0]["stages"]
    assert (first["broken"], second["broken"]) == (0, 0)
    assert third["broken"] >= 15
    assert last["robust_accuracy"] == pytest.approx(np.mean(distances > EPSILON), abs=0.03)
    # What withstands all of them was tried by the last one, whose queries its record counts.
    left = [record for record in report.records() if not record["success"]]
    assert left and {record["steps"] for record in left} == {5}


def test_what_cannot_follow_or_train_on_a_cascade_says_so(linear, data, tmp_path):
    options = {"output": tmp_path / "study.jsonl", "batch_size": 4}
    text, network = "auto_attack(epsilon=0.1)", linear.model
    with pytest.raises(TypeError, match="run inside a training step, got the cascade auto_attack"):
        AdversarialModel(network, attack=text)
    with pytest.raises(ValueError, match="must be a single attack"):
        DefenseConfig(kind="adversarial", attack=text)
    for attack in (text, "square(epsilon=0.1)"):
        with pytest.raises(TypeError, match="iterations of one GradientSignAttack"):
            study_attention(linear, data, attack, **options)
    with pytest.raises(ValueError, match="keeps the best image of its way"):
        study_attention(linear, data, "apgd(epsilon=0.1)", **options)
    with pytest.raises(ValueError, match="update_per_round goes on from the last image"):
        AADModel(network, attack="apgd(epsilon=0.1)", update_per_round=True)


def test_training_takes_apgd(linear, data):
    images, labels = data
    model = AdversarialModel(linear.model, attack="apgd(epsilon=0.02, num_steps=2)")
    adversarial = model.adversarial_images(tf.constant(images), tf.constant(labels, tf.int32))
    distance = np.abs(adversarial - images).max(axis=(1, 2, 3))
    np.testing.assert_allclose(distance, 0.02, atol=1e-6)


def test_a_security_curve_is_the_exact_one(linear, data, distances, tmp_path):
    epsilons = np.linspace(0.0, 0.05, 11)
    output = tmp_path / "fab.jsonl"
    attack = attacks.fab(None, num_steps=10)
    report = evaluate_robustness(linear, data, attack, output=output)
    curve = security_curve(report, epsilons)
    # FAB stops up to 6% beyond the boundary, so it may count an image for one budget more.
    exact, nearer = (np.mean(d > epsilons[:, None], 1) for d in (distances, distances * 1.06))
    accuracies = np.array(curve.robust_accuracies)
    assert (exact <= accuracies).all() and (accuracies <= nearer).all()
    assert accuracies[0] == 37 / 40 and accuracies[-1] < 0.2
    assert curve.intervals()[0] == wilson_interval(37, 40)
    median = np.median(distances[3:])
    assert curve.median_distance == pytest.approx(median, rel=0.06)
    assert curve.median_interval().low < median < curve.median_interval().high
    again = security_curve(read_records(output), epsilons)
    assert again.robust_accuracies == curve.robust_accuracies
    named = [{**record, "attack": "fab(epsilon=None)"} for record in read_records(output)]
    assert security_curve(named, epsilons, "fab").robust_accuracies == curve.robust_accuracies
    # Without budgets, up to the largest distance.
    assert security_curve(report).epsilons[-1] == max(curve.distances)
    entry = report.summary["attacks"][0]
    assert entry["median_distance"] == curve.median_distance
    low, high = curve.median_interval()
    interval = {"method": "order statistics", "confidence": 0.95, "low": low, "high": high}
    assert entry["median_distance_interval"] == interval
    found = f"{curve.median_distance:.4g} ({low:.4g} to {high:.4g} at 95%)."
    assert f"fab, median distance to the nearest misclassified image found: {found}" in (
        format_summary(report.summary)
    )


@pytest.mark.parametrize("rounds", [1, 4])
def test_bisection_finds_the_same_distances(linear, data, distances, rounds):
    def attack(epsilon):
        return attacks.fab(epsilon, num_steps=10)

    curve = bisected_curve(linear, data, attack, 0.04, rounds=rounds, batch_size=40)
    width = 0.04 / 2**rounds
    # FAB stops up to 6% beyond the boundary; each distance is rounded up to a whole width.
    nearest, farthest = (
        np.where(d > 0.04, np.inf, width * np.ceil(np.maximum(d, 0) / width - 1e-6))
        for d in (distances, distances * 1.06)
    )
    assert (nearest - 1e-7 <= curve.distances).all() and (curve.distances <= farthest + 1e-7).all()
    assert np.isinf(curve.distances).any() and (curve.distances[:3] == 0).all()
    assert curve.epsilons == pytest.approx(width * np.arange(2**rounds + 1))


def test_bisection_starts_an_image_at_the_same_points_whichever_others_are_attacked(linear, data):
    def attack(epsilon):
        # So few and small steps that the random start decides.
        return attacks.pgd(epsilon, epsilon / 4, num_steps=1)

    images, labels = data
    whole = bisected_curve(linear, data, attack, 0.08, rounds=4)
    part = bisected_curve(
        linear, (images[15:], labels[15:]), attack, 0.08, rounds=4, first_index=15
    )
    np.testing.assert_array_equal(part.distances, whole.distances[15:])
    assert len(np.unique(whole.distances)) > 5


def _small_cascade(epsilon):
    stages = attacks.fgsm(epsilon), attacks.apgd(epsilon, num_steps=3)
    return attacks.AttackCascade(stages, name="cascade")


@pytest.mark.parametrize(
    ("attack", "options"),
    [
        (attacks.fgsm, {"surrogate": linear_classifier(seed=1)}),
        (lambda epsilon: attacks.pgd(epsilon, epsilon / 2, 3), {"success": "last_iterate"}),
        (_small_cascade, {}),
    ],
    ids=["surrogate", "last_iterate", "cascade"],
)
def test_bisection_agrees_with_an_evaluation_at_each_budget(linear, data, attack, options):
    curve = bisected_curve(linear, data, attack, 0.04, rounds=2, **options)
    for epsilon in (0.01, 0.02, 0.03, 0.04):
        report = evaluate_robustness(linear, data, attack(epsilon), diagnostics=False, **options)
        within = np.array([record["success"] for record in report.records()])
        # At a budget that was attacked; the others lie between two of which both succeed or fail.
        np.testing.assert_array_equal(curve.distances <= epsilon + 1e-9, within)


def test_bisection_wraps_a_keras_model_once():
    counts = []
    for rounds in (1, 2):
        counted = TracedCalls()
        network = small_network(middle=[counted])
        images = np.random.default_rng(0).uniform(size=(12, 8, 8, 1)).astype("float32")
        labels = np.argmax(network(images), -1)
        bisected_curve(network, (images, labels), attacks.fgsm, 1.0, rounds=rounds)
        counts.append(counted.count)
    assert counts[0] == counts[1]


def test_bisection_takes_other_budgets_and_refuses_what_cannot_be(linear, data):
    curve = bisected_curve(linear, data, attacks.fgsm, 0.04, rounds=1, epsilons=[0.03])
    assert curve.epsilons == (0.03,)
    for largest, rounds, match in ((0.0, 1, "largest"), (np.inf, 1, "largest"), (0.1, 0, "rounds")):
        with pytest.raises(ValueError, match=match):
            bisected_curve(linear, data, attacks.fgsm, largest, rounds=rounds)
    with pytest.raises(TypeError, match="of evaluate_robustness, got num_examples, shard. Choose"):
        bisected_curve(linear, data, attacks.fgsm, 0.04, num_examples=3, shard=(1, 2))


def test_parts_have_the_median_distance_of_the_whole(linear, data, tmp_path):
    attack, (images, labels) = attacks.fab(None, num_steps=3), data
    whole = evaluate_robustness(linear, data, attack).summary["attacks"][0]
    parts = []
    for number, (start, stop) in enumerate([(0, 25), (25, 40)], 1):
        parts.append(tmp_path / f"{number}.jsonl")
        part = (images[start:stop], labels[start:stop])
        options = {"output": parts[-1], "first_index": start, "shard": (number, 2)}
        evaluate_robustness(linear, part, attack, diagnostics=False, **options)
    merged = merge_shards(parts, tmp_path / "whole.jsonl")["attacks"][0]
    for name in ("median_distance", "median_distance_interval"):
        assert merged[name] == whole[name] is not None


def test_an_attack_that_finds_too_little_has_no_median_distance():
    counts = OutcomeCounts(["fab"], distances_of=["fab"])
    for index, (success, linf) in enumerate([(True, 0.1), (False, 0.0), (False, 0.0)]):
        known = {"label": 0, "clean_prediction": 0, "steps": 1, "restart": 0}
        known |= {"adversarial_prediction": int(success), "linf": linf}
        counts.add(make_record("fab", index=index, **known))
    np.testing.assert_array_equal(counts.distances("fab"), [0.1, np.inf, np.inf])
    model = attacks.fab(None).threat_model()
    entry = summarize([model], [timing(1.0, 3)], counts, "rule", [])["attacks"][0]
    assert entry["median_distance"] is None and entry["median_distance_interval"] is None
    summary = {"attacks": [entry], "success_rule": "rule", "warnings": []}
    assert "found: none for half of the images or more." in format_summary(summary)


def test_a_security_curve_needs_distances(linear, data):
    tried = [attacks.fgsm(0.01), attacks.fab(0.01, num_steps=2)]
    report = evaluate_robustness(linear, data, tried)
    with pytest.raises(
        ValueError, match="Several attacks were run: pass attack=, one of fgsm, fab"
    ):
        security_curve(report, [0.1])
    for attack in ("fgsm", "fab"):
        with pytest.raises(ValueError, match=r"Evaluate aad_tf.attacks.fab\(None\)"):
            security_curve(report, [0.1], attack)
    with pytest.raises(ValueError, match="No attack is named 'pgd'"):
        security_curve(report.records(), [0.1], "pgd")
    with pytest.raises(ValueError, match="no records"):
        security_curve([], [0.1])


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


def test_one_trace_and_no_more_images_in_memory_however_many_batches(data):
    images, labels = data
    classifier = linear_classifier()
    held: list[int] = []

    def note(progress) -> None:
        if progress.detail:
            name, count = re.match(r"(.*): (\d+) images left", progress.detail).groups()
            assert name in CASCADE.stage_names
            held.append(int(count))

    for sizes in ((9,), (9, 1, 7, 2, 8, 3, 10)):
        ends = np.cumsum(sizes)
        batches = [(images[e - s : e], labels[e - s : e]) for e, s in zip(ends, sizes, strict=True)]
        held.clear()
        evaluate_robustness(classifier, batches, CASCADE, batch_size=4, progress=note)
        # The slots, what waits for the next batch of them, and a batch of the data.
        assert held and max(held) <= 4 + 4 + max(sizes)
    iterations = [key for key in classifier.compiled if "attack_iterations" in key]
    assert len(iterations) == len(CASCADE.stages)
    assert traces(classifier) == {1}


def test_progress_tells_which_attack_has_how_many_images_left(linear, data):
    seen: list[str] = []
    report = evaluate_robustness(
        linear, data, CASCADE, progress=lambda progress: seen.append(progress.detail)
    )
    left = {
        name: [int(each.split(": ")[1].split()[0]) for each in seen if each.startswith(name)]
        for name in CASCADE.stage_names
    }
    stages = report.summary["attacks"][0]["stages"]
    remaining = [37, *(round(40 * stage["robust_accuracy"]) for stage in stages)]
    for counts, before, after in zip(left.values(), remaining, remaining[1:], strict=False):
        assert counts == sorted(counts, reverse=True)
        assert before >= counts[0] and (counts[-1] == 0 or counts[-1] >= after)
    assert any("iteration 20 of 20" in each for each in seen)


def test_a_ratio_of_logits_sees_through_saturation(saturated, data, distances):
    cross_entropy = attacks.apgd(EPSILON, num_steps=10)
    ratio = attacks.apgd(EPSILON, num_steps=10, loss="dlr")
    report = evaluate_robustness(
        saturated, data, [cross_entropy, dataclasses.replace(ratio, name="dlr")]
    )
    exact = np.mean(distances > EPSILON)
    assert report.robust_accuracy("dlr") == pytest.approx(exact, abs=0.03)
    assert report.robust_accuracy("apgd") > exact + 0.2


def test_auto_attack_is_exact_on_two_classes():
    # The classes meet at a mean gray level of 0.5, so an image withstands 0.1 from 0.6 and to 0.4.
    levels = [0.05, 0.39, 0.41, 0.49, 0.51, 0.59, 0.61, 0.95, 0.45]
    images, labels = gray_images(levels), np.array([0, 0, 0, 0, 1, 1, 1, 1, 1], np.int32)
    robust = [True, True, False, False, False, False, True, True, False]
    *stages, square = attacks.auto_attack(0.1, version="standard").stages
    # 5,000 queries take most of the time and find nothing more.
    cascade = attacks.AttackCascade((*stages, dataclasses.replace(square, num_steps=50)))
    classifier = brightness_classifier()
    report = evaluate_robustness(classifier, (images, labels), cascade)
    records = list(report.records())
    assert [not record["success"] for record in records] == robust
    # The first one breaks all that can be broken, and so does each of the others alone.
    alone = evaluate_robustness(classifier, (images, labels), cascade.stages, diagnostics=False)
    for stage in cascade.stages:
        found = [each for each in alone.records() if each["attack"] == stage.name]
        assert [not record["success"] for record in found] == robust, stage.name
    assert [record["clean_mistake"] for record in records] == [False] * 8 + [True]
    # What withstands it went through all four, the last with all its queries.
    assert {record["steps"] for record in records if not record["success"]} == {50}
    (entry,) = report.summary["attacks"]
    assert [stage["attack"] for stage in entry["stages"]] == [
        "apgd-ce",
        "apgd-t",
        "fab-t",
        "square",
    ]
    recorded = entry["threat_model"]["parameters"]["stages"]
    # There is one class besides the true one.
    assert (recorded[1]["restarts"], recorded[2]["objective"]["num_targets"]) == (1, 1)


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
        (lambda: attacks.AttackCascade((attacks.fgsm(0.1, target=1),)), "fgsm has a target"),
        (lambda: attacks.apgd(0.1, loss="hinge"), "Unknown loss"),
        (lambda: attacks.square(0.1, fraction=0.0), "fraction"),
        (lambda: attacks.fab(0.1, num_steps=0), "num_steps"),
    ],
)
def test_impossible_attacks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_steps_that_accumulate_have_their_budget_in_gray_levels():
    stages = (attacks.step_ll(8, 2), attacks.pgd(16, 4, 10))
    cascade = attacks.AttackCascade(stages)
    cascade.check_sizes(Bounds(0.0, 255.0))
    assert cascade.threat_model(Bounds(0.0, 255.0))["epsilon"] == 16.0
    # Equal where both are as wide as the pixel range, and in no wider one.
    wide = attacks.AttackCascade((attacks.step_ll(0.5, 4), attacks.pgd(1.0, 0.25, 10)))
    wide.check_sizes(Bounds(0.0, 1.0))
    with pytest.raises(ValueError, match=r"one budget, got \[1.0, 2.0\]"):
        wide.check_sizes(Bounds(0.0, 255.0))
