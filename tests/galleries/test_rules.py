"""Which images the rules choose, worked out by hand."""

from __future__ import annotations

import math

import numpy as np

from eval.galleries.rules import middle_half, typical

ALL = np.ones(6, bool)
INDICES = np.array([10, 11, 12, 13, 14, 15])


def test_nearest_to_the_median_one_per_class_ties_by_index():
    # Median 0.45; distances 0.35, 0.05, 0.05, 0.05, 0.05, 0.45.
    values = np.array([0.1, 0.4, 0.4, 0.5, 0.5, 0.9])
    labels = np.array([1, 2, 2, 3, 1, 4])
    choice = typical(ALL, ALL, values, labels, INDICES, 3)
    assert choice.rows.tolist() == [1, 3, 4]
    assert (choice.group, choice.candidates) == (6, 6)
    assert choice.median == 0.45
    # Ties go by index, not by row; a class shows its nearest image only.
    assert typical(ALL, ALL, values, labels, -INDICES, 9).rows.tolist() == [4, 3, 2, 5]


def test_the_median_is_the_groups_and_the_choice_among_the_allowed():
    values = np.array([0.1, 0.2, 0.3, 0.8, 0.9, 0.25])
    group = np.array([True, True, True, True, True, False])
    allowed = np.array([True, False, False, True, True, True])
    choice = typical(group, allowed, values, np.arange(6), INDICES, 1)
    assert choice.median == 0.3
    assert (choice.rows.tolist(), choice.group, choice.candidates) == ([0], 5, 3)


def test_images_without_a_value_are_not_in_the_group():
    values = np.array([math.nan, 0.2, math.nan, 0.4, 0.9, math.nan])
    choice = typical(ALL, ALL, values, np.zeros(6, int), INDICES, 5)
    assert (choice.rows.tolist(), choice.group, choice.median) == ([3], 3, 0.4)


def test_an_empty_group_gives_no_rows():
    choice = typical(~ALL, ALL, np.zeros(6), np.zeros(6, int), INDICES, 5)
    assert len(choice.rows) == 0
    assert math.isnan(choice.median)


def test_middle_half_lies_between_the_quartiles_of_some():
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 2.5])
    among = np.array([True] * 5 + [False])
    assert middle_half(values, among).tolist() == [False, True, True, True, False, True]
    assert not middle_half(values, ~ALL).any()
