"""Verdicts and what stands beside them."""

from __future__ import annotations

import pytest

from aad_tf.metrics import Interval
from analysis.findings import Finding, findings_table
from analysis.statistics import NOTHING, Estimate


@pytest.mark.parametrize(
    ("low", "high", "count", "direction", "verdict"),
    [
        (-0.3, -0.1, 10, -1, "confirmed"),
        (-0.3, -0.1, 10, 1, "contradicted"),
        (-0.3, 0.0, 10, -1, "undecided"),
        (-0.3, -0.1, 9, -1, "undecided"),
        (-0.3, -0.1, 10, 0, "below"),
        (0.1, 0.3, 10, 0, "above"),
        (0.1, 0.3, 10, None, "–"),
    ],
)
def test_verdict_follows_the_rule(low, high, count, direction, verdict):
    estimate = Estimate((low + high) / 2, Interval(low, high), count)
    assert Finding("x", estimate, direction).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "count", "paper", "text"),
    [
        (-0.018, 0.010, 50, -0.054, "undecided; the paper's -0.054 lies outside"),
        (-0.060, 0.010, 50, -0.054, "undecided"),
        (-0.018, 0.010, 9, -0.054, "undecided"),
        (-0.018, 0.010, 50, None, "undecided"),
        (-0.3, -0.2, 50, -0.187, "confirmed; larger than the paper's"),
        (-0.1, -0.05, 50, -0.187, "confirmed; smaller than the paper's"),
        (-0.2, -0.1, 50, -0.187, "confirmed"),
        (0.1, 0.2, 50, -0.187, "contradicted"),
    ],
)
def test_verdict_says_where_the_papers_number_lies(low, high, count, paper, text):
    finding = Finding("x", Estimate((low + high) / 2, Interval(low, high), count), -1, paper)
    assert finding.verdict_text() == text
    assert finding.verdict == text.split(";")[0]
    assert findings_table([("1", finding)]).rows[0][-1] == text


def test_findings_in_points_and_where_the_paper_prints_none():
    estimate = Estimate(0.2, Interval(0.1, 0.3), 50)
    rows = findings_table(
        [
            ("4", Finding("gain", estimate, 1, 0.227, percent=True)),
            ("9", Finding("x", estimate, -1)),
        ]
    ).rows
    assert rows[0] == ("4", "gain", "+20.0 [+10.0, +30.0]", "+22.7", "confirmed")
    assert rows[1][2:] == ("+0.200 [+0.100, +0.300]", "below 0", "contradicted")


def test_what_is_compared_with_nothing_has_no_sign_and_no_verdict():
    finding = Finding("x", Estimate(0.5, Interval(0.4, 0.6), 50), None)
    assert (finding.ours_text(), finding.paper_text()) == ("0.500 [0.400, 0.600]", "–")
    assert finding.verdict_text() == "–"
    nothing = Finding("x", NOTHING, -1, 0.5)
    assert (nothing.verdict_text(), nothing.ours_text()) == ("nothing to compare", "–")
