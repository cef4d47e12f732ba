"""Diagnostics flag numbers that are wrong on purpose by the right name, and no honest ones."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from aad_tf import attacks
from aad_tf.attacks import AttackCascade, fgsm, pgd
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, format_summary, merge_shards
from aad_tf.evaluation.diagnostics import FIRST_BATCH, of_outcomes
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.records import make_record, read_summary
from tests.evaluation.attacked_networks import gray_images, island_classifier
from tests.evaluation.masked_networks import (
    Noise,
    Ripples,
    Staircase,
    patterns_data,
    patterns_network,
    true_robust_accuracy,
    winner_layers,
)
from tests.networks import curved_network, random_images, small_network

EPSILON = 0.04
PGD = pgd(EPSILON, EPSILON / 4, 20)
SQUARE = attacks.square(EPSILON, num_queries=100)
PASSES = ["randomised_outputs", "vanished_gradients", "saturated_loss", "unstable_gradients"]
PASSES += ["unbounded_epsilon", "silent_success"]
OUTCOMES = ["more_iterations", "more_restarts", "larger_epsilon", "black_box_is_stronger"]
OUTCOMES += ["success_at_the_end"]


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
    "logits times 10,000": (
        lambda: patterns_network(scale=1e4),
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


def test_noise_in_inference_is_flagged(data):
    report = evaluate_robustness(patterns_network(Noise()), data, [PGD])
    found = findings(report.summary)
    assert found["randomised_outputs"]["status"] == "flagged"
    assert found["randomised_outputs"]["value"] > 0.1
    assert "expectation over transformation" in format_summary(report.summary)


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
    assert names(found, "nothing comparable was run") == {"silent_success", "more_restarts"}
    assert json.loads(json.dumps(summary["diagnostics"])) == summary["diagnostics"]
    printed = format_summary(summary)
    assert "not flagged, which proves nothing: randomised_outputs, vanished_gradients" in printed
    assert "nothing comparable was run: silent_success, more_restarts." in printed
    assert "passed" not in printed


def test_a_success_on_the_way_to_a_correct_image_is_flagged():
    # Over the island, the second step returns from where the first one had led.
    images = (gray_images([0.5] * 4), np.zeros(4, int))
    there_and_back = attacks.ifgsm(0.3, num_steps=2, step_size=0.2)
    one, both = (
        findings(
            evaluate_robustness(island_classifier(), images, there_and_back, success=rule).summary
        )
        for rule in ("last_iterate", "any_iterate")
    )
    assert one["silent_success"]["status"] == "flagged"
    assert one["silent_success"]["value"] == 1.0
    assert both["silent_success"]["status"] == "nothing comparable was run"
