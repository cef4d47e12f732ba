"""Matching: obvious pairs by hand, then simulated data whose cause is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from analysis.attention.matched import (
    compare_low,
    compare_outcomes,
    covariates,
    logit,
    match_pairs,
    stratify,
)
from analysis.attention.regression import refit, regress
from tests.analysis.attention.columns import run_of, simulated


def test_obvious_pairs_are_found():
    first = np.array([[0.0, 0.0], [5.0, 5.0]])
    second = np.array([[5.1, 5.0], [9.0, 9.0], [0.0, 0.1]])
    one, two = match_pairs(first, second, caliper=0.2)
    assert (one.tolist(), two.tolist()) == ([0, 1], [2, 0])


def test_the_closest_pair_is_made_first_and_nothing_is_used_twice():
    # 1 is nearer to the only partner than 0; the caliper keeps 0 from the far one.
    one, two = match_pairs(np.array([[0.0], [0.1]]), np.array([[0.12], [3.0]]), caliper=0.5)
    assert (one.tolist(), two.tolist()) == ([1], [0])


def test_ties_go_to_earlier_images():
    one, two = match_pairs(np.zeros((2, 1)), np.zeros((3, 1)))
    assert (one.tolist(), two.tolist()) == ([0, 1], [0, 1])


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_group_gives_no_pairs(sizes):
    one, two = match_pairs(np.zeros((sizes[0], 2)), np.zeros((sizes[1], 2)))
    assert len(one) == len(two) == 0


def test_covariates_are_standardised_over_images_right_with_a_box():
    run = run_of(
        [[0, 0], [0, 1], [1, 1], [0, 0]],
        confidence=[0.5, 0.9, 0.1, 0.2],
        boxes=[(0, 0, 1, 1), (0, 0, 0.5, 1), (0, 0, 0.1, 0.1), None],
    )
    values = covariates(run)
    # Of two images the logits 0 and log 9 and the areas 1 and 0.5 become -1 and 1.
    np.testing.assert_allclose(values[:2], [[-1, 1], [1, -1]])
    assert logit(np.array([0.9]))[0] == pytest.approx(np.log(9))


def test_by_hand_raw_and_matched_differences():
    # Two failed attacks, three successful ones; equal confidence makes 0 and 2, 1 and 3 pairs.
    run = run_of(
        [[0, 0], [0, 0], [0, 1], [0, 1], [0, 1]],
        confidence=[0.2, 0.8, 0.2, 0.8, 0.999],
        iou_box=[0.6, 0.9, 0.5, 0.6, 0.1],
    )
    found = compare_outcomes(run, run.iou_box()[:, 0])
    assert found.raw.difference.value == pytest.approx(0.4 - 0.75)
    assert found.matched.difference.value == pytest.approx(-(0.1 + 0.3) / 2)
    assert found.matched.difference.count == 2
    assert found.unmatched == 0
    assert found.balance["logit of confidence"][1] == 0
    assert found.balance["logit of confidence"][0] > 0.5


def test_images_without_a_box_are_left_out():
    run = run_of([[0, 0], [0, 1], [0, 1]], boxes=[(0, 0, 1, 1), (0, 0, 1, 1), None])
    assert compare_outcomes(run, run.iou_clean()[:, 0]).raw.first.count == 1


def test_where_confidence_is_the_cause_matching_takes_the_difference_away():
    run = simulated()
    found = compare_outcomes(run, run.iou_box()[:, 0])
    assert found.raw.difference.interval.high < -0.02
    low, high = found.matched.difference.interval
    assert low < 0 < high
    assert found.matched.difference.count > 500
    for before, after in found.balance.values():
        assert abs(after) < 0.05
        assert abs(after) <= abs(before) + 0.02


def test_where_attention_matters_the_matched_difference_stays():
    run = simulated(attention_matters=True)
    assert compare_outcomes(run, run.iou_box()[:, 0]).matched.difference.interval.high < -0.02


def test_regression_tells_the_causes_apart():
    by_confidence = simulated()
    found = regress(by_confidence, by_confidence.iou_box()[:, 0])
    low, high = found.coefficients["IoU"].interval
    assert low < 0 < high
    assert found.alone.interval.high < 0
    assert found.coefficients["logit of confidence"].interval.high < 0
    both = simulated(attention_matters=True)
    assert regress(both, both.iou_box()[:, 0]).coefficients["IoU"].interval.high < 0


def test_regression_alone_gives_the_log_odds_ratio():
    # IoU 0 and 1, successes 30 of 40 and 10 of 40; half a standard deviation apart on each side.
    wrong = np.repeat([1, 0, 1, 0], [30, 10, 10, 30])
    iou = np.repeat([0.0, 1.0], 40)
    run = run_of(np.stack([np.zeros(80, int), wrong], axis=1))
    found = regress(run, iou)
    assert found.alone.value == pytest.approx(np.log((10 / 30) / (30 / 10)) / 2, abs=1e-3)
    assert found.count == 80
    assert found.counts == "40 / 40"


def test_the_smaller_group_counts_for_a_regression():
    wrong = np.repeat([1, 0], [30, 4])
    run = run_of(np.stack([np.zeros(34, int), wrong], axis=1), confidence=np.linspace(0.2, 0.9, 34))
    found = regress(run, np.linspace(0, 1, 34))
    assert (found.count, found.counts, found.alone.count) == (34, "30 / 4", 4)
    low = regress(run, np.arange(34) % 17 == 0)
    assert low.coefficients["IoU"].count == 2  # two low images, fewer than the four that failed


def test_being_low_gives_the_log_odds_ratio():
    # Successes 30 of 40 at low IoU, 10 of 40 at others: odds 3 against 1 / 3.
    wrong = np.repeat([1, 0, 1, 0], [30, 10, 10, 30])
    run = run_of(np.stack([np.zeros(80, int), wrong], axis=1))
    found = regress(run, np.repeat([True, False], 40))
    assert found.alone.value == pytest.approx(np.log(9), abs=1e-2)


def test_low_iou_beside_others_by_hand():
    # Low: 0, 1; others 2, 3 of the same confidence and 4 far from both; 5 is wrong when clean.
    run = run_of(
        [[0, 1], [0, 1], [0, 1], [0, 0], [0, 0], [1, 1]],
        confidence=[0.2, 0.8, 0.2, 0.8, 0.999, 0.5],
        iou_box=[0.4, 0.1, 0.5, 0.9, 0.7, 0.2],
    )
    found = compare_low(run)
    assert found.raw.difference.value == pytest.approx(1 - 1 / 3)
    assert found.matched.difference.value == pytest.approx((0 + 1) / 2)
    assert (found.matched.first.count, found.unmatched) == (2, 0)


def test_resamples_are_fitted_as_scikit_learn_fits_them():
    generator = np.random.default_rng(3)
    features = generator.normal(size=(200, 3))
    success = generator.random(200) < 1 / (1 + np.exp(-features @ [1.0, -0.5, 0.2]))
    counts = generator.integers(0, 4, (2, 200)).astype(float)
    found = refit(features, success, counts, np.zeros(4))
    for row, weights in zip(found, counts, strict=True):
        peer = LogisticRegression(C=1e4, tol=1e-10, max_iter=1000)
        peer.fit(features, success, sample_weight=weights)
        np.testing.assert_allclose(row, [*peer.intercept_, *peer.coef_[0]], atol=1e-4)


def test_regression_needs_both_outcomes():
    run = run_of([[0, 1], [0, 1], [0, 0]])
    assert regress(run, run.iou_box()[:, 0]) is None


def test_strata_hold_confidence_fixed():
    run = simulated()
    strata = stratify(run, run.iou_box()[:, 0])
    rates = [stratum.success_rate for stratum in strata]
    assert rates == sorted(rates, reverse=True)
    counts = [s.count for s in strata]
    assert counts == [600] * 5
    raw = compare_outcomes(run, run.iou_box()[:, 0]).raw.difference.value
    mean = np.mean([s.groups.difference.value for s in strata])
    assert abs(mean) < abs(raw) / 2


def test_strata_by_hand():
    run = run_of(
        [[0, 0], [0, 1], [0, 0], [0, 1]],
        confidence=[0.9, 0.8, 0.1, 0.2],
        iou_box=[0.7, 0.5, 0.3, 0.2],
    )
    low, high = stratify(run, run.iou_box()[:, 0], strata=2)
    assert (low.low, low.high, low.success_rate) == (0.1, 0.2, 0.5)
    assert low.groups.difference.value == pytest.approx(-0.1)
    assert high.groups.difference.value == pytest.approx(-0.2)


def test_the_same_records_give_the_same_numbers():
    run = simulated(200)
    assert compare_outcomes(run, run.iou_box()[:, 0]) == compare_outcomes(run, run.iou_box()[:, 0])
