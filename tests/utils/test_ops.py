"""Tensor functions: answers by hand, then properties over generated values."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from aad_tf.types import Bounds
from aad_tf.utils import ops

PIXELS = st.floats(-1.0, 2.0, width=32)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-7), ("float64", 1e-12)])
def test_projection_by_hand(dtype, tolerance):
    origin = tf.constant([[0.5, 0.5, 0.05, 0.95]], dtype)
    images = tf.constant([[0.9, 0.45, -0.2, 1.2]], dtype)
    # Ball of 0.1: [0.4, 0.6], [0.4, 0.6], [-0.05, 0.15], [0.85, 1.05]; then the range [0, 1].
    projected = ops.project_linf(images, origin, 0.1, Bounds())
    assert projected.dtype == dtype
    np.testing.assert_allclose(projected, [[0.6, 0.45, 0.0, 1.0]], atol=tolerance)


def test_infinite_radius_leaves_the_pixel_range_only():
    images = tf.constant([-3.0, 0.25, 7.0])
    projected = ops.project_linf(images, tf.zeros(3), np.inf, Bounds(-1.0, 2.0))
    np.testing.assert_array_equal(projected, [-1.0, 0.25, 2.0])


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(
    images=hnp.arrays(np.float32, (6,), elements=PIXELS),
    origin=hnp.arrays(np.float32, (6,), elements=st.floats(0.0, 1.0, width=32)),
    epsilon=st.floats(0.0, 1.0, width=32),
)
def test_projection_lies_in_ball_and_range_and_is_idempotent(images, origin, epsilon):
    once = ops.project_linf(tf.constant(images), origin, epsilon, Bounds()).numpy()
    assert once.min() >= 0.0
    assert once.max() <= 1.0
    # One rounding of origin +- epsilon, which is at most 2.
    assert np.abs(once - origin).max() <= epsilon + 2**-23
    twice = ops.project_linf(tf.constant(once), origin, epsilon, Bounds()).numpy()
    np.testing.assert_array_equal(once, twice)


def test_linf_distance_by_hand():
    origin = tf.zeros((2, 1, 2, 1))
    images = tf.constant([[[[0.1], [-0.3]]], [[[0.0], [0.0]]]])
    np.testing.assert_allclose(ops.linf_distance(images, origin), [0.3, 0.0])


def test_norm_and_its_gradient():
    values = tf.Variable([[3.0, 4.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        norms = ops.safe_norm(values)
    np.testing.assert_allclose(norms, [5.0, 0.0])
    # x / |x|, and 0 instead of NaN at the origin.
    np.testing.assert_allclose(tape.gradient(norms, values), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def test_norm_over_several_axes():
    values = tf.constant([[[1.0, 2.0], [2.0, 4.0]]])
    np.testing.assert_allclose(ops.safe_norm(values, axis=(1, 2)), [5.0])


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [
        (tf.bfloat16, tf.float32),
        (tf.float16, tf.float32),
        (tf.float32, tf.float32),
        (tf.float64, tf.float64),
    ],
)
def test_half_precision_is_raised_to_float32(given_dtype, expected):
    assert ops.at_least_float32(tf.zeros(2, given_dtype)).dtype == expected


@pytest.mark.parametrize("size", [(14, 15), (7, 5), (3, 4), (1, 1), (10, 2)])
def test_resize_equals_tensorflows(size):
    maps = np.random.default_rng(0).uniform(size=(2, 7, 5)).astype("float32")
    theirs = tf.image.resize(maps[..., None], size)[..., 0]
    np.testing.assert_allclose(ops.resize_maps(tf.constant(maps), size), theirs, atol=1e-6)
    in_graph = tf.function(ops.resize_maps, input_signature=OPEN_MAPS)
    np.testing.assert_allclose(in_graph(maps, size), theirs, atol=1e-6)


OPEN_MAPS = [tf.TensorSpec((None, None, None)), tf.TensorSpec((2,), tf.int32)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resize_by_hand(dtype):
    maps = tf.constant([[[0.0, 1.0]]], dtype)
    resized = ops.resize_maps(maps, (1, 4))
    # Centres of four pixels lie at -0.25, 0.25, 0.75, 1.25 of the two cells; the ends are held.
    np.testing.assert_allclose(resized, [[[0.0, 0.25, 0.75, 1.0]]], atol=1e-7)
    assert resized.dtype == dtype
