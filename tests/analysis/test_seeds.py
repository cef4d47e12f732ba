"""Verdicts on defences: by seeds, by a margin, and against the paper's number."""

from __future__ import annotations

import pytest

from analysis.seeds import MARGIN, SeedDifference

LOW = {0: 0.50, 1: 0.50, 2: 0.50}


def difference(*gaps: float, paper: float | None = None, sketch: str = "") -> SeedDifference:
    """Of rows of the same seeds trained alike, with these differences seed by seed."""
    first = {seed: 0.5 + gap for seed, gap in enumerate(gaps)}
    second = {seed: 0.5 for seed in first}
    return SeedDifference("FGSM", first, second, paper, sketch, sketch)


# Intervals of three differences a - d, a, a + d: a -+ 4.3027 d / sqrt(3) = a -+ 2.4842 d.
@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ((0.09, 0.10, 0.11), "higher"),
        ((0.01, 0.02, 0.03), "undecided"),  # 0.02 -+ 0.0248
        ((0.014, 0.02, 0.026), "higher"),  # 0.02 -+ 0.0149, however small
        ((-0.09, -0.10, -0.11), "lower"),
        ((-0.01, 0.0, 0.01), "equivalent"),  # -+ 0.0248
        ((-0.013, 0.0, 0.013), "undecided"),  # -+ 0.0323
        ((0.0, 0.0, 0.0), "equivalent"),
    ],
)
def test_verdict_follows_the_rule(gaps, verdict):
    assert MARGIN == 0.03
    assert difference(*gaps).verdict == difference(*gaps).verdict_text() == verdict


@pytest.mark.parametrize(
    ("gaps", "paper", "text"),
    [
        ((0.09, 0.10, 0.11), 0.1, "higher"),
        ((0.09, 0.10, 0.11), 0.739, "higher; smaller than the paper's"),
        ((0.09, 0.10, 0.11), 0.02, "higher; larger than the paper's"),
        ((0.09, 0.10, 0.11), -0.02, "higher, against the paper's"),
        ((0.09, 0.10, 0.11), 0.0, "higher; the paper's is 0"),
        ((-0.09, -0.10, -0.11), 0.15, "lower, against the paper's"),
        ((-0.09, -0.10, -0.11), -0.012, "lower; larger than the paper's"),
        ((-0.09, -0.10, -0.11), -0.5, "lower; smaller than the paper's"),
        ((-0.01, 0.0, 0.01), 0.712, "equivalent; smaller than the paper's"),
        ((-0.01, 0.0, 0.01), 0.01, "equivalent"),
        ((-0.013, 0.0, 0.013), -0.05, "undecided; smaller than the paper's"),
    ],
)
def test_verdict_says_how_ours_stands_to_the_papers_number(gaps, paper, text):
    assert difference(*gaps, paper=paper).verdict_text() == text


@pytest.mark.parametrize(
    ("first", "second", "sketches", "text"),
    [
        ({0: 0.9}, {0: 0.5}, ("", ""), "one run each, no verdict"),
        ({0: 0.9, 1: 0.9}, LOW, ("", ""), "2 and 3 seeds, no verdict"),
        ({0: 0.9}, LOW, ("", ""), "1 and 3 seeds, no verdict"),
        (
            {0: 0.9, 1: 0.9, 2: 0.9},
            LOW,
            ("2 of 200 epochs", ""),
            "not trained alike (2 of 200 epochs against all), no verdict",
        ),
        (
            {0: 0.9},
            {0: 0.5},
            ("2 of 5 epochs", "4 of 5 epochs"),
            "not trained alike (2 of 5 epochs against 4 of 5 epochs), one run each, no verdict",
        ),
        (
            {0: 0.9},
            {0: 0.5},
            ("2 of 5 epochs", "2 of 5 epochs"),
            "one run each, no verdict; a sketch (2 of 5 epochs), not held against the paper",
        ),
    ],
)
def test_few_seeds_and_unlike_trainings_decide_nothing(first, second, sketches, text):
    found = SeedDifference("PGD30", first, second, 0.739, *sketches)
    assert found.verdict == "no verdict"
    seeds = f" (seeds {found.seeds_text()})" if first.keys() != second.keys() else ""
    assert found.line() == f"PGD30{seeds}: +40.0, paper +73.9: {text}"


def test_a_line_names_the_seeds_where_they_are_not_the_same():
    """Of five seeds against three the three in common, by whose pairs the difference is taken."""
    five = {0: 0.9, 1: 0.9, 2: 0.9, 3: 0.5, 4: 0.5}
    line = SeedDifference("PGD30", five, {0: 0.5, 1: 0.5, 2: 0.5}).line()
    assert line.startswith("PGD30 (seeds 0, 1, 2): +40.0 [+40.0, +40.0]")
    line = SeedDifference("PGD30", {0: 0.9}, {0: 0.5, 1: 0.7}).line()
    assert line.startswith("PGD30 (seeds 0 against 0, 1): +30.0")


@pytest.mark.parametrize(("first", "second"), [({}, {0: 0.5}), ({0: 0.5, 1: 0.6}, {}), ({}, {})])
def test_what_was_not_run_is_no_run_each(first, second):
    line = SeedDifference("PGD30", first, second).line()
    assert line.endswith(": not run, no verdict")


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ((0.09, 0.10, 0.11), "higher"),
        ((-0.09, -0.10, -0.11), "lower"),
        ((-0.01, 0.0, 0.01), "equivalent"),
        ((-0.013, 0.0, 0.013), "undecided"),
    ],
)
@pytest.mark.parametrize("paper", [None, 0.739, 0.0, -0.5])
def test_sketches_trained_alike_are_judged_against_each_other_alone(gaps, verdict, paper):
    found = difference(*gaps, paper=paper, sketch="4 of 200 epochs")
    assert found.verdict == verdict
    text = f"{verdict}; a sketch (4 of 200 epochs), not held against the paper"
    assert found.verdict_text() == text
    assert found.cell_text().endswith(f", {verdict}")


def test_three_seeds_show_their_interval():
    line = difference(0.09, 0.10, 0.11, paper=None).line()
    assert line == "FGSM: +10.0 [+7.5, +12.5], paper –: higher"
