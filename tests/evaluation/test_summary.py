"""A summary tells threat models, intervals, origin, and what it warns of."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import (
    AttackCascade,
    a3,
    aad_total,
    apgd,
    auto_attack,
    fgsm,
    ifgsm,
    pgd,
    square,
    step_ll,
)
from aad_tf.attacks.strength import comparisons
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, format_summary
from aad_tf.types import Bounds
from tests.evaluation.attacked_networks import (
    PRESETS,
    brightness_classifier,
    gray_images,
    island_classifier,
)
from tests.networks import small_network


def test_the_summary_carries_threat_model_interval_and_origin(random_network, random_examples):
    attacks = [PRESETS["ifgsm"], PRESETS["step_ll"]]
    summary = evaluate_robustness(random_network, random_examples, attacks, seed=4).summary
    entry = summary["attacks"][0]
    assert entry["threat_model"] == {
        **attacks[0].threat_model(),
        "success": "any_iterate",
        "access": "white_box",
    }
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


def test_unknown_attack_names_list_the_known(random_network, random_examples):
    report = evaluate_robustness(random_network, random_examples, PRESETS["fgsm"])
    with pytest.raises(ValueError, match="No attack is named 'FGSM'.* Known: fgsm."):
        report.robust_accuracy("FGSM")


def test_a_single_step_that_beats_many_is_reported_as_masking():
    # Over the island, two steps under last_iterate return from where one step had led.
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
    assert "fgsm left 2 of the 2 images that it did not misclassify exactly as they" in warning


def test_an_honest_network_gets_no_warning():
    levels = np.linspace(0.02, 0.98, 25)
    data = (gray_images(levels), (levels > 0.5).astype(int))
    attacks = [fgsm(0.1), ifgsm(0.1), ifgsm(0.2, num_steps=4), step_ll(0.1), PRESETS["pgd"]]
    attacks[2] = dataclasses.replace(attacks[2], name="ifgsm wide")
    assert evaluate_robustness(brightness_classifier(), data, attacks).summary["warnings"] == []


LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9] * 5)


@pytest.mark.parametrize(
    ("labels", "warned"),
    [
        (LEVELS > 0.5, None),  # All correct.
        (np.arange(40) % 2 == 0, "50.0% .35.2% to 64.8%.*most frequent class gives 50.0%"),
        (LEVELS < 0.5, r"0.0% .0.0% to 8.8%.*gives 50.0%"),
        ((LEVELS > 0.5) | (np.arange(40) < 20), "70.0% .54.6% to 81.9%.*gives 80.0%"),
        ((LEVELS > 0.5) ^ (np.arange(40) < 8), None),  # 80 %, at least 65.2 %, against 50 %.
        (np.ones(40, bool), None),  # Of one class, chance is not known.
    ],
    ids=["right", "by chance", "swapped", "unbalanced", "fair", "one class"],
)
def test_a_clean_accuracy_no_better_than_chance(labels, warned):
    data = (gray_images(LEVELS), labels.astype(int))
    summary = evaluate_robustness(brightness_classifier(), data, [fgsm(0.01), ifgsm(0.01)]).summary
    found = [warning for warning in summary["warnings"] if "chance" in warning]
    assert len(found) == (warned is not None)
    if warned:
        assert re.match(f"The clean accuracy, {warned}", found[0])


def test_a_perturbation_too_small_to_be_seen():
    data = (gray_images(LEVELS), (LEVELS > 0.5).astype(int))
    attacks = [fgsm(0.001), fgsm(0.01), step_ll(0.001, 3)]
    (warning,) = evaluate_robustness(brightness_classifier(), data, attacks).summary["warnings"]
    assert warning.startswith(
        "fgsm(epsilon=0.001) changes pixels by 0.001 at most, 0.26 of the 255"
    )


def test_budgets_are_compared_in_the_unit_of_the_images():
    # As fractions of [0, 1] both would reach it all, and the second be no weaker.
    wide, narrow = ifgsm(100, num_steps=3), ifgsm(50, num_steps=2)
    narrow = dataclasses.replace(narrow, name="narrow")
    assert comparisons([wide, narrow], Bounds(0, 255)) == [
        ["ifgsm", "narrow", "has a larger budget and no fewer steps"]
    ]
    several, one = step_ll(100, num_steps=2), dataclasses.replace(fgsm(201), name="far")
    assert not comparisons([several, one], Bounds(0, 255))


SEVERAL_STEPS = "takes several steps within at least the same budget"


@pytest.mark.parametrize(
    ("stronger", "reason"),
    [
        (apgd(0.1, num_steps=10), SEVERAL_STEPS),
        (apgd(0.1, num_steps=10, loss="dlr"), SEVERAL_STEPS),
        (apgd(0.05, num_steps=10), None),
        (apgd(0.1, num_steps=10, target=1), None),
        (aad_total(apgd(0.1, num_steps=10)), None),
        (auto_attack(0.1), "is a cascade with at least the same budget"),
        (auto_attack(0.05), None),
        (AttackCascade((square(0.1),)), None),
        (square(0.1), None),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_auto_attack_and_apgd_should_leave_no_more_than_one_step(stronger, reason):
    one_step = fgsm(0.1)
    expected = [[stronger.name, "fgsm", reason]] if reason else []
    assert comparisons([one_step, stronger]) == expected


def test_only_a_cascade_is_held_against_several_steps():
    several = pgd(0.1, 0.02, num_steps=20)
    assert comparisons([several, apgd(0.1)]) == []
    assert comparisons([several, auto_attack(0.1)]) == [
        ["auto_attack", "pgd", "is a cascade with at least the same budget"]
    ]
    # Of more steps than the cascade takes, or on attention too, the other may well be stronger.
    longer = pgd(0.1, 0.02, num_steps=101)
    for other in (longer, aad_total(several), a3(several, 1.0)):
        assert comparisons([other, auto_attack(0.1)]) == []
    own = AttackCascade((aad_total(apgd(0.1, num_steps=30)),))
    assert comparisons([several, own]) == []


def test_the_printed_table_holds_accuracies_and_warnings():
    data = (gray_images([0.2, 0.4, 0.8, 0.9]), np.array([0, 0, 1, 0]))
    summary = evaluate_robustness(brightness_classifier(), data, [fgsm(0.15)]).summary
    summary["warnings"] = ["Look closer."]
    head, row, rule, warning, diagnostics, *_ = format_summary(summary).splitlines()
    assert head.split()[:4] == ["attack", "budget", "robust", "accuracy"]
    assert row.split()[:3] == ["fgsm", "0.15", "50.00%"]
    assert "75.00%" in row and row.index("50.00%") == head.index("robust")
    assert rule.endswith(
        "an example is not robust if any iterate (or random start) is misclassified."
    )
    assert warning == "Warning: Look closer."
    assert diagnostics == "Diagnostics, of all outcomes and of passes over 4 images:"


def test_the_printed_table_names_the_pixel_range_that_budgets_are_in():
    network = small_network()
    classifier = Classifier.from_keras(network, bounds=(0, 255))
    data = (np.full((4, *network.input_shape[1:]), 128.0), np.zeros(4, int))
    summary = evaluate_robustness(classifier, data, [fgsm(38)]).summary
    assert "l-inf of images in [0, 255], true labels" in format_summary(summary)
