"""IoU, rank correlation, robust accuracy and intervals: hand-worked values, then properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from aad_tf import metrics

MASKS = arrays.arrays(bool, (2, 3, 4))


def test_iou_of_hand_counted_masks():
    # Two cells, one of them in both: one of three. The second pair is disjoint.
    first = np.array([[[1, 1], [0, 0]], [[1, 0], [0, 0]]], np.float32)
    second = np.array([[[1, 0], [1, 0]], [[0, 1], [1, 1]]], np.float32)
    np.testing.assert_allclose(metrics.iou(first, second), [1 / 3, 0.0], rtol=1e-7)


def test_empty_masks_agree_and_one_empty_mask_does_not():
    empty, full = np.zeros((2, 2)), np.ones((2, 2))
    assert metrics.iou(empty, empty).numpy() == 1.0
    assert metrics.iou(empty, full).numpy() == 0.0


@pytest.mark.parametrize("dtype", [tf.bool, tf.int32, tf.float16, tf.float64])
def test_iou_takes_any_dtype_and_runs_in_a_graph(dtype):
    first, second = tf.constant([[1, 1], [0, 1]]), tf.constant([[0, 1], [1, 1]])
    value = tf.function(metrics.iou)(tf.cast(first, dtype), tf.cast(second, dtype))
    assert value.dtype == tf.float32
    assert value.numpy() == pytest.approx(0.5)


@given(MASKS, MASKS)
def test_iou_is_symmetric_bounded_and_one_only_for_equal_masks(first, second):
    value = metrics.iou(first, second).numpy()
    np.testing.assert_array_equal(value, metrics.iou(second, first))
    assert value.shape == (2,)
    assert (value >= 0).all() and (value <= 1).all()
    np.testing.assert_array_equal(value == 1, (first == second).all(axis=(1, 2)))


@given(MASKS, MASKS)
def test_iou_equals_the_ratio_of_counts(first, second):
    intersection = (first & second).sum(axis=(1, 2))
    union = (first | second).sum(axis=(1, 2))
    expected = np.where(union == 0, 1.0, intersection / np.maximum(union, 1))
    np.testing.assert_allclose(metrics.iou(first, second), expected, rtol=1e-6)


def test_iou_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"two masks of one shape .* \(2, 2\) and \(2, 3\)"):
        metrics.iou(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="height, width"):
        metrics.iou(np.ones(4), np.ones(4))
    with pytest.raises(ValueError, match="height, width"):
        metrics.iou(1.0, 1.0)


def test_robust_accuracy_does_not_count_misclassified_examples_that_an_attack_corrects():
    labels, clean, attacked = [0, 1, 2, 3], [0, 1, 2, 0], [0, 2, 2, 3]
    assert metrics.robust_accuracy(labels, clean, attacked) == 0.5


@pytest.mark.parametrize("attacked", [[], [0, 1]])
def test_robust_accuracy_refuses_lengths_that_differ_and_no_examples(attacked):
    labels = [0] if attacked else []
    with pytest.raises(ValueError, match="three arrays of shape"):
        metrics.robust_accuracy(labels, labels, attacked)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(successes, count, low, high):
    interval = metrics.wilson_interval(successes, count)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_proportion_and_mirrors(pair):
    successes, count = pair
    low, high = metrics.wilson_interval(successes, count)
    assert 0 <= low <= successes / count <= high <= 1
    mirrored = metrics.wilson_interval(count - successes, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(successes, count):
    with pytest.raises(ValueError, match="successes <= count"):
        metrics.wilson_interval(successes, count)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_wilson_interval_refuses_a_confidence_outside_0_1(confidence):
    with pytest.raises(ValueError, match="confidence must be in"):
        metrics.wilson_interval(1, 2, confidence)


def test_an_interval_of_the_median_lies_between_two_values():
    # Of 20 values the 6th and the 15th: P(at most 5 of 20 below) = 0.0207, at most 6: 0.0577.
    assert metrics.median_interval(range(20, 0, -1)) == (6.0, 15.0)
    # One of 6 may lie outside with probability 2 / 64, of 5 with 2 / 32.
    assert metrics.median_interval([1, 2, 3, 4, 5, np.inf]) == (1.0, np.inf)
    assert metrics.median_interval([1, 2, 3, 4, 5]) is None
    assert metrics.median_interval([]) is None


def test_intervals_of_the_median_cover_it():
    draws = np.random.default_rng(0).exponential(size=(400, 30))
    found = [metrics.median_interval(each) for each in draws]
    covered = np.mean([low <= np.log(2) <= high for low, high in found])
    # At least 95 %, by the binomial distribution 95.7 %; 400 draws leave 2 points either way.
    assert 0.93 < covered < 0.99


def test_a_security_curve_by_hand():
    curve = metrics.SecurityCurve([0.0, 0.1, 0.2, 0.3, np.inf], [0, 0.1, 0.25, 5.0])
    # An image at distance 0.1 has a misclassified image within the budget 0.1.
    assert curve.robust_accuracies == (0.8, 0.6, 0.4, 0.2)
    assert curve.median_distance == pytest.approx(0.25)
    assert curve.intervals()[1] == metrics.wilson_interval(3, 5)
    assert curve.median_interval() is None
    assert np.isnan(metrics.SecurityCurve([0.0], [0.1]).median_distance)


@pytest.mark.parametrize(
    ("distances", "epsilons", "message"),
    [
        ([], [0.1], "distances must be"),
        ([np.nan], [0.1], "distances must be"),
        ([-0.1], [0.1], "distances must be"),
        ([0.1], [], "epsilons must be"),
        ([0.1], [np.inf], "epsilons must be"),
        ([0.1], [-0.1], "epsilons must be"),
        ([0.1], 0.1, "epsilons must be"),
    ],
)
def test_impossible_curves_are_refused(distances, epsilons, message):
    with pytest.raises(ValueError, match=message):
        metrics.SecurityCurve(distances, epsilons)


def test_rank_correlation_is_spearman_with_ties():
    generator = np.random.default_rng(3)
    first, second = generator.integers(0, 4, (2, 6, 3, 3)).astype(float)
    found = metrics.rank_correlation(first, second)
    pairs = zip(first, second, strict=True)
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs]
    np.testing.assert_allclose(found, expected)
    assert np.isnan(metrics.rank_correlation(np.ones((1, 2, 2)), first[:1, :2, :2]))[0]


def test_paired_difference_is_newcombes_published_example():
    # Newcombe (1998), Statistics in Medicine 17:2635-2650, cells 36, 12, 2, 0, method 10.
    found = metrics.difference_interval((48, 50), (38, 50), (36, 12, 2, 0))
    assert found == pytest.approx((0.0569, 0.3404), abs=5e-5)
    wider = metrics.difference_interval((48, 50), (38, 50), (36, 12, 2, 0), confidence=0.99)
    assert wider.low < found.low < found.high < wider.high


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (0, 5, 2 / 2**5),
        # Both tails: 2 (1 + 10 + 45) / 2**10.
        (2, 8, 112 / 1024),
        (4, 4, 1.0),
        (59, 6, 2 * sum(math.comb(65, count) for count in range(7)) / 2**65),
    ],
)
def test_mcnemar_by_hand(only_first, only_second, p_value):
    assert metrics.mcnemar(only_first, only_second) == pytest.approx(p_value)
    assert metrics.mcnemar(only_second, only_first) == pytest.approx(p_value)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="Counts cannot be negative, got -1 and 3"):
        metrics.mcnemar(-1, 3)


def test_students_interval_of_a_mean_by_hand():
    # Deviation 1, so 1 / sqrt(3), and Student's t of two degrees of freedom is 4.3027.
    assert metrics.mean_interval([1.0, 2.0, 3.0]) == pytest.approx((-0.4841, 4.4841), abs=1e-4)
    assert metrics.mean_interval([1.0, 2.0, 3.0], 0.5) == pytest.approx((1.5286, 2.4714), abs=1e-4)
    assert metrics.mean_interval([0.5]) is None and metrics.mean_interval([]) is None
    with pytest.raises(ValueError, match="without NaN"):
        metrics.mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="confidence"):
        metrics.mean_interval([1.0, 2.0], 95)
