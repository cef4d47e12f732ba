"""Augmentation: what it may do to an image, and that a seed repeats it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data
from aad_tf.data.augmentation import augmented


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


def test_seeds_repeat_and_differ():
    images = tf.constant(ramps(5))
    first, again, other = (augmented(images, "crop_flip", seed(n)).numpy() for n in (1, 1, 2))
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
    with pytest.raises(ValueError, match="Known: crop_flip, flip, inception, none"):
        augmented(tf.constant(ramps(1)), "rotate", seed())
    with pytest.raises(ValueError, match="Did you mean 'flip'"):
        data.training_batches("digits", 10, 0, augmentation="flipp")
