"""Augmentation: how far it changes images, against TensorFlow's own; a seed repeats it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data
from aad_tf.data.augmentation import augmented, random_window, saturated


def seed(number=0):
    return tf.constant([3, number], tf.int64)


def ramps(count=200, size=16):
    """Images whose first channel is the row and whose second is the column, as fractions."""
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    one = np.stack([rows, columns, np.zeros_like(rows)], -1) / (size - 1)
    return np.repeat(one[None], count, 0).astype(np.float32)


def test_none_leaves_images_alone():
    images = ramps(3)
    np.testing.assert_array_equal(augmented(tf.constant(images), "none", seed()), images)


def test_flip_mirrors_about_half_and_nothing_else():
    images = ramps()
    found = augmented(tf.constant(images), "flip", seed()).numpy()
    mirrored = (found == images[:, :, ::-1]).all((1, 2, 3))
    kept = (found == images).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 70 <= mirrored.sum() <= 130


def test_crops_keep_half_of_the_image_or_more_and_stay_inside():
    found = augmented(tf.constant(ramps()), "crop_flip", seed()).numpy()
    assert found.shape == (200, 16, 16, 3)
    assert found.min() >= 0 and found.max() <= 1
    # Rows and columns of the ramps say which part is seen; rows are never mirrored.
    heights = found[:, -1, 0, 0] - found[:, 0, 0, 0]
    widths = found[:, 0, -1, 1] - found[:, 0, 0, 1]
    assert (heights > 0).all()
    mirrored = widths < 0
    assert 70 <= mirrored.sum() <= 130
    area = heights * np.abs(widths)
    assert 0.5 - 1e-4 <= area.min() < 0.6 and 0.9 < area.max() <= 1 + 1e-5
    ratio = heights / np.abs(widths)
    assert 0.75 - 1e-4 <= ratio.min() < 0.85 and 1.2 < ratio.max() <= 4 / 3 + 1e-4
    tops = found[:, 0, 0, 0]
    assert tops.min() < 0.01 and tops.max() > 0.2


def test_shifts_move_by_whole_pixels_and_leave_black_behind():
    # One bright pixel in the middle of 16x16 may move by two in each direction.
    images = np.zeros((400, 16, 16, 1), np.float32)
    images[:, 8, 8] = 1.0
    found = augmented(tf.constant(images), "shift_flip", seed()).numpy()
    places = np.argwhere(found[..., 0] == 1.0)
    assert len(places) == 400 and found.sum() == 400
    assert set(places[:, 1]) == {6, 7, 8, 9, 10}
    # Mirrored, 8 becomes 7.
    assert set(places[:, 2]) == {5, 6, 7, 8, 9, 10}
    whole = augmented(tf.ones([50, 8, 24, 2]), "shift_flip", seed()).numpy()
    assert (whole.sum((1, 2, 3)) >= 7 * 21 * 2).all() and whole.min() == 0.0


def test_seeds_repeat_and_differ():
    images = tf.constant(ramps(5))
    for kind in ("flip", "shift_flip", "crop_flip", "inception"):
        first, again, other = (augmented(images, kind, seed(n)).numpy() for n in (1, 1, 3))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_a_stream_that_starts_later_has_the_same_images():
    options = {"batch_size": 400, "seed": 5, "augmentation": "crop_flip"}
    whole = [images.numpy() for images, _ in data.training_batches("digits", **options).take(7)]
    later = data.training_batches("digits", **options, start_epoch=1, start_step=1)
    np.testing.assert_array_equal(next(iter(later))[0], whole[5])
    plain = data.training_batches("digits", batch_size=400, seed=5)
    labels = [labels.numpy() for _, labels in plain.take(1)]
    changed = [labels.numpy() for _, labels in data.training_batches("digits", **options).take(1)]
    np.testing.assert_array_equal(labels, changed)


def test_unknown_names():
    with pytest.raises(ValueError, match="Known: crop_flip, flip, inception, none, shift_flip"):
        augmented(tf.constant(ramps(1)), "rotate", seed())
    with pytest.raises(ValueError, match="Did you mean 'flip'"):
        data.training_batches("digits", 10, 0, augmentation="flipp")


# "inception" ---------------------------------------------------------------------------------


# Compiled, as in a data pipeline: hundreds of images, one by one, take seconds otherwise.
@tf.function
def inception(images, seed):
    return augmented(images, "inception", seed)


@functools.lru_cache(maxsize=1)
def windows():
    height, width = 375, 500

    @tf.function
    def drawn():
        return tf.map_fn(
            lambda number: random_window(
                tf.constant([height, width, 3]), tf.stack([tf.constant(3, tf.int64), number])
            ),
            tf.range(400, dtype=tf.int64),
            fn_output_signature=tf.TensorSpec([4], tf.int32),
        )

    return drawn().numpy(), height, width


def test_windows_lie_within_the_image():
    drawn, height, width = windows()
    tops, lefts, heights, widths = drawn.T
    assert drawn.min() >= 0 and min(heights.min(), widths.min()) > 0
    assert (tops + heights <= height).all() and (lefts + widths <= width).all()
    assert tops.max() > 150 and lefts.max() > 200


def test_windows_have_the_areas_and_ratios_of_the_network():
    drawn, height, width = windows()
    _, _, heights, widths = drawn.T
    area = heights * widths / (height * width)
    # A pixel more or less on a side of a hundred changes an area by about a hundredth.
    assert 0.08 - 0.005 <= area.min() < 0.12
    assert 0.85 < area.max() <= 1.0
    ratio = widths / heights
    assert 0.74 <= ratio.min() < 0.80 and 1.25 < ratio.max() <= 1.345


def test_an_image_too_long_for_any_window_is_kept_whole():
    assert random_window(tf.constant([10, 1000, 3]), seed(0)).numpy().tolist() == [0, 0, 10, 1000]


@pytest.mark.parametrize("shift", [-0.12, 0.0, 0.12])
def test_saturation_is_tensorflows(shift):
    image = tf.random.stateless_uniform([30, 40, 3], [1, 2]) + shift
    for factor in (0.5, 0.8, 1.0, 1.5):
        expected = tf.image.adjust_saturation(image, factor)
        found = saturated(image, tf.constant(factor))
        # As used, values beyond [0, 1] are cut off; a path by way of the hue rounds more.
        np.testing.assert_allclose(
            tf.clip_by_value(found, 0, 1), tf.clip_by_value(expected, 0, 1), rtol=0, atol=2e-6
        )


def test_saturation_of_grays_and_black():
    image = tf.stack([tf.fill([4, 4], level) for level in (0.0, 0.3, 1.0)])[..., None]
    gray = tf.tile(image, [1, 1, 1, 3])[0:3]
    for one in gray:
        np.testing.assert_array_equal(saturated(one, tf.constant(1.5)), one)


def test_brightness_goes_up_and_down_by_at_most_32_of_255():
    gray = tf.fill([200, 8, 8, 1], 0.5)
    shifts = inception(gray, seed(1)).numpy()[:, 0, 0, 0] - 0.5
    limit = 32 / 255
    assert -limit <= shifts.min() < -0.9 * limit and 0.9 * limit < shifts.max() <= limit


def test_saturation_goes_from_half_to_one_and_a_half():
    colour = tf.tile(tf.constant([0.6, 0.5, 0.5]), [200 * 64])
    images = inception(tf.reshape(colour, [200, 8, 8, 3]), seed(1)).numpy()
    value, least = images.max(-1)[:, 0, 0], images.min(-1)[:, 0, 0]
    # Brightness comes before: the saturation found is factor * 0.1 / value.
    factors = (value - least) / 0.1
    assert 0.5 - 1e-4 <= factors.min() < 0.55 and 1.45 < factors.max() <= 1.5 + 1e-4


def test_half_of_the_images_are_mirrored():
    columns = tf.tile(tf.linspace(0.2, 0.8, 16)[None, None, :, None], [200, 16, 1, 1])
    found = inception(columns, seed(2)).numpy()
    mirrored = found[:, 8, 0, 0] > found[:, 8, -1, 0]
    assert 70 <= mirrored.sum() <= 130


def test_values_stay_within_range():
    images = tf.random.stateless_uniform([40, 16, 16, 3], [5, 6])
    found = augmented(images, "inception", seed(3), size=(24, 24)).numpy()
    assert found.shape == (40, 24, 24, 3) and found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1


def test_a_slice_is_changed_as_in_its_batch():
    images = tf.random.stateless_uniform([7, 16, 16, 3], [5, 6])
    for kind in ("flip", "crop_flip", "inception"):
        whole = augmented(images, kind, seed(4))
        part = augmented(images[2:5], kind, seed(4), start=2, whole=7)
        np.testing.assert_array_equal(part, whole[2:5])
