"""Evaluations of attacks in l2: records, batch sizes, what is compared with what, and texts."""

from __future__ import annotations

import numpy as np
import pytest

import aad_tf
from aad_tf.attacks import (
    AttackCascade,
    apgd,
    attack_call,
    attack_from_dict,
    attack_to_dict,
    auto_attack,
    fab,
    fgsm,
    ifgsm,
    parse_attack,
    pgd,
    quick_cascade,
    square,
)
from aad_tf.attention_study import study_attention
from aad_tf.classifier import Classifier
from aad_tf.evaluation import bisected_curve, security_curve
from aad_tf.evaluation.diagnostics import of_outcomes
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.evaluation.summary import format_summary
from aad_tf.evaluation.transfer_summary import format_transfer
from aad_tf.metrics import SecurityCurve
from aad_tf.plots import security_curves, transfer_curves, transfer_matrix
from aad_tf.records import make_record, read_records
from tests.networks import random_images, small_network


def evaluated(attacks, **options):
    network, images = small_network(dtype="float64"), random_images(24, dtype="float64")
    labels = np.argmax(network(images), -1)
    # Some that the network gets wrong.
    labels[::6] = (labels[::6] + 1) % 3
    classifier = Classifier.from_keras(network)
    return aad_tf.evaluate_robustness(classifier, (images, labels), attacks, verbose=0, **options)


def test_records_hold_both_distances():
    report = evaluated([pgd(0.5, 0.2, 4, norm="l2"), fgsm(0.05)])
    for record in report.records():
        assert ("l2" in record) is (record["attack"] == "pgd")
        if record["attack"] == "pgd":
            assert record["l2"] <= 0.5 + 1e-6
            assert record["linf"] <= record["l2"] <= 8 * record["linf"] + 1e-6
            assert record["clean_mistake"] is (record["l2"] == 0)
    assert report.summary["attacks"][0]["threat_model"]["norm"] == "l2"


@pytest.mark.parametrize("success", ["any_iterate", "last_iterate"])
def test_results_do_not_depend_on_the_batch_size(success):
    attack = pgd(0.4, 0.15, 5, restarts=3, norm="l2")
    found = [
        list(evaluated(attack, batch_size=size, success=success, diagnostics=False).records())
        for size in (1, 7, 24)
    ]
    assert found[0] == found[1] == found[2]
    assert 0 < sum(record["success"] for record in found[0]) < 24


def test_an_interrupted_evaluation_goes_on(tmp_path):
    attack, output = pgd(0.4, 0.15, 5, norm="l2"), tmp_path / "l2.jsonl"
    whole = evaluated(attack, batch_size=4, output=tmp_path / "whole.jsonl")

    def stop(progress):
        if progress.done >= 8:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluated(attack, batch_size=4, output=output, progress=stop)
    evaluated(attack, batch_size=4, output=output)
    assert list(read_records(output)) == list(whole.records())
    with pytest.raises(ValueError, match="another evaluation"):
        evaluated(pgd(0.4, 0.15, 5), batch_size=4, output=output)


def test_texts_say_the_norm():
    alone = format_summary(evaluated(pgd(0.5, 0.2, 4, norm="l2")).summary)
    assert "; l2, true labels" in alone and "l-inf" not in alone
    both = format_summary(evaluated([pgd(0.5, 0.2, 4, norm="l2"), fgsm(0.05)]).summary)
    assert "; l-inf and l2, true labels" in both
    assert "0.5 (l2)" in both and "0.05 (l-inf)" in both


def test_transfer_in_l2():
    networks = {"one": small_network(seed=1), "two": small_network(seed=2)}
    images, labels = random_images(6), np.arange(6) % 3
    attacks = [fgsm(0.5, norm="l2"), fgsm(1.0, norm="l2"), ifgsm(0.1)]
    report = aad_tf.evaluate_transfer(networks, (images, labels), attacks, verbose=0)
    wide = "fgsm(epsilon=1.0,norm='l2')"
    for record in report.records():
        for judged in record["adversarial"].values():
            assert "l2" not in judged["ifgsm"]
            assert 0.5 < judged[wide]["l2"] <= 1.0 + 1e-6
    text = format_transfer(report.summary)
    assert "Threat models: l-inf and l2" in text and "total epsilon 1 (l2) = 255/255" in text
    figure = transfer_curves(report.summary, "fgsm")
    assert "total ε (l2)" in figure.get_supxlabel()
    assert ", l2, total ε 1" in transfer_matrix(report.summary, wide).get_suptitle()
    mixed = aad_tf.evaluate_transfer(
        networks, (images, labels), [fgsm(0.5, norm="l2"), fgsm(0.1)], verbose=0
    )
    with pytest.raises(ValueError, match="attacks in different norms"):
        transfer_curves(mixed.summary, "fgsm")


def findings(models, broken):
    """Findings of attacks by what they break of ten images."""
    counts = OutcomeCounts([model["attack"] for model in models])
    for model, number in zip(models, broken, strict=True):
        for index in range(10):
            predicted = {"clean_prediction": 0, "adversarial_prediction": int(index < number)}
            counts.add(make_record(model["attack"], index=index, label=0, linf=0.1, **predicted))
    return {finding["name"]: finding for finding in of_outcomes(models, counts)}


def model_of(name, attack, access="white_box"):
    return {**attack.threat_model(), "attack": name, "access": access}


def test_outcomes_in_different_norms_are_not_compared():
    small, large = pgd(0.5, 0.1, 10), pgd(1.0, 0.1, 10, norm="l2")
    found = findings([model_of("small", small), model_of("large", large)], (5, 5))
    assert found["larger_epsilon"]["status"] == "nothing comparable was run"
    large = pgd(1.0, 0.1, 10)
    found = findings([model_of("small", small), model_of("large", large)], (5, 5))
    assert found["larger_epsilon"]["status"] == "flagged"
    # Transfer in l2 breaks what the white box in l-inf does not.
    transfer = model_of("transfer", pgd(0.5, 0.1, 10, norm="l2"), "transfer")
    found = findings([model_of("small", small), transfer], (2, 9))
    assert found["black_box_is_stronger"]["status"] == "nothing comparable was run"
    white = model_of("white", pgd(0.5, 0.1, 10, norm="l2"))
    found = findings([white, transfer], (2, 9))
    assert found["black_box_is_stronger"]["status"] == "flagged"
    # Another attack, in another norm, does not outdo the one with more steps.
    models = [model_of(str(n), pgd(0.5, 0.1, n, norm="l2")) for n in (10, 20)]
    found = findings([*models, model_of("small", small)], (2, 4, 9))
    assert found["more_iterations"]["status"] == "flagged"


def test_diagnostics_probe_in_the_norm_of_the_attacks():
    def saturated(*attacks):
        (batch,) = evaluated(attacks).summary["diagnostics"]["first_batch"]
        return next(f for f in batch["findings"] if f["name"] == "saturated_loss")["measured"]

    assert "PGD-10 within 0.5 (l2) breaks" in saturated(
        fgsm(0.25, norm="l2"), pgd(0.5, 0.2, 2, norm="l2")
    )
    assert "PGD-10 within 0.05 breaks" in saturated(fgsm(0.05), pgd(0.5, 0.2, 2, norm="l2"))


def test_auto_attack_in_l2():
    cascade = AttackCascade(
        (
            apgd(0.4, 10, norm="l2"),
            fab(0.4, 10, norm="l2"),
            square(0.4, num_queries=40, norm="l2"),
        )
    )
    found = []
    for size in (5, 24):
        report = evaluated(cascade, batch_size=size, diagnostics=False)
        found.append(list(report.records()))
    assert found[0] == found[1]
    for record in found[0]:
        assert record["l2"] <= 0.4 + 1e-6
    assert report.summary["attacks"][0]["threat_model"]["norm"] == "l2"
    assert {record["broken_by"] for record in found[0]} > {None}
    whole = auto_attack(0.4, norm="l2")
    assert {stage.norm for stage in whole.stages} == {"l2"}
    for each in (whole, quick_cascade(0.4, norm="l2"), auto_attack(0.4, "rand", norm="l2")):
        assert attack_from_dict(attack_to_dict(each)) == each == parse_attack(attack_call(each))
    assert attack_call(whole) == "auto_attack(epsilon=0.4,norm='l2')"


def test_the_nearest_image_in_l2_at_any_distance():
    report = evaluated(fab(None, 10, norm="l2"), description={"what": "nearest"})
    (entry,) = report.summary["attacks"]
    # Nothing bounds it but the pixel range, and JSON has no infinity.
    assert entry["threat_model"]["epsilon"] is entry["threat_model"]["epsilon_255"] is None
    distances = [
        record["l2"] if record["success"] else np.inf
        for record in report.records()
        if not record["clean_mistake"]
    ]
    assert entry["median_distance"] == pytest.approx(np.median(distances), abs=1e-6)
    curve = security_curve(report)
    assert curve.norm == "l2" and curve.median_distance == pytest.approx(entry["median_distance"])
    text = format_summary(report.summary)
    assert "fab     none " in text and "median distance to the nearest" in text


def test_curves_in_l2():
    network, images = small_network(), random_images(8)
    labels = np.argmax(network(images), -1)
    curve = bisected_curve(
        network, (images, labels), lambda budget: pgd(budget, budget / 4, 8, norm="l2"), 4.0
    )
    assert curve.norm == "l2" and curve.robust_accuracies[-1] < curve.robust_accuracies[0] == 1
    (axes,) = security_curves({"network": curve}).axes
    assert axes.get_xlabel() == "ε (l2)"
    other = SecurityCurve(curve.distances, curve.epsilons)
    with pytest.raises(ValueError, match="norms l2 and linf, whose budgets cannot be compared"):
        security_curves({"one": curve, "other": other})


def test_studies_of_attention_stay_in_linf(tmp_path):
    with pytest.raises(ValueError, match="A study of attention takes attacks in l-inf"):
        study_attention(
            small_network(),
            (random_images(2), [0, 1]),
            pgd(0.5, 0.1, 2, norm="l2"),
            output=tmp_path / "study.jsonl",
            batch_size=2,
        )
