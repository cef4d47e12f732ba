"""Where labels flip, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.attention.flips import (
    by_round,
    crossing,
    flip_rounds,
    flipped_shares,
    half_flipped,
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


def test_shares_by_bin():
    shares = {round(bin_.low, 1): bin_ for bin_ in flipped_shares(five())}
    # In round 2 the third image counts as flipped at 0.5; the fifth is not counted at all.
    expected = {0.1: 1.0, 0.2: 1.0, 0.3: 1.0, 0.4: 1.0, 0.5: 1.0, 0.6: 0.0, 0.7: 0.0, 0.8: 0.0}
    assert {low: bin_.share.value for low, bin_ in shares.items()} == expected
    assert all(bin_.count == 1 for bin_ in shares.values())


def test_half_have_flipped_between_the_last_flip_and_the_first_that_stays():
    found = half_flipped(five())
    assert found.value == pytest.approx((0.55 + 0.65) / 2)
    assert found.count == 4


def test_crossing_is_interpolated():
    # Shares 0.75 at 0.25 and 0.25 at 0.75: one half lies in the middle.
    assert crossing(np.array([3, 1]), np.array([4, 4])) == pytest.approx(0.5)
    # Shares 1, 0.9, 0.1 at 1/6, 1/2, 5/6.
    found = crossing(np.array([10, 9, 1]), np.array([10, 10, 10]))
    assert found == pytest.approx(1 / 2 + 0.5 * (1 / 3))


def test_crossing_lets_a_small_bin_out_of_order_weigh_little():
    # 1 of 1 at the top is pooled with 10 of 100 beneath it.
    found = crossing(np.array([90, 10, 1]), np.array([100, 100, 1]))
    pooled = 11 / 101
    expected = 1 / 6 + (0.9 - 0.5) / (0.9 - pooled) / 3
    assert found == pytest.approx(expected)


def test_a_share_on_one_side_crosses_nowhere():
    assert math.isnan(crossing(np.array([9, 8]), np.array([10, 10])))
    assert math.isnan(crossing(np.array([1, 0]), np.array([10, 10])))
    assert math.isnan(crossing(np.zeros(3), np.zeros(3)))


def test_the_interval_covers_a_known_threshold():
    # Labels flip below an IoU of 0.43, whatever the round.
    generator = np.random.default_rng(0)
    iou = generator.random((500, 1))
    wrong = np.hstack([np.zeros((500, 1), int), (iou < 0.43).astype(int)])
    found = half_flipped(run_of(wrong, iou_clean=iou))
    # Bins of a tenth blur it: within the bin from 0.4 to 0.5 a third has flipped.
    assert found.interval.low < found.value < found.interval.high
    assert found.value == pytest.approx(0.43, abs=0.03)


def test_no_image_right_gives_nothing():
    run = run_of([[1, 1]])
    assert flipped_shares(run) == []
    assert half_flipped(run).value is None
    assert by_round(run)[0].at_risk == 0
