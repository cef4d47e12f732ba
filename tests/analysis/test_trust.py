"""Warnings and diagnostics of evaluations as lines, from hand-written summaries."""

from __future__ import annotations

from typing import Any

from aad_tf.attacks import parse_attack
from aad_tf.records.findings import FLAGGED, NOT_COMPARED, NOT_FLAGGED
from analysis import report, trust
from analysis.trust import Evaluation

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
        f"- Diagnostics were computed at a commit that is not recorded. {trust.COMPUTED}.",
    ]


def test_short_lines_count_what_was_flagged() -> None:
    flagged = summary([finding("a", FLAGGED, 0.1)], [finding("b", FLAGGED, 0.1)])
    half = summary([finding("a", FLAGGED, 0.1)], [finding("b", NOT_FLAGGED, 0.9)])
    three = [
        Evaluation(name, each) for name, each in zip("ABC", (flagged, half, summary()), strict=True)
    ]
    assert trust.short_lines(three) == [
        "- No warnings.",
        "- Diagnostics were computed in 2 of 3 evaluations; flagged: `a` in 2, `b` in 1.",
    ]
    clear = summary([finding("a", NOT_FLAGGED, 0.1)], [])
    assert trust.short_lines([Evaluation("A", clear)])[1] == (
        "- Diagnostics were computed in 1 of 1 evaluations; flagged: nothing, which proves nothing."
    )
    assert trust.short_lines([]) == []


def test_one_part_that_is_flagged_counts_for_the_whole_evaluation() -> None:
    first, second = ([finding("a", NOT_FLAGGED, 0.9)], [finding("a", FLAGGED, 0.1)])
    found = trust.lines([Evaluation("A", summary(first, second, []))])
    assert found[1] == (
        "- Flagged, `a` (A): 10% of them (0.1, threshold 0.25). Run next: more than a."
    )


def test_of_parts_that_are_flagged_the_worst_counts() -> None:
    # 0.05 and 0.4 are flagged on either side of 0.25; 0.05 lies farther from it, wherever it is.
    parts = [[finding("a", FLAGGED, value)] for value in (0.2, 0.05, 0.4)]
    for ordered in (parts, parts[::-1]):
        found = trust.lines([Evaluation("A", summary(*ordered, []))])
        assert "`a` (A): 5% of them (0.05, threshold 0.25)" in found[1]


def under(**accuracies: float) -> list[dict[str, Any]]:
    """Entries of FGSM, IFGSM and PGD within the same budget, as far as they were run."""
    texts = {"fgsm": FGSM, "ifgsm": IFGSM, "pgd": "pgd(0.15, 0.01, 40)"}
    return [
        {
            "attack": texts[name],
            "threat_model": parse_attack(texts[name]).threat_model(),
            "robust_accuracy": accuracy,
        }
        for name, accuracy in accuracies.items()
    ]


def test_attacks_that_others_outdo_are_not_flagged_for_what_they_gain() -> None:
    # IFGSM with 3 iterations takes 6 points more than FGSM with 1, and PGD 8 points more than it.
    recorded = [finding("more_iterations", FLAGGED, 0.06)]
    outdone = summary([], recorded, attacks=under(fgsm=0.9, ifgsm=0.84, pgd=0.76))
    (line,) = [x for x in trust.lines([Evaluation("A", outdone)]) if "more_iterations" in x]
    assert line.startswith("- Nothing comparable was run (A): `more_iterations`: no two attacks")
    weak = summary([], recorded, attacks=under(fgsm=0.9, ifgsm=0.84, pgd=0.86))
    (line,) = [x for x in trust.lines([Evaluation("A", weak)]) if "more_iterations" in x]
    assert line.startswith("- Flagged, `more_iterations` (A): 3 iterations (ifgsm(")
    assert "lower the robust accuracy by 6.00 points (0.06, threshold 0.002)" in line


def test_the_commits_whose_code_measured_are_named() -> None:
    measured = [
        summary([finding("a", NOT_FLAGGED, 0.9)], [], provenance={"git_commit": sha * 40, **more})
        for sha, more in (("a", {}), ("a", {}), ("b", {"git_dirty": True}))
    ]
    evaluations = [Evaluation("A", one, seed) for seed, one in enumerate(measured)]
    without = Evaluation("B", summary(provenance={"git_commit": "c" * 40}))
    assert trust.lines([*evaluations, without])[-1] == (
        "- Diagnostics were computed at commit aaaaaaa (A, seeds 0, 1), commit bbbbbbb with "
        f"uncommitted changes (A, seed 2). {trust.COMPUTED}."
    )
    alone = trust.lines([*evaluations[:2], without])[-1]
    assert alone == f"- Diagnostics were computed at commit aaaaaaa. {trust.COMPUTED}."


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
