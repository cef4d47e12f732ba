"""Comparisons of two defences: Newcombe's own examples, then verdicts on hand-written records."""

from __future__ import annotations

import pytest

from aad_tf.metrics import Interval
from analysis import findings, table_5
from analysis.findings import Finding, difference_interval, pair_counts
from train.configs.mnist import ATTACKS

FGSM, IFGSM, STEP_LL, PGD_30, PGD_100 = ATTACKS


def test_independent_interval_is_newcombes_published_example():
    # Newcombe (1998), Statistics in Medicine 17:873-890, 56/70 - 48/80, method 10.
    difference, interval = difference_interval((56, 70), (48, 80))
    assert difference == pytest.approx(0.2)
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_paired_interval_is_newcombes_published_example():
    # Newcombe (1998), Statistics in Medicine 17:2635-2650, cells 36, 12, 2, 0, method 10.
    difference, interval = difference_interval((48, 50), (38, 50), (36, 12, 2, 0))
    assert difference == pytest.approx(0.2)
    assert interval == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_pairs_that_agree_narrow_the_interval():
    alone = difference_interval((80, 100), (70, 100))[1]
    paired = difference_interval((80, 100), (70, 100), (70, 10, 0, 20))[1]
    assert paired.low > alone.low
    assert paired.high < alone.high


@pytest.mark.parametrize("share", [0, 100])
def test_networks_alike_at_the_end_of_the_scale_differ_by_nothing(share):
    both, neither = share, 100 - share
    difference, interval = difference_interval((share, 100), (share, 100), (both, 0, 0, neither))
    assert difference == 0
    assert interval.low < 0 < interval.high


def test_pairs_are_matched_by_the_place_of_the_example():
    first = {0: True, 1: True, 2: False, 3: False, 4: True}
    second = {4: False, 3: False, 2: True, 1: False, 0: True}
    assert pair_counts(first, second) == (1, 2, 1, 1)


def test_other_examples_are_refused():
    with pytest.raises(ValueError, match="not evaluated on the same examples"):
        pair_counts({0: True}, {1: True})


@pytest.mark.parametrize(
    ("interval", "paper", "verdict"),
    [
        ((0.01, 0.2), 2.0, "confirmed"),
        ((-0.2, -0.01), 2.0, "contradicted"),
        ((-0.2, -0.01), -2.0, "confirmed"),
        ((0.01, 0.2), -2.0, "contradicted"),
        ((-0.1, 0.1), 2.0, "undecided"),
        ((0.0, 0.0), 2.0, "undecided"),
        ((0.01, 0.2), None, "above"),
        ((-0.2, -0.01), None, "below"),
    ],
)
def test_verdict_follows_the_interval_and_the_papers_sign(interval, paper, verdict):
    difference = sum(interval) / 2
    finding = Finding("a", "b", "FGSM", difference, Interval(*interval), True, paper)
    assert finding.verdict == verdict


def test_findings_of_hand_written_records(results, record):
    # 100 examples: under FGSM AAD stands 40 points higher, under IFGSM 40 lower, under PGD equal.
    high, low = "+" * 90 + "x" * 10, "+" * 50 + "x" * 50
    record("mnist_aad_step_ll", {FGSM: high, IFGSM: low, PGD_30: low, STEP_LL: high})
    record("mnist_step_ll", {FGSM: low, IFGSM: high, PGD_30: low, STEP_LL: low})
    found = findings.findings(table_5.build(results, "mnist"))
    assert [(f.column, f.verdict) for f in found] == [
        ("FGSM (ε 0.15)", "confirmed"),
        ("IFGSM (ε 0.15)", "contradicted"),
        ("PGD30 (ε 0.3)", "undecided"),
    ]
    assert all(f.paired for f in found)
    assert found[0].difference == pytest.approx(0.4)
    assert found[0].paper_difference == pytest.approx(98.69 - 96.42)
    sentence = found[0].sentence()
    assert sentence.startswith("FGSM (ε 0.15): +40.0 [")
    assert sentence.endswith("], paper +2.3, confirmed")


def test_without_records_examples_are_not_paired(results, record):
    outcomes = {FGSM: "+" * 50 + "x" * 50}
    record("mnist_aad_step_ll", outcomes, keep_records=False)
    record("mnist_step_ll", outcomes)
    (finding,) = findings.findings(table_5.build(results, "mnist"))
    assert not finding.paired


def test_no_finding_where_a_row_was_not_run(results, record):
    record("mnist_aad_step_ll", {FGSM: "++"})
    assert findings.findings(table_5.build(results, "mnist")) == []


def test_pgd_defences_are_compared_at_the_same_training_steps(results, record):
    for preset in ("aad_pgd_short", "madry"):
        record(f"mnist_{preset}", {PGD_30: "+" * 30})
    assert findings.findings(table_5.build(results, "mnist")) == []
    record("mnist_madry_short", {PGD_30: "x" * 30})
    (finding,) = findings.findings(table_5.build(results, "mnist"))
    assert finding.verdict == "confirmed"
    assert "fewer PGD steps" in finding.other
