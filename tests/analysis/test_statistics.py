"""Bootstrap intervals: against brute force, and where the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from aad_tf.metrics import wilson_interval
from analysis import statistics
from analysis.statistics import difference_interval, expected_random_iou, seed_difference

GENERATOR = np.random.default_rng(5)
FIRST, SECOND = GENERATOR.random(40), GENERATOR.random(25) + 0.3


def brute_force(statistic, *groups, resamples=4000):
    """Quantiles of a statistic of groups drawn one at a time."""
    generator = np.random.default_rng(99)
    drawn = [
        statistic(*(generator.choice(group, len(group)) for group in groups))
        for _ in range(resamples)
    ]
    return np.quantile(drawn, [0.025, 0.975])


def auc(positive, negative):
    positive = positive[:, np.newaxis]
    return ((positive > negative) + (positive == negative) / 2).mean()


def test_mean_is_that_of_images_drawn_with_replacement():
    found = statistics.mean(FIRST)
    assert found.value == pytest.approx(FIRST.mean(), abs=1e-12)
    assert found.count == 40
    drawn = np.random.default_rng(0).integers(40, size=(1000, 40))
    quantiles = np.quantile(FIRST[drawn].mean(1), [0.025, 0.975])
    np.testing.assert_allclose(found.interval, quantiles, atol=1e-12)


def test_mean_does_not_depend_on_what_is_drawn_at_once(monkeypatch):
    whole = statistics.mean(FIRST)
    monkeypatch.setattr(statistics, "_AT_ONCE", 100)
    np.testing.assert_allclose(statistics.mean(FIRST).interval, whole.interval, atol=1e-12)


def test_mean_of_two_values_by_hand():
    # Draws give 0, 1/2, 1 with chances 1/4, 1/2, 1/4: both quantiles lie at the ends.
    assert statistics.mean([0.0, 1.0]).interval == (0.0, 1.0)
    assert statistics.mean([0.25]).text() == "0.250 [0.250, 0.250]"


def test_difference_resamples_each_group():
    found = statistics.compare(FIRST, SECOND)
    assert found.difference.value == pytest.approx(FIRST.mean() - SECOND.mean())
    assert found.difference.count == 25
    brute = brute_force(lambda a, b: a.mean() - b.mean(), FIRST, SECOND)
    np.testing.assert_allclose(found.difference.interval, brute, atol=0.02)
    np.testing.assert_allclose(found.first.interval, statistics.mean(FIRST).interval)


def test_area_under_curve_by_hand():
    # Pairs: 2>1, 2>0, 1=1 counts half, 1>0: 3.5 of 4.
    assert statistics.area_under_curve([2.0, 1.0], [1.0, 0.0]).value == 0.875
    assert statistics.area_under_curve([1.0] * 3, [0.0] * 3).interval == (1.0, 1.0)
    assert statistics.area_under_curve([1.0] * 3, [1.0] * 3).interval == (0.5, 0.5)


@pytest.mark.parametrize("digits", [1, 9], ids=["ties", "no ties"])
def test_area_under_curve_against_brute_force(digits):
    positive, negative = SECOND.round(digits), FIRST.round(digits)
    found = statistics.area_under_curve(positive, negative)
    assert found.value == pytest.approx(auc(positive, negative), abs=1e-12)
    brute = brute_force(auc, positive, negative)
    np.testing.assert_allclose(found.interval, brute, atol=0.03)


def test_overlapping_groups_are_resampled_by_image():
    other = FIRST**2
    in_first, in_second = FIRST > 0.2, FIRST < 0.8
    found = statistics.overlapping_difference(FIRST, in_first, other, in_second)
    assert found.value == pytest.approx(FIRST[in_first].mean() - other[in_second].mean())
    assert found.count == min(in_first.sum(), in_second.sum())

    def gap(indices):
        indices = indices.astype(int)
        one, two = indices[in_first[indices]], indices[in_second[indices]]
        return FIRST[one].mean() - other[two].mean()

    brute = brute_force(gap, np.arange(40))
    np.testing.assert_allclose(found.interval, brute, atol=0.02)


def test_the_same_images_in_both_groups_are_paired():
    everywhere = np.ones(40, bool)
    found = statistics.overlapping_difference(FIRST + 0.1, everywhere, FIRST, everywhere)
    np.testing.assert_allclose(found.interval, (0.1, 0.1), atol=1e-9)


def test_values_outside_the_groups_may_be_missing():
    values, inside = np.array([1.0, np.nan, 3.0]), np.array([True, False, True])
    assert statistics.overlapping_difference(values, inside, values, inside).value == 0
    with pytest.raises(ValueError, match="without NaN"):
        statistics.overlapping_difference(values, ~inside, values, inside)


def test_fraction_is_wilsons():
    assert statistics.fraction(3, 10).interval == wilson_interval(3, 10)
    assert statistics.fraction(3, 10).percent() == "30.0 [10.8, 60.3]"


def test_no_images_give_a_dash():
    nothing = [
        statistics.mean([]),
        statistics.fraction(0, 0),
        statistics.compare([], [1.0]).difference,
        statistics.area_under_curve([], [1.0]),
        statistics.overlapping_difference([1.0], [True], [1.0], [False]),
    ]
    assert [estimate.text() for estimate in nothing] == ["–"] * 5
    assert statistics.compare([], [1.0]).second.text(1) == "1.0 [1.0, 1.0]"


def test_missing_values_are_left_out_only_where_that_is_asked_for():
    with pytest.raises(ValueError, match="without NaN"):
        statistics.mean([1.0, np.nan])
    assert statistics.mean([1.0, np.nan, 1.0], skip_nan=True).text() == "1.000 [1.000, 1.000]"
    groups = statistics.compare([1.0, np.nan], [0.5], skip_nan=True)
    assert (groups.difference.value, groups.counts) == (0.5, "1 / 1")
    pairs = statistics.paired_difference([1.0, np.nan, 3.0], [0.5, 1.0, 2.0])
    assert (pairs.difference.value, pairs.difference.count) == (0.75, 2)


def test_draws_without_an_answer_widen_nothing_and_many_of_them_settle_nothing():
    draws = np.append(np.linspace(0, 1, 980), [np.nan] * 20)
    assert statistics.estimate(0.5, draws, 7).interval == pytest.approx((0.025, 0.975))
    draws[:6] = np.nan
    assert statistics.estimate(0.5, draws, 7) == statistics.Estimate(0.5, None, 7)
    assert statistics.estimate(np.nan, draws, 7).value is None


def test_multiplicities_count_each_index_in_each_row():
    drawn = np.array([[0.0, 0.0, 2.0], [1.0, 2.0, 2.0]])
    assert statistics.multiplicities(drawn, 4).tolist() == [[2, 0, 1, 0], [0, 1, 2, 0]]


def test_independent_interval_is_newcombes_published_example():
    # Newcombe (1998), Statistics in Medicine 17:873-890, 56/70 - 48/80, method 10.
    found = difference_interval((56, 70), (48, 80))
    assert found.value == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_paired_interval_is_newcombes_published_example():
    # Newcombe (1998), Statistics in Medicine 17:2635-2650, cells 36, 12, 2, 0, method 10.
    found = difference_interval((48, 50), (38, 50), (36, 12, 2, 0))
    assert found.value == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_pairs_that_agree_narrow_the_interval():
    alone = difference_interval((80, 100), (70, 100)).interval
    paired = difference_interval((80, 100), (70, 100), (70, 10, 0, 20)).interval
    assert paired.low > alone.low
    assert paired.high < alone.high


@pytest.mark.parametrize("successes", [0, 100])
def test_networks_alike_at_the_end_of_the_scale_differ_by_nothing(successes):
    both, neither = successes, 100 - successes
    found = difference_interval((successes, 100), (successes, 100), (both, 0, 0, neither))
    assert found.value == 0
    assert found.interval.low < 0 < found.interval.high


def test_shared_seeds_are_compared_one_by_one():
    # Differences 2, 4, 6 points: mean 4, standard error 2 / sqrt(3) = 1.1547, and 4.3027 is the
    # 97.5 % point of t with 2 degrees of freedom.
    first, second = {0: 0.92, 1: 0.74, 2: 0.86}, {2: 0.80, 1: 0.70, 0: 0.90}
    found = seed_difference(first, second)
    assert (found.value, found.count) == (pytest.approx(0.04), 3)
    half = 0.043027 * 2 / 3**0.5
    assert found.interval == pytest.approx((0.04 - half, 0.04 + half), abs=1e-6)
    # A seed that one side alone has is left out.
    assert seed_difference({**first, 3: 0.1}, second) == found


def test_seeds_that_are_not_shared_are_independent():
    first, second = [0.91, 0.93, 0.98], [0.80, 0.86, 0.84, 0.81]
    found = seed_difference(dict(enumerate(first)), dict(enumerate(second, start=10)))
    welch = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert found.interval == pytest.approx(welch)
    assert (found.value, found.count) == (pytest.approx(0.94 - 0.8275), 3)


def test_single_seeds_have_no_interval_and_equal_ones_none_to_spare():
    assert seed_difference({0: 0.5}, {0: 0.25}) == statistics.Estimate(0.25, None, 1)
    assert seed_difference({0: 0.5}, {1: 0.25}).interval is None
    assert seed_difference({0: 0.5, 1: 0.5, 2: 0.5}, {0: 0.0, 1: 0.0, 2: 0.0}).interval == (
        0.5,
        0.5,
    )
    assert seed_difference({}, {0: 0.5}) == statistics.NOTHING


def test_mean_over_seeds_has_the_range_of_them():
    found = statistics.mean_over_seeds([0.5, 0.25, 0.75])
    assert (found.value, found.interval, found.count) == (0.5, (0.25, 0.75), 3)
    assert statistics.mean_over_seeds([]) == statistics.NOTHING


@pytest.mark.parametrize(("total", "first", "second"), [(5, 2, 2), (6, 3, 2), (6, 5, 4), (4, 4, 1)])
def test_expected_iou_is_the_mean_over_all_draws(total, first, second):
    fixed = set(range(first))
    draws = [set(cells) for cells in itertools.combinations(range(total), second)]
    mean = np.mean([len(fixed & drawn) / len(fixed | drawn) for drawn in draws])
    assert expected_random_iou(total, first, second) == pytest.approx(mean, abs=1e-12)


def test_expected_iou_at_the_ends():
    assert expected_random_iou(9, 0, 0) == 1.0
    assert expected_random_iou(9, 0, 3) == 0.0
    assert expected_random_iou(9, 9, 9) == pytest.approx(1.0)
    # The overlap of two halves of 4096 pixels is 1024 +- 16.
    assert expected_random_iou(4096, 2048, 2048) == pytest.approx(1 / 3, abs=1e-4)
    with pytest.raises(ValueError, match=r"\[0, 9\] cells"):
        expected_random_iou(9, 10, 3)
