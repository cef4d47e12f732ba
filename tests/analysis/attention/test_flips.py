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

# Flips in round 1; flips in round 2; flips in 1 and back in 2; never; wrong when clean.
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


def test_attained_values_are_those_of_whole_cells_in_common():
    np.testing.assert_allclose(attained(2), [0, 1 / 3, 1])
    assert attained(10)[[5, 8]].tolist() == pytest.approx([1 / 3, 2 / 3])


# IoU of areas of ten cells with so many in common, rounded as records are.
SHARED = {k: round(k / (20 - k), 4) for k in range(11)}


def came_back():
    """Right but in round 1; wrong in round 2 alone; never wrong; wrong when clean."""
    iou = [[2, 8], [8, 4], [9, 9], [0, 0]]
    return run_of(
        [[0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]],
        iou_clean=[[SHARED[k] for k in row] for row in iou],
    )


def test_a_label_that_came_back_counts_as_right():
    rates = {
        common: (e.value, e.count) for common, e in misclassified_fractions(came_back()).items()
    }
    # At 8 of 10 the first image is right again and the second not wrong yet.
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


def test_half_are_wrong_between_attained_values():
    found = half_misclassified(came_back())
    assert found.value == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert found.count == 3


def test_crossing_is_interpolated():
    # Rates 0.75 at 0.25 and 0.25 at 0.75: one half lies in the middle.
    assert crossing(np.array([0.25, 0.75]), np.array([3, 1]), np.array([4, 4])) == 0.5
    # Rates 1, 0.9, 0.1 at uneven places.
    places = np.array([0.0, 0.2, 1.0])
    found = crossing(places, np.array([10, 9, 1]), np.array([10, 10, 10]))
    assert found == pytest.approx(0.2 + 0.5 * 0.8)


def test_crossing_lets_a_small_count_out_of_order_weigh_little():
    # 1 of 1 at the top is pooled with 10 of 100 beneath it.
    places = np.array([0.0, 0.5, 1.0])
    found = crossing(places, np.array([90, 10, 1]), np.array([100, 100, 1]))
    pooled = 11 / 101
    assert found == pytest.approx((0.9 - 0.5) / (0.9 - pooled) / 2)


def test_a_rate_on_one_side_crosses_nowhere():
    places = np.array([0.2, 0.6])
    assert math.isnan(crossing(places, np.array([9, 8]), np.array([10, 10])))
    assert math.isnan(crossing(places, np.array([1, 0]), np.array([10, 10])))
    assert math.isnan(crossing(places, np.zeros(2), np.zeros(2)))


def test_the_interval_covers_a_known_threshold():
    # The fraction wrong falls in a straight line from 1 at IoU 0.1 to 0 at 0.9: half at 0.5.
    generator = np.random.default_rng(0)
    iou = attained(10)[generator.integers(0, 11, (4000, 1))]
    wrong = generator.random((4000, 1)) < np.clip((0.9 - iou) / 0.8, 0, 1)
    found = half_misclassified(
        run_of(np.hstack([np.zeros((4000, 1), int), wrong.astype(int)]), iou_clean=iou)
    )
    assert found.interval.low < 0.5 < found.interval.high
    assert found.interval.high - found.interval.low < 0.1


def test_no_image_right_gives_nothing():
    run = run_of([[1, 1]])
    assert misclassified_fractions(run) == {}
    assert half_misclassified(run).value is None
    assert by_round(run)[0].at_risk == 0
