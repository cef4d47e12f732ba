"""Bootstrap intervals: against brute force, and where the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from aad_tf.metrics import bootstrap_interval, wilson_interval
from analysis.attention import intervals

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
    pairs = [(p > n) + (p == n) / 2 for p, n in itertools.product(positive, negative)]
    return float(np.mean(pairs))


def test_mean_is_the_library_bootstrap():
    found = intervals.mean(FIRST)
    assert found.value == pytest.approx(FIRST.mean(), abs=1e-12)
    assert found.count == 40
    np.testing.assert_allclose(found.interval, bootstrap_interval(FIRST), atol=1e-9)


def test_mean_does_not_depend_on_what_is_drawn_at_once(monkeypatch):
    whole = intervals.mean(FIRST)
    monkeypatch.setattr(intervals, "_AT_ONCE", 100)
    np.testing.assert_allclose(intervals.mean(FIRST).interval, whole.interval, atol=1e-12)


def test_mean_of_two_values_by_hand():
    # Draws give 0, 1/2, 1 with chances 1/4, 1/2, 1/4: both quantiles lie at the ends.
    assert intervals.mean([0.0, 1.0]).interval == (0.0, 1.0)
    assert intervals.mean([0.25]).text() == "0.250 [0.250, 0.250]"


def test_difference_resamples_each_group():
    found = intervals.compare(FIRST, SECOND)
    assert found.difference.value == pytest.approx(FIRST.mean() - SECOND.mean())
    assert found.difference.count == 25
    brute = brute_force(lambda a, b: a.mean() - b.mean(), FIRST, SECOND)
    np.testing.assert_allclose(found.difference.interval, brute, atol=0.02)
    np.testing.assert_allclose(found.first.interval, intervals.mean(FIRST).interval)


def test_area_under_curve_by_hand():
    # Pairs: 2>1, 2>0, 1=1 counts half, 1>0: 3.5 of 4.
    assert intervals.area_under_curve([2.0, 1.0], [1.0, 0.0]).value == 0.875
    assert intervals.area_under_curve([1.0] * 3, [0.0] * 3).interval == (1.0, 1.0)
    assert intervals.area_under_curve([1.0] * 3, [1.0] * 3).interval == (0.5, 0.5)


@pytest.mark.parametrize("digits", [1, 9], ids=["ties", "no ties"])
def test_area_under_curve_against_brute_force(digits):
    positive, negative = SECOND.round(digits), FIRST.round(digits)
    found = intervals.area_under_curve(positive, negative)
    assert found.value == pytest.approx(auc(positive, negative), abs=1e-12)
    brute = brute_force(auc, positive, negative, resamples=600)
    np.testing.assert_allclose(found.interval, brute, atol=0.03)


def test_overlapping_groups_are_resampled_by_image():
    other = FIRST**2
    in_first, in_second = FIRST > 0.2, FIRST < 0.8
    found = intervals.overlapping_difference(FIRST, in_first, other, in_second)
    assert found.value == pytest.approx(FIRST[in_first].mean() - other[in_second].mean())
    assert found.count == min(in_first.sum(), in_second.sum())

    def gap(places):
        places = places.astype(int)
        one, two = places[in_first[places]], places[in_second[places]]
        return FIRST[one].mean() - other[two].mean()

    brute = brute_force(gap, np.arange(40))
    np.testing.assert_allclose(found.interval, brute, atol=0.02)


def test_the_same_images_in_both_groups_are_paired():
    everywhere = np.ones(40, bool)
    found = intervals.overlapping_difference(FIRST + 0.1, everywhere, FIRST, everywhere)
    np.testing.assert_allclose(found.interval, (0.1, 0.1), atol=1e-9)


def test_values_outside_the_groups_may_be_missing():
    values, inside = np.array([1.0, np.nan, 3.0]), np.array([True, False, True])
    assert intervals.overlapping_difference(values, inside, values, inside).value == 0
    with pytest.raises(ValueError, match="without NaN"):
        intervals.overlapping_difference(values, ~inside, values, inside)


def test_share_is_wilsons():
    assert intervals.share(3, 10).interval == wilson_interval(3, 10)
    assert intervals.share(3, 10).percent() == "30.0 [10.8, 60.3]"


def test_no_images_give_a_dash():
    nothing = [
        intervals.mean([]),
        intervals.share(0, 0),
        intervals.compare([], [1.0]).difference,
        intervals.area_under_curve([], [1.0]),
        intervals.overlapping_difference([1.0], [True], [1.0], [False]),
    ]
    assert [estimate.text() for estimate in nothing] == ["–"] * 5
    assert intervals.compare([], [1.0]).second.text(1) == "1.0 [1.0, 1.0]"


def test_missing_values_are_refused():
    with pytest.raises(ValueError, match="without NaN"):
        intervals.mean([1.0, np.nan])
