"""Matching: obvious pairs by hand, then simulated data whose cause is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from analysis.attention.matched import (
    compare_low,
    compare_outcomes,
    covariates,
    match_pairs,
    strata_table,
)
from analysis.attention.regression import effects_table, refit, regress, success_effects
from tests.analysis.attention.columns import run_of, simulated


@pytest.mark.parametrize(
    ("first", "second", "caliper", "pairs"),
    [
        ([0.0, 5.0], [5.1, 9.0, 0.1], 0.2, ([0, 1], [2, 0])),
        # 1 is nearer to the only partner than 0; the caliper keeps 0 from the far one.
        ([0.0, 0.1], [0.12, 3.0], 0.5, ([1], [0])),
        # Ties go to earlier images.
        ([0.0, 0.0], [0.0, 0.0, 0.0], 0.2, ([0, 1], [0, 1])),
        ([], [0.0], 0.2, ([], [])),
        ([0.0], [], 0.2, ([], [])),
    ],
)
def test_pairs_by_hand(first, second, caliper, pairs):
    # A second covariate that is the same everywhere changes nothing.
    points = (np.stack([group, np.ones(len(group))], axis=1) for group in (first, second))
    one, two = match_pairs(*points, caliper=caliper)
    assert (one.tolist(), two.tolist()) == pairs


def test_covariates_are_standardised_over_images_right_with_a_box():
    run = run_of(
        [[0, 0], [0, 1], [1, 1], [0, 0]],
        confidence=[0.5, 0.9, 0.1, 0.2],
        boxes=[(0, 0, 1, 1), (0, 0, 0.5, 1), (0, 0, 0.1, 0.1), None],
    )
    values = covariates(run)
    # Of two images the logits 0 and log 9 and the areas 1 and 0.5 become -1 and 1.
    np.testing.assert_allclose(values[:2], [[-1, 1], [1, -1]])


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
    assert found == compare_outcomes(run, run.iou_box()[:, 0])
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
    by_confidence = simulated(1000)
    found = regress(by_confidence, by_confidence.iou_box()[:, 0])
    low, high = found.coefficients["IoU"].interval
    assert low < 0 < high
    assert found.alone.interval.high < 0
    assert found.coefficients["logit of confidence"].interval.high < 0
    both = simulated(1000, attention_matters=True)
    assert regress(both, both.iou_box()[:, 0]).coefficients["IoU"].interval.high < 0


def test_regression_alone_gives_the_log_odds_ratio():
    # IoU 0 and 1, successes 30 of 40 and 10 of 40: odds 3 against 1 / 3. The IoU lies half a
    # standard deviation on each side of its mean; being low is yes or no.
    misclassified = np.repeat([1, 0, 1, 0], [30, 10, 10, 30])
    iou = np.repeat([0.0, 1.0], 40)
    run = run_of(np.stack([np.zeros(80, int), misclassified], axis=1))
    found = regress(run, iou)
    assert found.alone.value == pytest.approx(np.log((10 / 30) / (30 / 10)) / 2, abs=1e-3)
    assert found.counts == "40 / 40"
    assert regress(run, iou < 0.5).alone.value == pytest.approx(np.log(9), abs=1e-2)


def test_the_smaller_group_counts_for_a_regression():
    columns = np.stack([np.zeros(34, int), np.repeat([1, 0], [30, 4])], axis=1)
    run = run_of(columns, confidence=np.linspace(0.2, 0.9, 34))
    found = regress(run, np.linspace(0, 1, 34))
    assert (found.counts, found.alone.count) == ("30 / 4", 4)
    low = regress(run, np.arange(34) % 17 == 0)
    assert low.coefficients["IoU"].count == 2  # two low images, fewer than the four that failed


def test_low_iou_beside_others_by_hand():
    # Low: 0, 1; others 2, 3 of the same confidence and 4 far from both; 5 misclassified when clean.
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
    rows = strata_table(run).rows
    rates = [float(row[2]) for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert [row[1] for row in rows] == ["600"] * 5
    raw = compare_outcomes(run, run.iou_box()[:, 0]).raw.difference.value
    mean = np.mean([float(row[5].split()[0]) for row in rows])
    assert abs(mean) < abs(raw) / 2


def test_strata_by_hand():
    """Ten images in fifths of two: in the first the attack on one of them succeeds."""
    run = run_of(
        [[0, 0], [0, 1], *[[0, 0]] * 8],
        confidence=[0.1, 0.2, *np.linspace(0.3, 0.9, 8)],
        iou_box=[0.3, 0.2, *[0.5] * 8],
    )
    first, second, *_ = strata_table(run).rows
    assert first[:3] == ("0.100–0.200", "2", "50.0")
    assert [cell.split()[0] for cell in first[3:]] == ["0.200", "0.300", "-0.100"]
    assert second[2] == "0.0" and second[3] == second[5] == "–"
    by_area = strata_table(run, "box area")
    assert by_area.columns[0] == "box area" and by_area.rows[0][0] == "0.250–0.250"


def attacked(lost, success_alone, images=400):
    """Images whose IoU falls with the log odds that an attack takes away, and with success."""
    generator = np.random.default_rng(3)
    before = generator.normal(2, 1, images)
    after = before - generator.uniform(0, 4, images)
    succeeded = after + generator.normal(0, 0.5, images) < 0
    confidence = 1 / (1 + np.exp(-np.stack([before, after], axis=1)))
    iou = 0.5 + lost * (after - before) + success_alone * succeeded
    run = run_of(
        np.stack([np.zeros(images, int), succeeded.astype(int)], axis=1),
        iou_clean=(iou + generator.normal(0, 0.01, images))[:, np.newaxis],
    )
    run.columns["confidence"][:] = confidence
    return run


def test_success_that_only_lowers_confidence_moves_nothing_at_the_same_confidence_after():
    raw, before, after = success_effects(attacked(0.1, 0.0), 1).values()
    assert raw.interval.high < -0.1 and before.interval.high < -0.1
    assert after.interval.low < 0 < after.interval.high
    assert abs(after.value) < 0.005


def test_what_success_adds_of_its_own_is_left_at_the_same_confidence_after():
    run = attacked(0.1, -0.25)
    after = success_effects(run, 1)["before and after fixed"]
    assert after.value == pytest.approx(-0.25, abs=0.005)
    assert after.interval.low < -0.25 < after.interval.high
    assert after.count == min(run.succeeded(1).sum(), run.failed(1).sum())


def test_effects_of_success_are_those_of_least_squares():
    run = attacked(0.05, -0.1, images=60)
    success = run.succeeded(1).astype(float)
    before, after = (np.log(c / (1 - c)) for c in run.confidence.T)
    iou = run.iou_clean()[:, 0]
    one = np.ones(60)
    for found, columns in zip(
        success_effects(run, 1).values(),
        ([one, success], [one, success, before], [one, success, before, after, after**2]),
        strict=True,
    ):
        expected = np.linalg.lstsq(np.stack(columns, axis=1), iou, rcond=None)[0][1]
        assert found.value == pytest.approx(expected, abs=1e-6)


def test_one_outcome_alone_has_no_effect_of_success():
    run = run_of([[0, 1]] * 5)
    assert success_effects(run, 1) == {}
    assert effects_table([("mine", run)], {("mine", 1): {}}).rows == (
        ("mine", "1", "5 / 0", "–", "–", "–"),
    )
