"""Warnings and diagnostics of evaluations as lines, from hand-written summaries."""

from __future__ import annotations

from typing import Any

from aad_tf.attacks import parse_attack
from aad_tf.evaluation.summary import STATUSES
from analysis import report, trust
from analysis.trust import FLAGGED, NOT_COMPARED, NOT_FLAGGED, Evaluation

FGSM, IFGSM = "fgsm(epsilon=0.15)", "ifgsm(epsilon=0.15, num_steps=3)"


def finding(name: str, status: str, value: float | None = None) -> dict[str, Any]:
    measured = "nothing to compare" if value is None else f"{value:.0%} of them"
    return {
        "name": name,
        "status": status,
        "value": value,
        "threshold": None if value is None else 0.25,
        "measured": measured,
        "run_next": f"more than {name}",
    }


def summary(*parts: list[dict[str, Any]], **entries: Any) -> dict[str, Any]:
    """A summary under two attacks that can be compared; the last part is of all outcomes."""
    attacks = [
        {"attack": text, "threat_model": parse_attack(text).threat_model()}
        for text in (FGSM, IFGSM)
    ]
    found: dict[str, Any] = {"attacks": attacks, "warnings": [], **entries}
    if parts:
        *batches, outcomes = parts
        first = [{"examples": 32, "findings": batch} for batch in batches]
        found["diagnostics"] = {"first_batch": first, "outcomes": outcomes}
    return found


def test_statuses_are_those_that_evaluations_record() -> None:
    assert trust.STATUSES == STATUSES


def test_equal_findings_are_said_once_with_the_worst_measure() -> None:
    # Of gradients a low value is the bad one: 0.05 lies farther below 0.25 than 0.2.
    mild, bad, good = (
        summary(
            [finding("unstable_gradients", status, value)],
            [finding("more_restarts", NOT_COMPARED), finding("larger_epsilon", NOT_FLAGGED, 0.5)],
        )
        for status, value in ((FLAGGED, 0.2), (FLAGGED, 0.05), (NOT_FLAGGED, 0.9))
    )
    evaluations = [Evaluation("A", mild, 0), Evaluation("A", bad, 1), Evaluation("B", good)]
    assert trust.lines(evaluations) == [
        "- No warnings.",
        "- Flagged, `unstable_gradients` (A, seeds 0, 1): 5% of them (0.05, threshold 0.25, most "
        "in A, seed 1). Run next: more than unstable_gradients.",
        "- Nothing comparable was run (all 3 evaluations): `more_restarts`: nothing to compare.",
        "- Not flagged anywhere, which proves nothing: `larger_epsilon`.",
    ]


def test_one_part_that_is_flagged_counts_for_the_whole_evaluation() -> None:
    first, second = ([finding("a", NOT_FLAGGED, 0.9)], [finding("a", FLAGGED, 0.1)])
    found = trust.lines([Evaluation("A", summary(first, second, []))])
    assert found[1:] == [
        "- Flagged, `a` (A): 10% of them (0.1, threshold 0.25). Run next: more than a."
    ]


def test_what_was_not_diagnosed_is_named() -> None:
    diagnosed = summary([finding("a", NOT_FLAGGED, 0.9)], [])
    evaluations = [Evaluation("A", summary(warnings=["masked."])), Evaluation("B", diagnosed)]
    assert trust.lines(evaluations)[:2] == [
        "- A: masked.",
        "- Diagnostics were not computed (A): no check of the attacks there.",
    ]
    assert trust.lines([]) == []


def test_own_page_shows_findings_cascades_and_the_worst_case(results, record, change) -> None:
    record("mine", {"auto_attack(0.3)": "+++xx!"}, data={"name": "fashion_mnist"})
    worst = {"epsilon": 0.3, "attacks": ["a", "b", "c"], "robust": 2, "count": 6}
    pair = {"epsilon": 0.3, "broken_by_it_alone": 1}
    with change("mine") as contents:
        contents["attacks"][0]["stages"] = [
            {"attack": "apgd", "broken": 2, "robust_accuracy": 0.5},
            {"attack": "square", "broken": 0, "robust_accuracy": 0.5},
        ]
        contents["adaptive"] = {"attacks": [pair], "worst": [worst]}
        contents["diagnostics"] = summary([finding("a", FLAGGED, 0.1)], [])["diagnostics"]
    text = report.own_report(results / "robustness" / "mine.jsonl.gz")
    assert "- Flagged, `a` (unnamed network): 10% of them" in text
    assert "| unnamed network | – | auto_attack(0.3) | apgd | 6 | 2 | 50.0 |" in text
    assert "| unnamed network | – | auto_attack(0.3) | square | 6 | 0 | 50.0 |" in text
    # Wilson's interval of 2 of 6.
    assert "| unnamed network | – | 0.3 | 3 | 33.3 [9.7, 70.0] | 1 |" in text
