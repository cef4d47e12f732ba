"""What the paper says of its defences, against hand-written records."""

from __future__ import annotations

import pytest

from analysis import statistics, table_5
from train.configs.mnist import ATTACKS

FGSM, IFGSM, STEP_LL, PGD_30, PGD_100 = ATTACKS


def test_findings_of_hand_written_records(results, record):
    # 100 examples: under FGSM AAD stands 40 points higher, under IFGSM 40 lower, under PGD equal.
    high, low = "+" * 90 + "x" * 10, "+" * 50 + "x" * 50
    record("mnist_aad_step_ll", {FGSM: high, IFGSM: low, PGD_30: low, STEP_LL: high})
    record("mnist_step_ll", {FGSM: low, IFGSM: high, PGD_30: low, STEP_LL: low})
    found = table_5.findings(table_5.build(results, "mnist"))
    assert {rows for rows, _ in found} == {"AAD with StepLL against Adv. train with StepLL"}
    assert [(f.statement, f.verdict) for _, f in found] == [
        ("FGSM (ε 0.15)", "confirmed"),
        ("IFGSM (ε 0.15)", "contradicted"),
        ("PGD30 (ε 0.3)", "undecided"),
    ]
    fgsm = found[0][1]
    # 50 examples are correct under both, 40 under AAD alone: the interval is that of pairs.
    paired = statistics.difference_interval((90, 100), (50, 100), (50, 40, 0, 10))
    assert fgsm.estimate == paired and paired.value == pytest.approx(0.4)
    assert fgsm.paper == pytest.approx((98.69 - 96.42) / 100)
    line = table_5.finding_lines(table_5.build(results, "mnist"))[1]
    assert line.startswith("  - FGSM (ε 0.15): +40.0 [")
    assert line.endswith("], paper +2.3, confirmed")


def test_without_records_examples_are_not_paired(results, record):
    outcomes = {FGSM: "+" * 50 + "x" * 50}
    record("mnist_aad_step_ll", outcomes, keep_records=False)
    record("mnist_step_ll", outcomes)
    ((_, finding),) = table_5.findings(table_5.build(results, "mnist"))
    assert finding.estimate == statistics.difference_interval((50, 100), (50, 100))


def test_no_finding_where_a_row_was_not_run(results, record):
    record("mnist_aad_step_ll", {FGSM: "++"})
    assert table_5.findings(table_5.build(results, "mnist")) == []


def test_pgd_defences_are_compared_at_the_same_training_steps(results, record):
    for preset in ("aad_pgd_short", "madry"):
        record(f"mnist_{preset}", {PGD_30: "+" * 30})
    assert table_5.findings(table_5.build(results, "mnist")) == []
    record("mnist_madry_short", {PGD_30: "x" * 30})
    ((rows, finding),) = table_5.findings(table_5.build(results, "mnist"))
    assert finding.verdict == "confirmed"
    assert "fewer PGD steps" in rows.split(" against ")[1]
