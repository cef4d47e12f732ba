"""Areas and scatter measures: numbers by hand, and agreement with the library's own in graphs."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import metrics
from aad_tf.attention import TopCells, attention_area
from aad_tf.attention_study import measures
from aad_tf.utils import ops


def test_ranks_prefer_earlier_ties():
    values = np.array([[3.0, 1.0, 1.0, 1.0], [0.0, 0.0, 5.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    expected = [[0, 1, 2, 3], [1, 2, 0, 3], [3, 2, 1, 0]]
    np.testing.assert_array_equal(measures.ranks(values), expected)


def test_ranks_agree_with_the_graph_version():
    maps = np.random.default_rng(0).integers(0, 6, (20, 5, 5)).astype(np.float32)
    flat = maps.reshape(20, 25)
    for count in (1, 7, 24):
        expected = attention_area(maps, TopCells(count)).numpy().reshape(20, 25) > 0
        np.testing.assert_array_equal(measures.ranks(flat) < count, expected)


def test_overlap_agrees_with_iou():
    generator = np.random.default_rng(1)
    first, second = generator.random((2, 30, 4, 4)) > 0.6
    first[0] = second[0] = False
    expected = metrics.iou(first, second).numpy()
    found = measures.overlap(first.reshape(30, 16), second.reshape(30, 16))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_resize_agrees_with_the_graph_version():
    maps = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    expected = ops.resize_maps(tf.constant(maps), (9, 7)).numpy()
    np.testing.assert_allclose(measures.resized(maps, (9, 7)), expected, atol=1e-6)


def test_ranked_pixels_go_on_below_zero():
    """Where the resized map is zero, what lies under the ReLU decides; elsewhere the map does."""
    signed = np.array([[[2.0, -1.0], [-3.0, -1.0]]], np.float32)
    pixels = measures.ranked_pixels(signed, (2, 2))[0]
    np.testing.assert_array_equal(pixels, signed[0])
    larger = measures.ranked_pixels(signed, (4, 4))[0]
    plain = measures.resized(np.maximum(signed, 0), (4, 4))[0]
    np.testing.assert_array_equal(larger[plain > 0], plain[plain > 0])
    assert (larger[plain == 0] <= 0).all()


def test_cell_means():
    pixels = np.arange(16.0).reshape(1, 4, 4)
    np.testing.assert_array_equal(measures.cell_means(pixels, (2, 2)), [[[2.5, 4.5], [10.5, 12.5]]])
    # Five rows in two cells: two and three of them.
    uneven = measures.cell_means(np.arange(5.0).reshape(1, 5, 1), (2, 1))
    np.testing.assert_array_equal(uneven, [[[0.5], [3.0]]])


def test_entropy():
    one, two, every = np.zeros((3, 2, 2))
    one[0, 0], two[0] = 5, 1
    every += 3
    np.testing.assert_allclose(measures.entropy(np.stack([one, two, every])), [0, 0.5, 1])
    assert math.isnan(measures.entropy(np.zeros((1, 2, 2)))[0])


def test_centroid():
    maps = np.zeros((2, 2, 4))
    maps[0, 1, 3] = 7
    np.testing.assert_allclose(measures.centroid(maps)[0], [0.75, 0.875])
    assert np.isnan(measures.centroid(maps)[1]).all()


def test_components_do_not_touch_by_corners_nor_across_maps():
    diagonal, ring, empty = np.eye(3, dtype=bool), np.ones((3, 3), bool), np.zeros((3, 3), bool)
    ring[1, 1] = False
    stack = np.stack([diagonal, ring, empty, ring, diagonal])
    np.testing.assert_array_equal(measures.components(stack), [3, 1, 0, 1, 3])
    np.testing.assert_array_equal(measures.components(stack[2:3]), [0])


def test_components_are_those_above_the_mean_of_the_map():
    # Above zero all cells but one are one piece; above the mean, 13 / 9, the two corners of 5.
    signed = np.array([[5.0, 0.5, -2.0], [0.5, 0.5, 0.5], [0.5, 0.5, 5.0]])
    found = measures.map_columns(signed[None, None])
    assert found["components"].tolist() == [[2]]
    assert found["positive"].tolist() == [[pytest.approx(8 / 9)]]


def test_encoded_maps_come_back_to_8_bits():
    maps = np.random.default_rng(4).random((3, 4, 4)) * [[[1e-3]], [[1.0]], [[0.0]]]
    for text, original in zip(measures.encoded(maps), maps, strict=True):
        back = np.frombuffer(base64.b64decode(text), np.uint8).reshape(4, 4) / 255 * original.max()
        np.testing.assert_allclose(back, original, atol=original.max() / 500)


def test_area_of_objects():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2] = True
    np.testing.assert_array_equal(measures.object_area(masks), [0.5, np.nan])
