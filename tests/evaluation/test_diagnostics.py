"""Diagnostics flag numbers that are wrong on purpose by the right name, and no honest ones."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter

import numpy as np
import pytest

from aad_tf import attacks
from aad_tf.attacks import AttackCascade, fgsm, parse_attack, pgd
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, format_summary, merge_shards
from aad_tf.evaluation.diagnostics import FIRST_BATCH, of_outcomes
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.records import make_record, read_summary
from tests.evaluation.attacked_networks import gray_images, island_classifier
from tests.evaluation.masked_networks import (
    Noise,
    Ripples,
    Rounded,
    Staircase,
    patterns_data,
    patterns_network,
    true_robust_accuracy,
    winner_layers,
)
from tests.networks import curved_network, small_network

EPSILON = 0.04
PGD = pgd(EPSILON, EPSILON / 4, 20)
SQUARE = attacks.square(EPSILON, num_queries=50)
PASSES = ["randomised_outputs", "vanished_gradients", "saturated_loss", "unstable_gradients"]
PASSES += ["unbounded_epsilon", "loss_not_converged", "silent_success"]
OUTCOMES = ["more_iterations", "more_restarts", "larger_epsilon", "black_box_is_stronger"]
OUTCOMES += ["adaptive_is_stronger", "success_at_the_end"]


def findings(summary: dict) -> dict[str, dict]:
    (batch,) = summary["diagnostics"]["first_batch"]
    assert [finding["name"] for finding in batch["findings"]] == PASSES
    found = summary["diagnostics"]["outcomes"]
    assert [finding["name"] for finding in found] == OUTCOMES
    return {finding["name"]: finding for finding in (*batch["findings"], *found)}


def names(found: dict[str, dict], status: str = "flagged") -> set[str]:
    return {name for name, finding in found.items() if finding["status"] == status}


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return patterns_data()


@pytest.fixture(scope="module")
def honest() -> Classifier:
    return patterns_network()


MASKED = {
    "logits times 1,000": (
        lambda: patterns_network(scale=1e3),
        [PGD],
        {"vanished_gradients", "saturated_loss", "unbounded_epsilon"},
    ),
    "staircase": (
        lambda: patterns_network(Staircase()),
        [PGD, SQUARE],
        {"vanished_gradients", "unbounded_epsilon", "black_box_is_stronger"},
    ),
    "ripples": (
        lambda: patterns_network(Ripples()),
        [PGD, dataclasses.replace(PGD, restarts=4, name="restarted")],
        {"unstable_gradients", "more_restarts"},
    ),
    "k-winners": (
        lambda: patterns_network(*winner_layers()),
        [PGD, SQUARE],
        {"unbounded_epsilon", "black_box_is_stronger"},
    ),
}


@pytest.mark.parametrize("masked", MASKED)
def test_a_number_that_is_wrong_on_purpose_is_flagged(data, masked):
    build, tried, expected = MASKED[masked]
    report = evaluate_robustness(build(), data, tried)
    assert true_robust_accuracy(EPSILON) == 0.025
    assert report.robust_accuracy("pgd") > 0.75
    found = findings(report.summary)
    # Random starts in waves are also right by chance, late or on the way anywhere.
    assert expected <= names(found) <= expected | {"unbounded_epsilon", "success_at_the_end"}
    printed = format_summary(report.summary)
    for name in expected:
        assert found[name]["run_next"] in printed
        assert f"flagged: {name}: {found[name]['measured']}" in printed


def test_rounded_pixels_are_attacked_without_their_gradient(data, honest):
    rounded = patterns_network(Rounded())
    with pytest.raises(ValueError, match=r"it ends at .*\(Round\).*square.*surrogate="):
        evaluate_robustness(rounded, data, [SQUARE, PGD])
    report = evaluate_robustness(rounded, data, SQUARE)
    assert report.robust_accuracy("square") < 0.8
    assert names(findings(report.summary)) == {"unbounded_epsilon"}
    transfer = evaluate_robustness(rounded, data, [SQUARE], surrogate=honest, transferred=PGD)
    # The scores behind the rounding are those of the surrogate.
    assert transfer.robust_accuracy("transfer(pgd)") < 0.2


def test_noise_in_inference_is_flagged(data):
    report = evaluate_robustness(patterns_network(Noise()), data, [PGD])
    found = findings(report.summary)
    assert found["randomised_outputs"]["status"] == "flagged"
    assert found["randomised_outputs"]["value"] > 0.1
    assert "expectation over transformation" in format_summary(report.summary)
    # What it says to run can be run, and means what it says.
    advised = re.match(r"auto_attack\(.*?\)", found["randomised_outputs"]["run_next"]).group()
    attack = parse_attack(advised.replace("epsilon,", "epsilon=0.1,"))
    assert {stage.objective.num_draws for stage in attack.stages} == {20}


@pytest.mark.parametrize("network", ["linear", "smooth", "relu"])
def test_an_honest_number_is_not_flagged(data, honest, network):
    classifier = {
        "linear": lambda: honest,
        "smooth": curved_network,
        "relu": lambda: Classifier.from_keras(small_network(shape=(6, 6, 1))),
    }[network]()
    images = data[0].astype(classifier.dtype.as_numpy_dtype)
    labels = classifier.predict_logits(images).numpy().argmax(-1)
    wide = dataclasses.replace(pgd(0.1, 0.025, 20), name="wide")
    longer = dataclasses.replace(pgd(EPSILON, EPSILON / 4, 40), name="longer")
    summary = evaluate_robustness(classifier, (images, labels), [PGD, wide, longer, SQUARE]).summary
    found = findings(summary)
    assert names(found) == set()
    uncompared = {"silent_success", "more_restarts", "adaptive_is_stronger"}
    # The only image of the linear scores that is robust is not among the first.
    uncompared |= {"loss_not_converged"} if network == "linear" else set()
    assert names(found, "nothing comparable was run") == uncompared
    assert json.loads(json.dumps(summary["diagnostics"])) == summary["diagnostics"]
    printed = format_summary(summary)
    assert "not flagged, which proves nothing: randomised_outputs, vanished_gradients" in printed
    assert (
        "silent_success, more_restarts, adaptive_is" in printed.partition("comparable was run")[2]
    )
    assert "passed" not in printed


@pytest.mark.parametrize(
    ("scale", "broken", "status"), [(1.0, 32, "not flagged"), (100.0, None, "flagged")]
)
def test_logits_scaled_down_show_a_loss_that_is_too_sure(data, scale, broken, status):
    # At 100 times the logits many softmax outputs are one up to rounding, and yet gradients are not
    # zero: those of the other classes are left, which lead elsewhere.
    found = findings(evaluate_robustness(patterns_network(scale=scale), data, [PGD]).summary)
    finding = found["saturated_loss"]
    assert finding["status"] == status
    counted = re.search(r"breaks (\d+) of 32 .* and (\d+) on the logits", finding["measured"])
    scaled, plain = map(int, counted.groups())
    assert scaled == 32 and plain == (broken or plain) and finding["value"] == (32 - plain) / 32


def test_a_loss_that_still_falls_at_the_end_is_flagged(data, honest):
    # Each step lowers a linear loss by as much: of 25 steps the last ten make up 10 / 24.
    short = attacks.ifgsm(0.005, num_steps=25)
    found = findings(evaluate_robustness(honest, data, short).summary)["loss_not_converged"]
    assert found["status"] == "flagged" and found["value"] == 1.0
    # With the budget reached after five steps nothing changes any more.
    whole = attacks.ifgsm(0.005, num_steps=25, step_size=0.001)
    found = findings(evaluate_robustness(honest, data, whole).summary)["loss_not_converged"]
    assert found["status"] == "not flagged" and found["value"] == 0.0
    # Images of the target class are not attacked: no loss of theirs changes.
    images, labels = data
    targeted = attacks.pgd(0.005, 0.0002, 25, random_start=False, target=1)
    report = evaluate_robustness(honest, data, targeted)
    found = findings(report.summary)["loss_not_converged"]
    first = list(report.records())[:FIRST_BATCH]
    left = sum(not record["success"] and record["label"] != 1 for record in first)
    assert f"of {left} of {left} images" in found["measured"] and found["value"] == 1.0
    same = (images[labels == 1], labels[labels == 1])
    found = findings(evaluate_robustness(honest, same, targeted).summary)["loss_not_converged"]
    assert found["status"] == "nothing comparable was run"
    too_few = [attacks.ifgsm(0.005, num_steps=19), attacks.fab(0.005, num_steps=30), SQUARE]
    found = findings(evaluate_robustness(honest, data, too_few).summary)["loss_not_converged"]
    assert found["status"] == "nothing comparable was run"


def test_a_success_on_the_way_to_a_correct_image_is_flagged():
    # Over the island, the second step returns from where the first one had led.
    network, images = island_classifier(), (gray_images([0.5] * 4), np.zeros(4, int))
    there_and_back = attacks.ifgsm(0.15, num_steps=2, step_size=0.12)
    one, both = (
        findings(evaluate_robustness(network, images, there_and_back, success=rule).summary)
        for rule in ("last_iterate", "any_iterate")
    )
    assert one["silent_success"]["status"] == "flagged"
    assert one["silent_success"]["value"] == 1.0
    assert both["silent_success"]["status"] == "nothing comparable was run"


def counted(outcomes: dict[str, list[int]], steps: dict[str, list[int]] | None = None):
    """Counts of images of class 0, given the class that each attack gets them taken for."""
    counts = OutcomeCounts(list(outcomes))
    for attack, predictions in outcomes.items():
        for index, prediction in enumerate(predictions):
            after = (steps or {}).get(attack, [1] * len(predictions))[index]
            counts.add(
                make_record(
                    attack,
                    index=index,
                    label=0,
                    clean_prediction=0,
                    adversarial_prediction=prediction,
                    steps=after,
                )
            )
    return counts


def compared(tried: list, outcomes: list[list[int]], steps=None, access="white_box") -> dict:
    """Findings on attacks of given outcomes."""
    tried = [dataclasses.replace(each, name=str(number)) for number, each in enumerate(tried)]
    models = [{**each.threat_model(), "success": "any_iterate", "access": access} for each in tried]
    counts = counted(
        {each.name: found for each, found in zip(tried, outcomes, strict=True)},
        {each.name: found for each, found in zip(tried, steps or [], strict=bool(steps))},
    )
    return {finding["name"]: finding for finding in of_outcomes(models, counts)}


@pytest.mark.parametrize(
    ("name", "tried", "broken", "status", "value"),
    [
        ("more_iterations", [pgd(0.1, 0.02, n) for n in (5, 10, 20)], [1, 4, 4], "not flagged", 0),
        ("more_iterations", [pgd(0.1, 0.02, n) for n in (20, 5, 10)], [5, 1, 4], "flagged", 0.1),
        # Another attack within the budget is stronger: what the weaker one gains does not matter.
        (
            "more_iterations",
            [fgsm(0.1), attacks.ifgsm(0.1, 3), pgd(0.1, 0.02, 20)],
            [1, 4, 5],
            None,
            None,
        ),
        (
            "more_iterations",
            [fgsm(0.1), attacks.ifgsm(0.1, 3), attacks.auto_attack(0.05)],
            [1, 4, 5],
            None,
            None,
        ),
        (
            "more_iterations",
            [*(pgd(0.1, 0.02, n) for n in (5, 20)), pgd(0.2, 0.02, 40)],
            [1, 4, 9],
            "flagged",
            0.3,
        ),
        # Steps are as many as the budget needs.
        ("more_iterations", [attacks.ifgsm(0.1, n) for n in (3, 6)], [1, 4], "flagged", 0.3),
        ("more_iterations", [attacks.square(0.1, n) for n in (50, 90)], [1, 4], "flagged", 0.3),
        ("more_iterations", [pgd(0.1, 0.02, 5), pgd(0.2, 0.02, 10)], [1, 4], None, None),
        ("more_iterations", [attacks.step_ll(0.1, n) for n in (1, 2)], [1, 4], None, None),
        ("more_restarts", [pgd(0.1, 0.02, 5, restarts=n) for n in (1, 3)], [1, 3], "flagged", 0.2),
        (
            "more_restarts",
            [pgd(0.1, 0.02, 5, restarts=n) for n in (1, 3)],
            [3, 3],
            "not flagged",
            0,
        ),
        ("more_restarts", [attacks.fab(0.1), attacks.fab(0.1, 90)], [1, 3], None, None),
        ("more_restarts", [pgd(0.1, 0.02, 5), pgd(0.1, 0.03, 5, restarts=3)], [1, 3], None, None),
        ("larger_epsilon", [fgsm(e) for e in (0.1, 0.2)], [3, 3], "flagged", 0),
        ("larger_epsilon", [fgsm(e) for e in (0.1, 0.2)], [3, 5], "not flagged", 0.2),
        ("larger_epsilon", [fgsm(e) for e in (0.1, 0.2)], [10, 10], "not flagged", 0),
        ("larger_epsilon", [fgsm(e) for e in (0.1, 0.11)], [3, 3], None, None),
        # That the larger one leaves significantly more, the warnings say.
        ("larger_epsilon", [fgsm(e) for e in (0.1, 0.2)], [9, 3], None, None),
    ],
)
def test_attacks_alike_but_for_one_number(name, tried, broken, status, value):
    outcomes = [[1] * count + [0] * (10 - count) for count in broken]
    finding = compared(tried, outcomes)[name]
    assert finding["status"] == (status or "nothing comparable was run")
    assert finding["value"] == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("tried", "outcomes", "status", "value"),
    [
        # Square breaks an image that neither of the others does.
        ([PGD, fgsm(EPSILON), SQUARE], [[1, 0, 0], [0, 1, 0], [0, 1, 1]], "flagged", 1 / 3),
        ([PGD, fgsm(EPSILON), SQUARE], [[1, 0, 0], [0, 1, 0], [1, 1, 0]], "not flagged", 0),
        ([fgsm(0.1), SQUARE], [[1, 0, 0], [1, 1, 0]], "flagged", 1 / 3),
        ([fgsm(0.01), SQUARE], [[1, 0, 0], [1, 1, 0]], None, None),
        ([SQUARE], [[1, 1, 0]], None, None),
        ([PGD], [[1, 1, 0]], None, None),
    ],
)
def test_what_black_boxes_break_alone(tried, outcomes, status, value):
    finding = compared(tried, outcomes)["black_box_is_stronger"]
    assert finding["status"] == (status or "nothing comparable was run")
    assert finding["value"] == (None if value is None else pytest.approx(value))


def test_transfer_alone_is_compared_with_nothing():
    found = compared([PGD, SQUARE], [[0, 0], [1, 1]], access="transfer")
    assert found["black_box_is_stronger"]["status"] == "nothing comparable was run"


ADAPTED = attacks.aad_total(PGD)


@pytest.mark.parametrize(
    ("tried", "broken", "status", "value"),
    [
        # Of ten images three more fall, none fewer: 3 > 1.645 * sqrt(3).
        ([PGD, ADAPTED], [range(2), range(5)], "flagged", 0.3),
        # Two more are no more than chance.
        ([PGD, ADAPTED], [range(2), range(4)], "not flagged", 0.2),
        # Five fall to it alone and three to the other: 2 < 1.645 * sqrt(8).
        ([ADAPTED, PGD], [range(5), range(5, 8)], "not flagged", 0.2),
        ([ADAPTED, PGD], [range(2), range(5)], "not flagged", -0.3),
        ([attacks.a3(PGD, -10), PGD, ADAPTED], [range(5), range(2), [0]], "flagged", 0.3),
        # Not of equal steps and budget, or on another loss.
        ([pgd(EPSILON, 0.01, 10), ADAPTED], [range(2), range(5)], None, None),
        ([fgsm(EPSILON), ADAPTED], [range(2), range(5)], None, None),
        ([attacks.step_ll(0.1), attacks.a3(fgsm(0.1), 10)], [range(2), range(5)], None, None),
    ],
)
def test_an_adaptive_attack_is_held_against_the_plain_one(tried, broken, status, value):
    outcomes = [[int(index in each) for index in range(10)] for each in broken]
    finding = compared(tried, outcomes)["adaptive_is_stronger"]
    assert finding["status"] == (status or "nothing comparable was run")
    assert finding["value"] == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("tried", "outcomes", "steps", "status", "value"),
    [
        ([PGD], [[1, 1, 1, 0]], [[2, 18, 19, 20]], "flagged", 1 / 4),
        ([PGD], [[1, 1, 1, 0]], [[2, 3, 18, 20]], "not flagged", 0),
        # The number is that of the strongest attack within its budget.
        ([PGD, fgsm(0.01)], [[1, 0], [1, 1]], [[20, 20], [1, 1]], None, None),
        ([PGD, fgsm(0.1)], [[1, 0], [1, 1]], [[20, 20], [1, 1]], "flagged", 1 / 2),
        ([pgd(EPSILON, 0.01, 9)], [[1, 0]], [[9, 9]], None, None),
        ([attacks.fab(EPSILON)], [[1, 0]], [[900, 901]], None, None),
    ],
)
def test_success_in_the_last_tenth_of_the_iterations(tried, outcomes, steps, status, value):
    finding = compared(tried, outcomes, steps)["success_at_the_end"]
    assert finding["status"] == (status or "nothing comparable was run")
    assert finding["value"] == (None if value is None else pytest.approx(value))


def test_of_a_cascade_its_last_attacks_are_compared_with_those_before(data):
    cascade = AttackCascade((attacks.fgsm(EPSILON), SQUARE), name="cascade")
    masked = patterns_network(*winner_layers())
    report = evaluate_robustness(masked, data, cascade)
    finding = findings(report.summary)["black_box_is_stronger"]
    broken = [record["broken_by"] for record in report.records()].count("square")
    assert finding["status"] == "flagged" and broken > 2
    assert finding["value"] == broken / 40
    assert finding["measured"].startswith("square of cascade breaks")
    turned = AttackCascade(cascade.stages[::-1], name="turned")
    finding = findings(evaluate_robustness(masked, data, turned).summary)["black_box_is_stronger"]
    assert finding["status"] == "nothing comparable was run"


def test_a_surrogate_is_measured_in_the_place_of_the_classifier(data, honest):
    saturated = patterns_network(scale=1e4)
    pair = {"white": (honest, saturated), "masked": (saturated, honest)}
    flagged = {
        which: names(findings(evaluate_robustness(one, data, PGD, surrogate=other).summary))
        for which, (one, other) in pair.items()
    }
    assert {"vanished_gradients", "saturated_loss"} <= flagged["white"]
    assert not {"vanished_gradients", "saturated_loss"} & flagged["masked"]


@pytest.mark.parametrize(("scale", "most"), [(1.0, 30), (1e4, 120)], ids=["honest", "masked"])
def test_few_passes_are_added(data, scale, most):
    network = patterns_network(scale=scale)
    evaluate_robustness(network, data, PGD)
    passed: Counter[bool] = Counter()
    for key in ("logits", "gradient_of_logits"):
        compiled = network.compiled[key]

        def count(images, *others, compiled=compiled):
            passed[diagnostics] += len(images)
            return compiled(images, *others)

        network.compiled[key] = count
    for diagnostics in (True, False):
        evaluate_robustness(network, data, PGD, diagnostics=diagnostics)
    # Nothing moves what is saturated: there the passes are as many as they can be.
    assert 10 * FIRST_BATCH <= passed[True] - passed[False] <= most * FIRST_BATCH


def test_diagnostics_change_no_records_and_can_be_switched_off(data, honest, tmp_path):
    paths = {each: tmp_path / f"{each}.jsonl" for each in (True, False)}
    for each, path in paths.items():
        report = evaluate_robustness(honest, data, PGD, output=path, diagnostics=each)
        assert ("diagnostics" in report.summary) == each
        assert ("Diagnostics" in format_summary(report.summary)) == each
    assert paths[True].read_bytes() == paths[False].read_bytes()
    # A finished evaluation is read back as it is.
    for each, path in paths.items():
        report = evaluate_robustness(honest, data, PGD, output=path, diagnostics=not each)
        assert ("diagnostics" in report.summary) == each


def test_a_resumed_evaluation_measures_the_first_batch_again(data, tmp_path):
    network, output = patterns_network(scale=1e4), tmp_path / "cut.jsonl"
    options = {"batch_size": 10, "success": "last_iterate"}
    whole = evaluate_robustness(network, data, PGD, **options).summary

    def interrupt(progress):
        if progress.done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(network, data, PGD, output=output, progress=interrupt, **options)
    resumed = evaluate_robustness(network, data, PGD, output=output, **options).summary
    assert resumed["diagnostics"] == whole["diagnostics"]
    assert resumed["diagnostics"]["first_batch"][0]["examples"] == 10


def test_merged_parts_keep_what_each_measured_and_compare_all(data, honest, tmp_path):
    images, labels = data
    tried, parts = [PGD, dataclasses.replace(SQUARE, num_steps=20)], []
    for number, (start, stop) in enumerate([(0, 35), (35, 40)], 1):
        parts.append(tmp_path / f"{number}.jsonl")
        part = (images[start:stop], labels[start:stop])
        facts = {"first_index": start, "shard": (number, 2)}
        evaluate_robustness(honest, part, tried, output=parts[-1], **facts)
    merged = merge_shards(parts, tmp_path / "merged.jsonl")
    whole = evaluate_robustness(honest, data, tried).summary["diagnostics"]
    found = merged["diagnostics"]
    assert found["outcomes"] == whole["outcomes"]
    assert [batch["first_index"] for batch in found["first_batch"]] == [0, 35]
    assert [batch["examples"] for batch in found["first_batch"]] == [FIRST_BATCH, 5]
    assert found["first_batch"] == [
        read_summary(part)["diagnostics"]["first_batch"][0] for part in parts
    ]
    found["first_batch"][1]["findings"][0] |= {"status": "flagged"}
    assert "flagged: randomised_outputs" in format_summary(merged)
    assert "; in 1 of 2 parts)" in format_summary(merged)
    # Parts that were evaluated without it have none.
    for path in parts:
        summary = read_summary(path)
        del summary["diagnostics"]
        path.with_name(f"{path.stem}.summary.json").write_text(json.dumps(summary))
    assert "diagnostics" not in merge_shards(parts, tmp_path / "without.jsonl")


def test_a_class_of_its_own_target_has_no_gradient_to_vanish(data, honest):
    targeted = pgd(EPSILON, EPSILON / 4, 20, target=1)
    assert "vanished_gradients" not in names(
        findings(evaluate_robustness(honest, data, targeted).summary)
    )


def test_the_divergence_from_the_prediction_has_no_gradient_there_to_vanish(data, honest):
    divergence = pgd(EPSILON, EPSILON / 4, 20, loss="kl")
    found = findings(evaluate_robustness(honest, data, divergence).summary)
    assert found["vanished_gradients"]["status"] == "nothing comparable was run"


def test_nothing_is_measured_where_no_image_is_correct(data, honest):
    images, labels = data
    summary = evaluate_robustness(honest, (images, (labels + 1) % 3), PGD).summary
    silent = names(findings(summary), "nothing comparable was run")
    assert {"vanished_gradients", "saturated_loss", "unstable_gradients"} <= silent
    assert "unbounded_epsilon" in silent
