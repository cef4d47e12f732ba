"""Adaptive attacks beside plain ones in an evaluation, some of them from the network's twin."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from aad_tf.attacks import AwayFromLabel, a3, aad_total, adaptive_attacks, fgsm, pgd, step_ll
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, format_summary, merge_shards
from aad_tf.evaluation.summary import adaptive_pairs, adaptive_section
from aad_tf.metrics import wilson_interval
from aad_tf.records import read_records
from tests.evaluation.attacked_networks import gray_images
from tests.evaluation.test_diagnostics import counted
from tests.networks import curved_network, plain_sight, random_images, small_network

EPSILON = 0.06
PLAIN = pgd(EPSILON, 0.02, 4)


def models_of(tried: list, transferred: tuple = ()) -> list[dict]:
    """Threat models as a summary holds them, under names that are the places in the list."""
    return [
        {
            **dataclasses.replace(attack, name=str(place)).threat_model(),
            "access": "transfer" if place in transferred else "white_box",
        }
        for place, attack in enumerate(tried)
    ]


@pytest.mark.parametrize(
    ("tried", "transferred", "pairs"),
    [
        ([PLAIN, aad_total(PLAIN), a3(PLAIN, 10), a3(PLAIN, -10)], (), ["10", "20", "30"]),
        ([a3(step_ll(0.1), 10), step_ll(0.1), fgsm(0.1)], (), ["01"]),
        ([PLAIN, aad_total(pgd(0.06, 0.02, 5)), aad_total(pgd(0.05, 0.02, 4))], (), []),
        # Transfer beside plain attacks alone is from any network, not from a twin.
        ([PLAIN, PLAIN], (1,), []),
        ([PLAIN, PLAIN, aad_total(fgsm(0.1))], (1,), ["10"]),
        ([PLAIN, PLAIN, a3(fgsm(0.1), 10)], (1,), ["10"]),
        # All of a transfer attack: those that differ in the loss alone.
        ([PLAIN, aad_total(PLAIN)], (0, 1), ["10"]),
        ([PLAIN, fgsm(0.06)], (1,), []),
    ],
)
def test_plain_is_what_differs_in_nothing_else(tried, transferred, pairs):
    found = adaptive_pairs(models_of(tried, transferred))
    assert [one["attack"] + other["attack"] for one, other in found] == pairs


def test_what_falls_to_one_and_what_survives_all_by_hand():
    tried = [PLAIN, aad_total(PLAIN), fgsm(0.05), pgd(0.1, 0.02, 4)]
    # 1 is misclassified; the last attack has a larger budget, so it does not count.
    found = {"0": [1, 1, 0, 0, 0, 0], "1": [0, 1, 1, 1, 0, 0]}
    found |= {"2": [0, 0, 0, 0, 1, 0], "3": [1, 1, 1, 1, 1, 1]}
    section = adaptive_section(models_of(tried), counted(found))["adaptive"]
    interval = wilson_interval(1, 6)
    assert section == {
        "attacks": [
            {
                "attack": "1",
                "robust_accuracy": 3 / 6,
                "plain": "0",
                "plain_robust_accuracy": 4 / 6,
                "steps": 4,
                "epsilon": 0.06,
                "broken_by_it_alone": 2,
                "broken_by_plain_alone": 1,
            }
        ],
        "worst": [
            {
                "epsilon": 0.06,
                "attacks": ["0", "1", "2"],
                "robust_accuracy": 1 / 6,
                "robust": 1,
                "count": 6,
                "interval": {"method": "wilson", "confidence": 0.95, **interval._asdict()},
            }
        ],
    }
    assert adaptive_section(models_of(tried[2:]), counted({"0": [1], "1": [1]})) == {}


@pytest.fixture(scope="module")
def network() -> Classifier:
    return curved_network()


@pytest.fixture(scope="module")
def twin() -> Classifier:
    return Classifier.from_keras(small_network(shape=(6, 6, 1), dtype="float64", seed=1))


@pytest.fixture(scope="module")
def data(network) -> tuple[np.ndarray, np.ndarray]:
    images = random_images(24, (6, 6, 1), dtype="float64")
    labels = network.predict_logits(images).numpy().argmax(-1)
    labels[3] = (labels[3] + 1) % 3
    return images, labels


_EVERY = adaptive_attacks(EPSILON, num_steps=3)
# PGD and APGD, each on the classification and on the total loss.
TRIED = [*_EVERY[:2], *_EVERY[5:7]]
FROM_TWIN = [attack for attack in TRIED if attack.objective == AwayFromLabel()]


@pytest.fixture(scope="module")
def report(network, data, twin):
    return evaluate_robustness(network, data, TRIED, surrogate=twin, transferred=FROM_TWIN)


def test_records_are_those_of_two_evaluations(report, network, data, twin):
    white = evaluate_robustness(network, data, TRIED)
    transfer = evaluate_robustness(network, data, FROM_TWIN, surrogate=twin)
    renamed = [{**r, "attack": f"transfer({r['attack']})"} for r in transfer.records()]
    assert list(report.records()) == [*white.records(), *renamed]
    entries = [*white.summary["attacks"], *transfer.summary["attacks"]]
    for entry, single in zip(report.summary["attacks"], entries, strict=True):
        assert entry["robust_accuracy"] == single["robust_accuracy"]
        mine, model = entry["threat_model"], single["threat_model"]
        assert {**mine, "attack": ""} == {**model, "attack": ""}
    assert report.summary["evaluated"]["transferred"] == ["transfer(pgd)", "transfer(apgd)"]
    assert report.robust_accuracy("pgd") == white.robust_accuracy("pgd")
    # What is measured at the first images are the network's own gradients.
    assert (
        report.summary["diagnostics"]["first_batch"] == white.summary["diagnostics"]["first_batch"]
    )
    assert report.summary["warnings"] == white.summary["warnings"]


def test_the_worst_case_is_that_of_the_records(report):
    records = list(report.records())
    broken = {r["index"] for r in records if r["success"] or r["clean_mistake"]}
    section = report.summary["adaptive"]
    (worst,) = section["worst"]
    assert worst["robust"] == 24 - len(broken) and len(worst["attacks"]) == 6
    assert worst["robust_accuracy"] == worst["robust"] / 24
    assert 0 < worst["robust"] <= min(e["robust"] for e in report.summary["attacks"])
    assert [pair["plain"] for pair in section["attacks"]] == ["pgd", "apgd"] * 2
    for pair in section["attacks"]:
        survive, plain = (
            {r["index"] for r in records if r["attack"] == name and not r["success"]}
            for name in (pair["attack"], pair["plain"])
        )
        assert pair["broken_by_it_alone"] == len(plain - survive)
        assert pair["broken_by_plain_alone"] == len(survive - plain)
    printed = format_summary(report.summary)
    low, high = worst["interval"]["low"], worst["interval"]["high"]
    expected = f"Worst over all 6 attacks within 0.06: {worst['robust_accuracy']:.2%} "
    assert f"{expected}({low:.2%} to {high:.2%}) of the images survive every one." in printed
    access = "White box; transfer(...) from sequential"
    assert access in printed
    assert json.loads(json.dumps(section)) == section


def test_parts_and_resumed_runs_give_the_same(report, network, data, twin, tmp_path):
    images, labels = data
    options = {"surrogate": twin, "transferred": FROM_TWIN, "diagnostics": False}
    parts = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for number, path in enumerate(parts):
        rows = slice(12 * number, 12 * number + 12)
        part = (images[rows], labels[rows])
        evaluate_robustness(
            network,
            part,
            TRIED,
            output=path,
            first_index=12 * number,
            shard=(number + 1, 2),
            **options,
        )
    merged = merge_shards(parts, tmp_path / "all.jsonl")
    assert list(read_records(tmp_path / "all.jsonl")) == list(report.records())
    assert merged["adaptive"] == report.summary["adaptive"]
    assert merged["warnings"] == report.summary["warnings"]
    whole = evaluate_robustness(network, data, TRIED, output=tmp_path / "all.jsonl", **options)
    assert whole.summary == merged
    with pytest.raises(ValueError, match="another evaluation"):
        evaluate_robustness(network, data, TRIED, output=tmp_path / "all.jsonl")


def test_an_attack_that_finds_what_the_plain_one_cannot_is_flagged():
    # Logits 500 * (sum of pixels - 2) and 0: so far from the boundary the cross-entropy of class 0
    # has no gradient. Its map is 500 * image; bringing that towards the area darkens all pixels.
    network = plain_sight(500.0, bias=-1000.0)
    data = (gray_images([0.55, 0.56, 0.57, 0.58, 0.9]), np.zeros(5, int))
    plain = pgd(0.1, 0.04, 4, random_start=False)
    adaptive = a3(plain, -10, scale="none")
    summary = evaluate_robustness(network, data, [plain, adaptive]).summary
    assert [entry["robust"] for entry in summary["attacks"]] == [5, 1]
    (pair,), (worst,) = summary["adaptive"]["attacks"], summary["adaptive"]["worst"]
    assert (pair["broken_by_it_alone"], pair["broken_by_plain_alone"]) == (4, 0)
    assert worst["robust"] == 1
    printed = format_summary(summary)
    assert "flagged: adaptive_is_stronger: a3(pgd,sigma=-10,scale=none) leaves 20.00%" in printed


def test_transfer_beside_plain_attacks_is_not_adaptive(network, data, twin):
    summary = evaluate_robustness(
        network, data, [PLAIN, fgsm(EPSILON)], surrogate=twin, transferred=[PLAIN, fgsm(EPSILON)]
    ).summary
    assert "adaptive" not in summary
    printed = format_summary(summary)
    assert "Adaptive attacks" not in printed and "Worst over all" not in printed
    compared = {each["name"]: each["status"] for each in summary["diagnostics"]["outcomes"]}
    assert compared["adaptive_is_stronger"] == "nothing comparable was run"
    assert compared["black_box_is_stronger"] != "nothing comparable was run"


def test_transferred_attacks_need_a_surrogate(network, data):
    with pytest.raises(ValueError, match="give surrogate="):
        evaluate_robustness(network, data, fgsm(0.1), transferred=fgsm(0.1))
