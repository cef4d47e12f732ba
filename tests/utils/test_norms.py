"""Distances, directions and projections in l2, by hand and over generated cases."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from aad_tf.types import Bounds
from aad_tf.utils import checks, norms


def image(*values, dtype="float32"):
    """One image of one row and one channel, as a batch."""
    return tf.constant(np.array(values, dtype).reshape(1, 1, -1, 1))


def test_distances_by_hand():
    one, other = image(0.1, 0.2, 0.9), image(0.4, 0.6, 0.9)
    np.testing.assert_allclose(norms.distance(one, other), [0.4], rtol=1e-6)
    np.testing.assert_allclose(norms.distance(one, other, "l2"), [0.5], rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_directions_have_norm_one_at_any_scale(scale):
    np.testing.assert_allclose(
        norms.direction(image(3 * scale, -4 * scale), "l2"), image(0.6, -0.8), rtol=1e-6
    )


def test_zero_has_no_direction():
    for norm in norms.NORMS:
        np.testing.assert_array_equal(norms.direction(image(0.0, 0.0), norm), image(0.0, 0.0))


def test_each_example_has_its_own_direction():
    both = tf.concat([image(3.0, 4.0), image(0.0, -2.0)], axis=0)
    expected = tf.concat([image(0.6, 0.8), image(0.0, -1.0)], axis=0)
    np.testing.assert_allclose(norms.direction(both, "l2"), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        # At distance 0.5, brought back to 0.25.
        ((0.9, 0.8), (0.75, 0.6)),
        # Within the ball.
        ((0.7, 0.5), (0.7, 0.5)),
        ((0.6, 0.4), (0.6, 0.4)),
        # Beyond the pixel range.
        ((0.6, -0.1), (0.6, 0.15)),
    ],
)
def test_projections_by_hand(moved, expected):
    projected = norms.project(image(*moved), image(0.6, 0.4), 0.25, Bounds(), "l2")
    np.testing.assert_allclose(projected, image(*expected), rtol=1e-6)


def test_an_infinite_ball_is_the_pixel_range():
    found = norms.project(image(1.5, -0.5), image(0.5, 0.5), np.inf, Bounds(), "l2")
    np.testing.assert_array_equal(found, image(1.0, 0.0))


def test_half_precision_sums_in_float32():
    ones = tf.ones((1, 32, 32, 3), tf.float16)
    # The sum of 3072 squares of 25 overflows float16.
    found = norms.distance(25 * ones, 0 * ones, "l2")
    np.testing.assert_allclose(found, [25 * np.sqrt(3072)], rtol=1e-6)
    assert norms.direction(25 * ones, "l2").dtype == tf.float16
    projected = norms.project(ones, 0 * ones, 0.5, Bounds(), "l2")
    np.testing.assert_allclose(projected, 0.5 / np.sqrt(3072) * ones, rtol=1e-3)


PIXELS = st.floats(-0.5, 1.5, width=32)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    moved=hnp.arrays(np.float32, (2, 3, 3, 2), elements=PIXELS),
    origin=hnp.arrays(np.float32, (2, 3, 3, 2), elements=st.floats(0, 1, width=32)),
    epsilon=st.floats(0, 5),
)
def test_projections_lie_in_ball_and_range(moved, origin, epsilon):
    once = norms.project(tf.constant(moved), tf.constant(origin), epsilon, Bounds(), "l2").numpy()
    assert once.min() >= 0 and once.max() <= 1
    lengths = np.sqrt(np.square(once.astype(np.float64) - origin).sum(axis=(1, 2, 3)))
    assert lengths.max() <= epsilon + 1e-6
    twice = norms.project(tf.constant(once), tf.constant(origin), epsilon, Bounds(), "l2")
    np.testing.assert_allclose(twice, once, atol=1e-6)


def test_the_largest_l2_size_is_the_diameter_of_the_images():
    unit, gray = Bounds(0.0, 1.0), Bounds(0.0, 255.0)
    shape = {"norm": "l2", "image_shape": (32, 32, 3)}
    assert checks.check_epsilon(8, bounds=unit, **shape) == 8
    assert checks.check_epsilon(128, bounds=gray, **shape) == 128
    with pytest.raises(ValueError, match=r"in \[0, 55.4\d*\], the largest l2 distance.*128/255"):
        checks.check_epsilon(128, bounds=unit, **shape)
    # Where the size of the images is open, so is the largest distance.
    open_size = {"norm": "l2", "image_shape": (None, None, 3)}
    assert checks.check_epsilon(128, bounds=unit, **open_size) == 128


def test_distances_of_records_are_in_the_norm_of_the_attack():
    assert norms.distance_of({"linf": 0.1}) == 0.1
    assert norms.distance_of({"linf": 0.1, "l2": 0.5}) == 0.5
