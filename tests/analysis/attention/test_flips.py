"""Where labels flip, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.attention.flips import (
    attained,
    by_round,
    crossing,
    flip_rounds,
    half_misclassified,
    misclassified_fractions,
    misclassified_table,
)
from tests.analysis.attention.columns import run_of

# Flips in round 1; flips in round 2; flips in 1 and back in 2; never; misclassified when clean.
FIVE = [[0, 1, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]]
IOU = [[0.20, 0.10], [0.60, 0.30], [0.40, 0.50], [0.80, 0.70], [0.99, 0.99]]


def five():
    return run_of(FIVE, iou_clean=IOU)


def test_the_first_flip_counts():
    assert flip_rounds(five()).tolist() == [1, 2, 1, 0, 0]


def test_rounds_compare_first_flips_with_images_not_flipped_yet():
    first, second = by_round(five())
    assert (first.at_risk, first.flipped) == (4, 2)
    assert first.groups.second.value == pytest.approx((0.6 + 0.8) / 2)
    assert first.groups.first.value == pytest.approx((0.2 + 0.4) / 2)
    assert (second.at_risk, second.flipped) == (2, 1)
    assert second.groups.difference.value == pytest.approx(0.3 - 0.7)


# IoU of areas of ten cells with so many in common, rounded as records are.
SHARED = {k: round(k / (20 - k), 4) for k in range(11)}


def came_back():
    """Misclassified in round 1 alone; in round 2 alone; never; when clean."""
    iou = [[2, 8], [8, 4], [9, 9], [0, 0]]
    return run_of(
        [[0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]],
        iou_clean=[[SHARED[k] for k in row] for row in iou],
    )


def test_a_label_that_came_back_counts_as_correct():
    rates = {
        common: (e.value, e.count) for common, e in misclassified_fractions(came_back()).items()
    }
    # At 8 of 10 the first image is correct again and the second not misclassified yet.
    assert rates == {2: (1.0, 1), 4: (1.0, 1), 8: (0.0, 2), 9: (0.0, 2)}
    rows = misclassified_table(came_back()).rows
    assert [row[:3] for row in rows] == [
        ("2 of 10", "0.111", "1"),
        ("4 of 10", "0.250", "1"),
        ("8 of 10", "0.667", "2"),
        ("9 of 10", "0.818", "2"),
    ]
    # Nobody has 4 of 10 in common in round 1.
    assert rows[1][4:] == ("–", "–") and rows[3][4] == "1"


def test_one_round_alone():
    rates = {common: e.value for common, e in misclassified_fractions(came_back(), (1,)).items()}
    assert rates == {2: 1.0, 8: 0.0, 9: 0.0}
    assert half_misclassified(came_back(), (1,)).value == pytest.approx((2 / 18 + 2 / 3) / 2)


def test_half_are_misclassified_between_attained_values():
    found = half_misclassified(came_back())
    assert found.value == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert found.count == 3


@pytest.mark.parametrize(
    ("ious", "part", "count", "expected"),
    [
        # Rates 0.75 at 0.25 and 0.25 at 0.75: one half lies in the middle.
        ([0.25, 0.75], [3, 1], [4, 4], 0.5),
        # Rates 1, 0.9, 0.1 at uneven distances.
        ([0.0, 0.2, 1.0], [10, 9, 1], [10, 10, 10], 0.2 + 0.5 * 0.8),
        # 1 of 1 at the top is pooled with 10 of 100 beneath it.
        ([0.0, 0.5, 1.0], [90, 10, 1], [100, 100, 1], (0.9 - 0.5) / (0.9 - 11 / 101) / 2),
        # A rate on one side crosses nowhere.
        ([0.2, 0.6], [9, 8], [10, 10], math.nan),
        ([0.2, 0.6], [1, 0], [10, 10], math.nan),
        ([0.2, 0.6], [0, 0], [0, 0], math.nan),
    ],
)
def test_crossing_by_hand(ious, part, count, expected):
    found = crossing(*(np.array(values) for values in (ious, part, count)))
    assert found == pytest.approx(expected, nan_ok=True)


def test_the_interval_covers_a_known_threshold():
    # The fraction falls in a straight line from 1 at IoU 0.1 to 0 at 0.9: half at 0.5.
    generator = np.random.default_rng(0)
    iou = attained(10)[generator.integers(0, 11, (4000, 1))]
    misclassified = generator.random((4000, 1)) < np.clip((0.9 - iou) / 0.8, 0, 1)
    found = half_misclassified(
        run_of(np.hstack([np.zeros((4000, 1), int), misclassified.astype(int)]), iou_clean=iou)
    )
    assert found.interval.low < 0.5 < found.interval.high
    assert found.interval.high - found.interval.low < 0.1


def test_no_correct_image_gives_nothing():
    run = run_of([[1, 1]])
    assert misclassified_fractions(run) == {}
    assert half_misclassified(run).value is None
    assert by_round(run)[0].at_risk == 0
