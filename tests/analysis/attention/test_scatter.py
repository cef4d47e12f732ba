"""Changes of the measures of maps, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.attention.scatter import MEASURES, SHIFT, by_success, change, scatter_table
from tests.analysis.attention.columns import run_of

NAN = float("nan")


def four():
    """Two successful attacks, one failed one, and an image misclassified when clean."""
    return run_of(
        [[0, 1], [0, 1], [0, 0], [1, 1]],
        grad_cam__entropy=[[0.5, 0.7], [0.5, NAN], [0.6, 0.5], [0.1, 0.9]],
        grad_cam__components=[[1, 3], [1, 2], [2, 2], [9, 1]],
        grad_cam__centroid=[
            [[0.5, 0.5], [0.8, 0.9]],
            [[0.5, 0.5], [NAN, NAN]],
            [[0.2, 0.2], [0.2, 0.3]],
            [[0.0, 0.0], [1.0, 1.0]],
        ],
    )


def test_changes_are_later_minus_clean():
    np.testing.assert_allclose(change(four(), "entropy", 1), [0.2, NAN, -0.1, 0.8])
    np.testing.assert_allclose(change(four(), "components", 1), [2, 1, 0, -8])


def test_centroid_shift_is_a_distance():
    np.testing.assert_allclose(change(four(), SHIFT, 1), [0.5, NAN, 0.1, np.sqrt(2)])


def test_rows_compare_successful_with_failed_attacks():
    assert [row[0] for row in scatter_table(four()).rows] == list(MEASURES)
    entropy, lost = by_success(four(), "entropy", 1)
    assert entropy.first.value == pytest.approx(0.2)
    assert entropy.second.value == pytest.approx(-0.1)
    assert entropy.difference.value == pytest.approx(0.3)
    assert lost == "1 / 0"
    differences = {name: by_success(four(), name, 1)[0].difference.value for name in MEASURES}
    assert differences["components"] == pytest.approx(1.5)
    assert differences[SHIFT] == pytest.approx(0.4)
    assert differences["positive share"] == 0.0


def test_a_difference_that_is_there_has_an_interval_away_from_zero():
    misclassified = np.arange(200) % 2
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    entropy = np.stack([np.full(200, 0.5), 0.5 + 0.1 * misclassified + noise], axis=1)
    run = run_of(np.stack([np.zeros(200, int), misclassified], axis=1), grad_cam__entropy=entropy)
    low, high = by_success(run, "entropy", 1)[0].difference.interval
    assert 0 < low < 0.1 < high


def test_unknown_measures_are_refused():
    with pytest.raises(ValueError, match="Known: entropy"):
        change(four(), "sharpness", 1)
