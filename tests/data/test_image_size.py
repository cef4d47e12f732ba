"""Images resized on the way."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data


def first(dataset):
    return next(iter(dataset))[0]


def test_info_tells_the_size():
    assert data.info("digits").image_shape == (28, 28, 1)
    assert data.info("digits", image_size=40).image_shape == (40, 40, 1)
    assert data.info("digits", image_size=40).fingerprint == data.info("digits").fingerprint


@pytest.mark.parametrize("size", [14, 40])
def test_streams_are_tensorflows_own_resizing(size):
    for stream in (
        lambda **options: data.training_batches("digits", 50, 1, **options),
        lambda **options: data.evaluation_batches("digits", "test", 50, **options),
    ):
        assert stream(image_size=size).element_spec[0].shape == (None, size, size, 1)
        expected = tf.image.resize(first(stream()), (size, size))
        np.testing.assert_array_equal(first(stream(image_size=size)), expected)


@pytest.mark.parametrize("own", [0, None])
def test_the_own_size_has_two_names(own):
    assert data.info("digits", image_size=own) == data.boxed_info("digits", image_size=own)
    for stream in (
        data.training_batches("digits", 5, 1, image_size=own),
        data.evaluation_batches("digits", "test", 5, image_size=own),
    ):
        assert first(stream).shape == (5, 28, 28, 1)
    assert (
        next(iter(data.boxed_batches("digits", "test", 5, image_size=own)))["image"].shape[1] == 28
    )


@pytest.mark.parametrize("augmentation", data.AUGMENTATIONS)
def test_height_and_width_may_differ(augmentation):
    options = {"augmentation": augmentation, "image_size": (20, 12)}
    stream = data.training_batches("digits", 5, 1, **options)
    assert stream.element_spec[0].shape == (None, 20, 12, 1)
    images = first(stream).numpy()
    assert images.shape == (5, 20, 12, 1)
    assert images.min() >= 0 and images.max() <= 1
    assert first(data.evaluation_batches("digits", "test", 5, image_size=(20, 12))).shape[2] == 12


@pytest.mark.parametrize("size", [-1, 4097, 2.5, True, False, "28", (1, 2, 3), (0, 5), (5, 4097)])
def test_sizes_that_are_none(size):
    for call in (
        lambda: data.boxed_info("digits", image_size=size),
        lambda: data.boxed_batches("digits", "test", 5, image_size=size),
        lambda: data.info("digits", image_size=size),
        lambda: data.training_batches("digits", 5, 1, image_size=size),
        lambda: data.evaluation_batches("digits", "test", 5, image_size=size),
    ):
        with pytest.raises(ValueError, match=r"image_size must be 0 .* from 1 to 4096, or .*, got"):
            call()
