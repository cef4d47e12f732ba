"""Robustness of small networks: hand-worked answers, agreement with the plain loop, resumption.

Networks are float64 wherever outcomes are compared one by one: the same image then gives the same
signs in any batch.
"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack, fgsm, ifgsm, iter_ll, pgd, step_ll
from aad_tf.attacks.steps import compiled_step
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.evaluation import (
    Progress,
    ProgressLine,
    evaluate_robustness,
    format_summary,
    journal_path,
)
from aad_tf.evaluation.noise import unit_noise
from aad_tf.results import RECORD_KEYS, read_records, read_summary

PRESETS = {
    "fgsm": fgsm(0.1),
    "ifgsm": ifgsm(0.1, num_steps=3),
    "step_ll": step_ll(0.08, num_steps=2),
    "iter_ll": iter_ll(0.1, num_steps=3),
    "pgd": pgd(0.1, step_size=0.04, num_steps=6, random_start=False),
}
RESTARTED = pgd(0.05, step_size=0.02, num_steps=3, restarts=4)


def brightness_classifier(scale: float = 1.0) -> Classifier:
    """Class 1 where the four pixels sum to more than 2: `scale * (sum - 2)` against 0."""
    return mean_network([0.0], [[0.0, 4.0 * scale]], [0.0, -2.0 * scale])


def island_classifier() -> Classifier:
    """Class 1 only for gray levels near 0.6: relu(v - 0.45) - 2 relu(v - 0.6) above 0.1."""
    return mean_network([-0.45, -0.6], [[0.0, 1.0], [0.0, -2.0]], [0.0, -0.1])


def mean_network(thresholds: list[float], weights: list, bias: list) -> Classifier:
    """Logits `relu(v + thresholds) @ weights + bias` of the mean gray level v."""
    units = len(thresholds)
    network = keras.Sequential(
        [
            keras.Input((2, 2, 1), dtype="float64"),
            keras.layers.Conv2D(1, 1, use_bias=False, dtype="float64"),
            keras.layers.GlobalAveragePooling2D(dtype="float64"),
            keras.layers.Dense(units, activation="relu", dtype="float64"),
            keras.layers.Dense(2, dtype="float64"),
        ]
    )
    network.set_weights(
        [np.ones((1, 1, 1, 1)), np.ones((1, units)), *map(np.array, (thresholds, weights, bias))]
    )
    return Classifier.from_keras(network)


def gray_images(levels: list[float]) -> np.ndarray:
    return np.tile(np.array(levels)[:, None, None, None], (1, 2, 2, 1))


@pytest.fixture(scope="module")
def random_network() -> Classifier:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((6, 6, 2), dtype="float64"),
            layers.Conv2D(8, 3, activation="gelu", dtype="float64"),
            layers.BatchNormalization(dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dropout(0.5, dtype="float64"),
            layers.Dense(5, dtype="float64"),
        ]
    )
    network.layers[-1].kernel.assign(3 * network.layers[-1].kernel)
    return Classifier.from_keras(network)


@pytest.fixture(scope="module")
def examples(random_network: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of which the network gets some nine in ten right."""
    generator = np.random.RandomState(2)
    images = generator.uniform(size=(60, 6, 6, 2))
    labels = random_network.predict_logits(tf.constant(images)).numpy().argmax(-1)
    labels[::10] = (labels[::10] + 1) % 5
    return images, labels.astype(np.int32)


def outcomes(report) -> dict[tuple[str, int], dict]:
    return {(record["attack"], record["index"]): record for record in report.records()}


# Known answers


def test_robust_accuracy_and_records_of_a_linear_classifier():
    # Gray v is fooled by FGSM of size 0.15 where |v - 0.5| < 0.15; the last label is wrong.
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


def test_an_iterated_attack_stops_at_the_first_step_that_fools():
    # Steps of 0.05 from 0.5 + d fool at the first multiple above d.
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
    starts = np.stack([0.55 + 0.3 * unit_noise(0, i, 0, (2, 2, 1)) for i in range(40)])
    fooled_at_start = starts.mean(axis=(1, 2, 3)) < 0.5
    assert 0 < fooled_at_start.sum() < 40
    np.testing.assert_array_equal([r["steps"] == 0 for r in records], fooled_at_start)


# Agreement with the plain loop


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("batch_size", [7, 100])
def test_last_iterates_equal_the_plain_loop(name, batch_size, random_network, examples):
    images, labels = examples
    attack = PRESETS[name]
    attacked = attack(random_network, images, labels)
    predictions = random_network.predict_logits(attacked).numpy().argmax(-1)
    clean = random_network.predict_logits(tf.constant(images)).numpy().argmax(-1)
    distances = np.abs(attacked.numpy() - images).max(axis=(1, 2, 3))
    report = evaluate_robustness(
        random_network, examples, attack, batch_size=batch_size, success="last_iterate"
    )
    records = list(report.records())
    expected = np.where(clean == labels, predictions, clean)
    assert 0 < (expected == labels).sum() < (clean == labels).sum()
    np.testing.assert_array_equal([r["adversarial_prediction"] for r in records], expected)
    expected = np.where(clean == labels, distances, 0.0)
    np.testing.assert_allclose([r["linf"] for r in records], expected, atol=1e-6)


def test_a_random_start_is_the_documented_one(random_network, examples):
    images, labels = examples
    attack = pgd(0.1, step_size=0.03, num_steps=3)
    noise = np.stack([unit_noise(5, i, 0, images.shape[1:]) for i in range(len(images))])
    current = tf.constant(np.clip(images + 0.1 * noise, 0, 1))
    step = compiled_step(random_network, attack.objective)
    for _ in range(3):
        current, _ = step(current, images, labels, *attack.scalars(tf.float64))
    predictions = random_network.predict_logits(current).numpy().argmax(-1)
    report = evaluate_robustness(
        random_network, examples, attack, seed=5, batch_size=13, success="last_iterate"
    )
    for record in report.records():
        if not record["clean_mistake"]:
            assert record["adversarial_prediction"] == predictions[record["index"]]


# Properties


@pytest.mark.parametrize("name", [*sorted(PRESETS), "restarted"])
def test_any_iterate_never_leaves_more_than_the_last_iterate(name, random_network, examples):
    attack = {**PRESETS, "restarted": RESTARTED}[name]
    worst, last = (
        evaluate_robustness(random_network, examples, attack, success=rule)
        for rule in ("any_iterate", "last_iterate")
    )
    fooled_last = {key for key, record in outcomes(last).items() if record["success"]}
    fooled_ever = {key for key, record in outcomes(worst).items() if record["success"]}
    assert fooled_last <= fooled_ever


def test_restarts_only_add_fooled_examples(random_network, examples):
    fooled = []
    for restarts in (1, 2, 4):
        attack = dataclasses.replace(RESTARTED, restarts=restarts)
        report = evaluate_robustness(random_network, examples, attack, success="last_iterate")
        records = list(report.records())
        fooled.append({record["index"] for record in records if record["success"]})
        assert max(record["restart"] for record in records) == restarts - 1
        survivors = [record for record in records if not record["success"]]
        assert {record["restart"] for record in survivors} == {restarts - 1}
    assert fooled[0] <= fooled[1] <= fooled[2]
    assert fooled[0] != fooled[2]


@pytest.mark.parametrize("success", ["any_iterate", "last_iterate"])
def test_results_do_not_depend_on_batches(success, random_network, examples):
    attacks = [PRESETS["ifgsm"], RESTARTED]
    expected = None
    for batch_size, cut in ((1, 60), (4, 17), (60, 1), (1000, 25)):
        dataset = tf.data.Dataset.from_tensor_slices(examples).batch(cut)
        report = evaluate_robustness(
            random_network, dataset, attacks, batch_size=batch_size, success=success
        )
        records = list(report.records())
        expected = records if expected is None else expected
        assert records == expected


def test_an_example_alone_fares_as_in_company(random_network, examples):
    together = outcomes(evaluate_robustness(random_network, examples, RESTARTED))
    first = evaluate_robustness(random_network, [part[:20] for part in examples], RESTARTED)
    assert outcomes(first) == {key: r for key, r in together.items() if key[1] < 20}


def test_other_seeds_start_elsewhere(random_network, examples):
    reports = [evaluate_robustness(random_network, examples, RESTARTED, seed=s) for s in (0, 0, 1)]
    first, again, other = (list(report.records()) for report in reports)
    assert first == again
    assert first != other


def test_weights_and_batch_statistics_stay_untouched(random_network, examples):
    before = [np.array(value) for value in random_network.model.get_weights()]
    evaluate_robustness(random_network, examples, [*PRESETS.values(), RESTARTED][:3])
    for old, new in zip(before, random_network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_one_trace_whatever_the_batch_sizes(random_network, examples):
    attack = PRESETS["pgd"]
    for batch_size in (1, 9, 60):
        dataset = tf.data.Dataset.from_tensor_slices(examples).batch(batch_size + 3)
        evaluate_robustness(random_network, dataset, attack, batch_size=batch_size)
    step = compiled_step(random_network, attack.objective)
    assert step.experimental_get_tracing_count() == 1
    assert random_network.compiled["logits"].experimental_get_tracing_count() == 1


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


def test_images_leave_once_fooled_so_a_weak_network_takes_few_calls(random_network, examples):
    calls: dict[str, int] = {"any_iterate": 0, "last_iterate": 0}
    attack = pgd(0.5, step_size=0.05, num_steps=40)
    for rule in calls:

        def count(progress: Progress, rule: str = rule) -> None:
            calls[rule] += 1

        evaluate_robustness(
            random_network, examples, attack, batch_size=10, success=rule, progress=count
        )
    # Six batches of ten, 40 steps each, and a call to judge them.
    assert calls["last_iterate"] >= 6 * 40
    assert calls["any_iterate"] < calls["last_iterate"] / 2


def test_the_data_set_is_read_no_further_than_the_slots_need(random_network, examples):
    images, labels = examples
    read = 0

    def generate():
        nonlocal read
        for start in range(0, 6000, 10):
            read += 10
            place = start % 60
            yield images[place : place + 10], labels[place : place + 10]

    signature = (tf.TensorSpec((None, 6, 6, 2), tf.float64), tf.TensorSpec((None,), tf.int32))
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).take(40)
    # tf.data would prefetch on its own otherwise, by as much as it likes.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    options.autotune.enabled = False
    dataset = dataset.with_options(options)
    ahead = []

    def watch(progress: Progress) -> None:
        ahead.append(read - progress.done)

    evaluate_robustness(random_network, dataset, PRESETS["ifgsm"], batch_size=20, progress=watch)
    assert read == 400
    # Twenty slots, the batch in hand, and one that tf.data may have prepared.
    assert max(ahead) <= 20 + 10 + 10


# Summary


def test_the_summary_carries_threat_model_interval_and_origin(random_network, examples):
    attacks = [PRESETS["ifgsm"], PRESETS["step_ll"]]
    summary = evaluate_robustness(random_network, examples, attacks, seed=4).summary
    entry = summary["attacks"][0]
    assert entry["threat_model"] == {**attacks[0].threat_model(), "success": "any_iterate"}
    interval = entry["interval"]
    assert interval["low"] < entry["robust_accuracy"] < interval["high"]
    assert (interval["method"], interval["confidence"]) == ("wilson", 0.95)
    assert entry["images_attacked"] == entry["robust"] + entry["fooled"]
    assert entry["seconds"] > 0 and entry["images_per_second"] > 0
    assert summary["evaluated"]["seed"] == 4
    assert summary["provenance"]["versions"]["tensorflow"] == tf.__version__
    assert json.loads(json.dumps(summary)) == summary


def test_threat_models_follow_the_bounds():
    # 0.15 of a range of width 2 is 0.075 of it; two rounds of 0.9 reach 1.8, not 1.
    classifier = Classifier.from_keras(brightness_classifier().model, bounds=(-1.0, 1.0))
    data = (gray_images([0.2, 0.8]), np.array([0, 1]))
    attacks = [fgsm(0.15), step_ll(0.9, num_steps=2)]
    one, two = evaluate_robustness(classifier, data, attacks).summary["attacks"]
    assert one["threat_model"]["bounds"] == [-1.0, 1.0]
    assert one["threat_model"]["epsilon"] == 0.15
    assert one["threat_model"]["epsilon_255"] == pytest.approx(19.125)
    assert two["threat_model"]["epsilon"] == pytest.approx(1.8)
    assert two["threat_model"]["epsilon_255"] == pytest.approx(229.5)
    usual = evaluate_robustness(brightness_classifier(), data, fgsm(0.15)).summary["attacks"][0]
    assert "bounds" not in usual["threat_model"]
    assert usual["threat_model"]["epsilon_255"] == pytest.approx(38.25)


def test_a_defence_is_evaluated_by_its_classifier(random_network, examples):
    defence = StandardModel(random_network)
    report = evaluate_robustness(defence, examples, PRESETS["fgsm"])
    expected = evaluate_robustness(random_network, examples, PRESETS["fgsm"])
    assert list(report.records()) == list(expected.records())


def test_unknown_attack_names_list_the_known(random_network, examples):
    report = evaluate_robustness(random_network, examples, PRESETS["fgsm"])
    with pytest.raises(ValueError, match="No attack is named 'FGSM'.* Known: fgsm."):
        report.robust_accuracy("FGSM")


def test_a_single_step_that_beats_many_is_reported_as_masking():
    # Over the island, two steps under last_iterate return to where one step had fooled.
    data = (gray_images([0.5] * 10), np.zeros(10, int))
    attacks = [fgsm(0.12), ifgsm(0.15, num_steps=2, step_size=0.12)]
    report = evaluate_robustness(island_classifier(), data, attacks, success="last_iterate")
    warning = report.summary["warnings"][-1]
    assert "ifgsm takes several steps within at least the same budget yet leaves more" in warning
    assert "(100.0%) than fgsm (0.0%)" in warning
    assert "Gradients may be masked" in warning


def test_saturated_losses_are_reported_as_masking():
    # A margin in the thousands: the softmax is exactly one, the gradient exactly zero.
    data = (gray_images([0.2, 0.8]), np.array([0, 1]))
    report = evaluate_robustness(brightness_classifier(scale=1e5), data, [fgsm(0.4)])
    assert report.robust_accuracy("fgsm") == 1.0
    (warning,) = report.summary["warnings"]
    assert "fgsm left 2 of the 2 images that withstood it exactly as they were" in warning


def test_an_honest_network_gets_no_warning():
    levels = np.linspace(0.02, 0.98, 25)
    data = (gray_images(levels), (levels > 0.5).astype(int))
    attacks = [fgsm(0.1), ifgsm(0.1), ifgsm(0.2, num_steps=4), step_ll(0.1), PRESETS["pgd"]]
    attacks[2] = dataclasses.replace(attacks[2], name="ifgsm wide")
    assert evaluate_robustness(brightness_classifier(), data, attacks).summary["warnings"] == []


def test_the_printed_table_holds_accuracies_and_warnings():
    data = (gray_images([0.2, 0.4, 0.8, 0.9]), np.array([0, 0, 1, 0]))
    summary = evaluate_robustness(brightness_classifier(), data, [fgsm(0.15)]).summary
    summary["warnings"] = ["Look closer."]
    head, row, rule, warning = format_summary(summary).splitlines()
    assert head.split()[:4] == ["attack", "budget", "robust", "accuracy"]
    assert row.split()[:3] == ["fgsm", "0.15", "50.00%"]
    assert "75.00%" in row and row.index("50.00%") == head.index("robust")
    assert rule.endswith("an example is fooled if any iterate (or random start) is misclassified.")
    assert warning == "Warning: Look closer."


# Records on disk and resumption


def interrupt_after(done: int):
    def progress(state: Progress) -> None:
        if state.done >= done:
            raise KeyboardInterrupt

    return progress


ATTACKS = [PRESETS["ifgsm"], RESTARTED]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    name, random_network, examples, tmp_path
):
    whole, cut = tmp_path / "whole" / name, tmp_path / "cut" / name
    evaluate_robustness(random_network, examples, ATTACKS, batch_size=8, output=whole)
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(
            random_network,
            examples,
            ATTACKS,
            batch_size=8,
            output=cut,
            progress=interrupt_after(50),
        )
    assert journal_path(cut).exists() and not cut.exists()
    states: list[Progress] = []
    report = evaluate_robustness(
        random_network, examples, ATTACKS, batch_size=5, output=cut, progress=states.append
    )
    assert states[0].reused >= 50
    assert states[-1][:2] == (120, 120)
    assert cut.read_bytes() == whole.read_bytes()
    assert not journal_path(cut).exists()
    attacked = sum(entry["images_attacked"] for entry in report.summary["attacks"])
    assert 0 < attacked <= 120 - states[0].reused
    assert read_summary(cut) == report.summary
    assert [entry["robust_accuracy"] for entry in report.summary["attacks"]] == [
        entry["robust_accuracy"] for entry in read_summary(whole)["attacks"]
    ]


def test_records_on_disk_equal_records_in_memory_in_order(random_network, examples, tmp_path):
    in_memory = evaluate_robustness(random_network, examples, ATTACKS)
    on_disk = evaluate_robustness(random_network, examples, ATTACKS, output=tmp_path / "r.jsonl")
    records = list(read_records(tmp_path / "r.jsonl"))
    assert records == list(in_memory.records()) == list(on_disk.records())
    order = [(["ifgsm", "pgd"].index(record["attack"]), record["index"]) for record in records]
    assert order == sorted(order) and len(order) == 120


def test_a_finished_run_is_read_back(random_network, examples, tmp_path):
    path = tmp_path / "r.jsonl"
    first = evaluate_robustness(random_network, examples, ATTACKS, output=path)
    calls: list[Progress] = []
    again = evaluate_robustness(
        random_network, examples, ATTACKS, output=path, progress=calls.append
    )
    assert again.summary == first.summary and not calls
    with pytest.raises(ValueError, match=r"another evaluation, which differs in seed \(0 there, 1"):
        evaluate_robustness(random_network, examples, ATTACKS, output=path, seed=1)
    (tmp_path / "r.summary.json").unlink()
    with pytest.raises(FileExistsError, match="not its summary r.summary.json"):
        evaluate_robustness(random_network, examples, ATTACKS, output=path)


BATCHED = {
    "arrays": lambda arrays: arrays,
    "whole batches": lambda arrays: tf.data.Dataset.from_tensor_slices(arrays).batch(
        5, drop_remainder=True
    ),
    "a short last batch": lambda arrays: tf.data.Dataset.from_tensor_slices(arrays).batch(100),
}


@pytest.mark.parametrize("kind", BATCHED)
def test_a_longer_data_set_is_another_evaluation(kind, random_network, examples, tmp_path):
    path, batched = tmp_path / "r.jsonl", BATCHED[kind]
    attack = PRESETS["fgsm"]
    first = batched(tuple(part[:5] for part in examples))
    report = evaluate_robustness(random_network, first, attack, output=path)
    assert report.summary["attacks"][0]["count"] == 5
    again = evaluate_robustness(random_network, first, attack, output=path)
    assert again.summary == report.summary
    longer = batched(tuple(part[:20] for part in examples))
    with pytest.raises(ValueError, match=r"differs in num_examples \(5 there, 20 asked for\)"):
        evaluate_robustness(random_network, longer, attack, output=path)


def test_a_summary_from_before_examples_were_counted_is_read(random_network, examples, tmp_path):
    path = tmp_path / "r.jsonl"
    evaluate_robustness(random_network, examples, PRESETS["fgsm"], output=path)
    summary = read_summary(path)
    assert summary["evaluated"].pop("num_examples") == 60
    (tmp_path / "r.summary.json").write_text(json.dumps(summary))
    again = evaluate_robustness(random_network, examples, PRESETS["fgsm"], output=path)
    assert again.summary == summary


def interrupted(random_network, examples, output: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(
            random_network, examples, ATTACKS, output=output, progress=interrupt_after(40)
        )
    return journal_path(output)


@pytest.mark.parametrize("kept", [0, 5, -1, -30])
def test_a_line_cut_short_is_dropped(kept, random_network, examples, tmp_path):
    journal = interrupted(random_network, examples, tmp_path / "r.jsonl")
    content = journal.read_bytes()
    journal.write_bytes(content[: kept or len(content) // 2])
    report = evaluate_robustness(random_network, examples, ATTACKS, output=tmp_path / "r.jsonl")
    expected = evaluate_robustness(random_network, examples, ATTACKS)
    assert list(report.records()) == list(expected.records())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, r"seed \(0 there, 1 asked for\)"),
        ({"success": "last_iterate"}, "success"),
        ({"description": {"dataset": "other"}}, r"description.dataset \(None there, 'other'"),
        ({"attacks": [PRESETS["ifgsm"]]}, r"attacks.pgd"),
        ({"dataset": "reversed"}, "first_example"),
        ({"classifier": "other"}, "weights"),
    ],
)
def test_a_journal_of_another_evaluation_is_refused(
    changes, message, random_network, examples, tmp_path
):
    journal = interrupted(random_network, examples, tmp_path / "r.jsonl")
    content = journal.read_bytes()
    arguments = {"classifier": random_network, "dataset": examples, "attacks": ATTACKS, **changes}
    if arguments["dataset"] == "reversed":
        arguments["dataset"] = [part[::-1] for part in examples]
    if arguments["classifier"] == "other":
        other = keras.models.clone_model(random_network.model)
        arguments["classifier"] = Classifier.from_keras(other)
    with pytest.raises(ValueError, match=f"belongs to another evaluation, .*{message}"):
        evaluate_robustness(**arguments, output=tmp_path / "r.jsonl")
    assert journal.read_bytes() == content


def test_foreign_and_damaged_journals_are_refused_and_kept(random_network, examples, tmp_path):
    output = tmp_path / "r.jsonl"
    journal = journal_path(output)
    for foreign in (b"notes of mine", b"notes\nof mine\n", b"[1]\n"):
        journal.write_bytes(foreign)
        with pytest.raises(ValueError, match="is not a journal"):
            evaluate_robustness(random_network, examples, ATTACKS, output=output)
        assert journal.read_bytes() == foreign
    journal.unlink()
    lines = interrupted(random_network, examples, output).read_bytes().splitlines(keepends=True)
    for damage in (b"?\n", b'{"index": 1}\n'):
        journal.write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
        with pytest.raises(ValueError, match="damaged at byte"):
            evaluate_robustness(random_network, examples, ATTACKS, output=output)


def test_a_journal_in_use_is_refused(random_network, examples, tmp_path):
    output = tmp_path / "r.jsonl"

    def start_another(progress: Progress) -> None:
        with pytest.raises(ValueError, match="Another process is writing"):
            evaluate_robustness(random_network, examples, ATTACKS, output=output)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(
            random_network, examples, ATTACKS, output=output, progress=start_another
        )


def test_a_data_set_that_shrank_is_noticed(random_network, examples, tmp_path):
    output = tmp_path / "r.jsonl"
    interrupted(random_network, examples, output)
    with pytest.raises(ValueError, match=r"differs in num_examples \(60 there, 20 asked"):
        evaluate_robustness(
            random_network, [part[:20] for part in examples], ATTACKS, output=output
        )


# Bad input


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": lambda x: x * 255}, ValueError, "0..255 pixels: divide by 255"),
        ({"images": lambda x: np.full_like(x, np.nan)}, ValueError, "NaN or infinity"),
        ({"images": lambda x: (x * 255).astype(np.uint8)}, TypeError, "must be floating point"),
        ({"images": lambda x: x[..., 0]}, ValueError, "must have rank 4"),
        ({"images": lambda x: x[:, :5]}, ValueError, r"must have shape \[batch, 6, 6, 2\]"),
        ({"labels": lambda y: np.eye(5)[y]}, ValueError, "For one-hot labels pass tf.argmax"),
        ({"labels": lambda y: y + 5}, ValueError, r"must lie in \[0, 5\)"),
        ({"labels": lambda y: y.astype(float)}, TypeError, "must be integers"),
        ({"labels": lambda y: y[:-1]}, ValueError, "one entry an example"),
        ({"images": lambda x: x[:0], "labels": lambda y: y[:0]}, ValueError, "data set is empty"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"success": "first"}, ValueError, "success must be one of any_iterate, last_iterate"),
        ({"attacks": []}, ValueError, "attacks is empty"),
        ({"attacks": [fgsm(0.1), fgsm(0.2)]}, ValueError, "names that differ, got fgsm"),
        ({"attacks": ["fgsm"]}, TypeError, "must be GradientSignAttack objects, got 'fgsm'"),
        ({"dataset": 3}, TypeError, "tf.data.Dataset of .* or a pair of arrays"),
        ({"classifier": "model"}, TypeError, "must be a keras.Model"),
    ],
)
def test_bad_input_is_refused_with_a_hint(changes, error, message, random_network, examples):
    changes = dict(changes)
    images, labels = examples
    data = (changes.pop("images", np.array)(images), changes.pop("labels", np.array)(labels))
    arguments = {"classifier": random_network, "dataset": data, "attacks": [fgsm(0.1)], **changes}
    with pytest.raises(error, match=message):
        evaluate_robustness(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.batch(4).repeat(), ValueError, "endless. Call dataset.take"),
        (lambda d: d, ValueError, r"single images \(6, 6, 2\). Call dataset.batch"),
        (lambda d: d.batch(4).take(0), ValueError, "data set is empty"),
        (lambda d: d.map(lambda x, y: x).batch(4), TypeError, "must give tuples"),
    ],
)
def test_bad_data_sets_are_refused(change, error, message, random_network, examples):
    dataset = change(tf.data.Dataset.from_tensor_slices(examples))
    with pytest.raises(error, match=message):
        evaluate_robustness(random_network, dataset, fgsm(0.1))


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    random_network, examples, tmp_path
):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Cannot write to"):
        evaluate_robustness(random_network, examples, ATTACKS, output=tmp_path / "file" / "r")
    with pytest.raises(IsADirectoryError):
        evaluate_robustness(random_network, examples, ATTACKS, output=tmp_path)


def test_logits_that_overflow_are_an_error_not_a_success(examples):
    network = brightness_classifier()
    network.model.layers[-1].bias.assign([np.nan, 0.0])
    with pytest.raises(ValueError, match="NaN or infinite on example 0. Check its weights"):
        evaluate_robustness(network, (gray_images([0.4]), np.array([0])), fgsm(0.1))


def test_logits_that_overflow_under_attack_are_an_error_too():
    # Logit 1 is log(0.7 - v) + 5; moving away from class 1 leads to v above 0.7.
    inner = brightness_classifier().model
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((2, 2, 1), dtype="float64"),
            layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", dtype="float64"),
            layers.GlobalAveragePooling2D(dtype="float64"),
            layers.Dense(1, activation=keras.ops.log, dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ]
    )
    weights = [inner.get_weights()[0], [[-1.0]], [0.7], [[0.0, 1.0]], [0.0, 5.0]]
    network.set_weights([np.array(weight) for weight in weights])
    data = (gray_images([0.5]), np.array([1]))
    with pytest.raises(ValueError, match="NaN or infinite on example 0 under attack 'fgsm'"):
        evaluate_robustness(network, data, fgsm(0.3))


def test_a_keras_model_and_extra_entries_of_a_data_set_are_taken(random_network, examples):
    boxes = np.zeros((60, 4))
    dataset = tf.data.Dataset.from_tensor_slices((*examples, boxes)).batch(25)
    attack = PRESETS["ifgsm"]
    by_model = evaluate_robustness(random_network.model, dataset, attack)
    assert list(by_model.records()) == list(
        evaluate_robustness(random_network, examples, attack).records()
    )


def test_attacks_of_other_pixel_ranges_use_them():
    inner = brightness_classifier().model
    wide = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Rescaling(1 / 255), inner])
    classifier = Classifier.from_keras(wide, bounds=(0.0, 255.0))
    attack = GradientSignAttack(fgsm(0.1).objective, 1.0, 1, 1.0, name="one level")
    images = 255 * gray_images([0.501, 0.51]).astype(np.float32)
    report = evaluate_robustness(classifier, (images, np.array([1, 1])), attack)
    assert [record["success"] for record in report.records()] == [True, False]
    assert [record["linf"] for record in report.records()] == [1.0, 1.0]


# Progress


def test_progress_tells_rate_and_time_left():
    progress = Progress(done=150, total=400, reused=50, seconds=10.0)
    assert progress.rate == 10.0
    assert progress.seconds_left == 25.0
    assert str(progress) == "150/400 (38%) attacked images, 10/s, 25 s left"
    assert Progress(1, None, 0, 2.0).seconds_left is None
    assert str(Progress(7200, 14400, 0, 3600.0)).endswith("1 h 0 min left")


def test_a_line_now_and_then_where_the_stream_is_a_file():
    stream = io.StringIO()
    with ProgressLine(stream, seconds=3600) as line:
        for done in range(1, 11):
            line(Progress(done, 10, 0, 1.0))
        line(Progress(10, 10, 0, 1.0))
    first, last = stream.getvalue().splitlines()
    assert first.startswith("1/10 ") and last.startswith("10/10 (100%)")


def test_one_line_renews_itself_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ProgressLine(stream) as line:
        line(Progress(1, 2, 0, 1.0))
        line(Progress(2, 2, 0, 1.0))
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") == 2
