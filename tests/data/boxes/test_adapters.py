"""Other people's data in the form of the streams with boxes, and KerasCV's layers on them."""

from __future__ import annotations

import re

import keras_cv
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data


def tuples(examples, image_dtype=tf.uint8, image_shape=(4, 8, 3), own_labels=False):
    signature = [
        tf.TensorSpec(image_shape, image_dtype),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int64),
    ]
    return tf.data.Dataset.from_generator(
        lambda: iter(examples), output_signature=tuple(signature[: 4 if own_labels else 3])
    )


IMAGE = np.full((4, 8, 3), 51, np.uint8)
NO_BOXES = np.zeros((0, 4))


def test_tuples_become_padded_batches():
    pixels = [[2, 1, 6, 3]], [[0, 0, 8, 4], [4, 2, 8, 4]], NO_BOXES
    examples = [(IMAGE, label, boxes) for label, boxes in enumerate(pixels)]
    (batch,) = data.from_tuples(tuples(examples), 3, box_format="xyxy")
    none = [-1, -1, -1, -1]
    expected = [[[0.25, 0.25, 0.75, 0.75], none], [[0, 0, 1, 1], [0.5, 0.5, 1, 1]], [none, none]]
    np.testing.assert_allclose(batch["boxes"], expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(batch["box_labels"], [[0, -1], [1, 1], [-1, -1]])
    np.testing.assert_array_equal(batch["label"], [0, 1, 2])
    np.testing.assert_allclose(batch["image"], np.full((3, 4, 8, 3), 0.2), rtol=0, atol=1e-7)
    assert {key: spec.dtype.name for key, spec in spec_of(examples).items()} == {
        "image": "float32",
        "label": "int32",
        "boxes": "float32",
        "box_labels": "int32",
    }


def test_tuples_without_boxes_have_none():
    labelled = tf.data.Dataset.from_tensors((IMAGE, 3))
    (batch,) = data.from_tuples(labelled, 2)
    np.testing.assert_allclose(batch["image"], np.full((1, 4, 8, 3), 0.2), rtol=0, atol=1e-7)
    assert batch["label"] == [3]
    assert batch["boxes"].shape == (1, 0, 4) and batch["box_labels"].shape == (1, 0)


def spec_of(examples):
    return data.from_tuples(tuples(examples), 3).element_spec


def test_boxes_may_have_other_classes_than_the_image():
    examples = [(IMAGE / 255, 5, [[0, 0, 1, 0.5], [0, 0.5, 1, 1]], [5, 2])]
    dataset = tuples(examples, tf.float64, own_labels=True)
    (batch,) = data.from_tuples(dataset, 1)
    np.testing.assert_array_equal(batch["box_labels"], [[5, 2]])
    found = data.object_masks(batch["boxes"], batch["box_labels"], batch["label"], (4, 8))
    np.testing.assert_array_equal(found[0], np.tile([True] * 4 + [False] * 4, (4, 1)))


def test_images_of_any_size_are_resized_after_the_conversion():
    examples = [
        (np.zeros((4, 8, 3)), 0, [[0, 0, 4, 4]]),
        (np.zeros((16, 2, 3)), 0, [[0, 0, 2, 4]]),
    ]
    dataset = tuples(examples, image_shape=(None, None, 3))
    (batch,) = data.from_tuples(dataset, 2, box_format="xyxy", image_size=6)
    assert batch["image"].shape == (2, 6, 6, 3)
    np.testing.assert_allclose(batch["boxes"], [[[0, 0, 1, 0.5]], [[0, 0, 0.25, 1]]])
    with pytest.raises(ValueError, match="pass image_size"):
        data.from_tuples(dataset, 2)


def test_part_of_a_stream_of_tuples():
    examples = [(np.full_like(IMAGE, index), 0, NO_BOXES) for index in range(9)]
    part = data.from_tuples(tuples(examples), 2, start=3, stop=6)
    rest = data.from_tuples(tuples(examples), 4, start=7)
    for batches, expected in ((part, [3, 4, 5]), (rest, [7, 8])):
        found = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
        np.testing.assert_array_equal(found, np.float32(expected) / np.float32(255))


def test_clipping_on_request():
    outside = [(IMAGE, 0, [[0.5, 0.5, 1.25, 1]])]
    (batch,) = data.from_tuples(tuples(outside), 1, clip=True)
    np.testing.assert_array_equal(batch["boxes"], [[[0.5, 0.5, 1, 1]]])


@pytest.mark.parametrize(
    ("bad", "options", "message"),
    [
        ((IMAGE, 0, [[0.5, 0.5, 1.25, 1]]), {}, "Example 1, box 0: .* reaches outside"),
        ((IMAGE, 0, [[0, 0, 1, 1], [0.5, 0, 0.2, 1]]), {}, "Example 1, box 1: .* swapped corners"),
        ((IMAGE, 0, [[10, 20, 30, 40]]), {}, "Example 1, box 0: .* seems to be in pixels"),
        ((IMAGE, 0, [[0, 0, 1, 1]], [0, 1]), {}, "Example 1 has 1 boxes and 2 box_labels"),
        ((IMAGE, 0, [[0, 0, 1, 1]], [-1]), {}, "Example 1: box_labels must be class numbers"),
        (
            (IMAGE, 0, NO_BOXES),
            {"image_dtype": tf.float32},
            r"Example 1: floating-point images must lie in \[0, 1\], got \[51, 51\]",
        ),
        (
            (np.full((4, 8, 3), np.nan), 0, NO_BOXES),
            {"image_dtype": tf.float32},
            r"Example 1: .* got \[nan, nan\]",
        ),
    ],
)
def test_bad_examples_are_named(bad, options, message):
    good = (np.zeros((4, 8, 3)), 0, [[0, 0, 1, 1]], [0])[: len(bad)]
    dataset = tuples([good, bad], own_labels=len(bad) == 4, **options)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(data.from_tuples(dataset, 2))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"image": IMAGE}, TypeError, "Map them to such tuples"),
        ((IMAGE,), TypeError, "Expected single examples (image [height, width, channels]"),
        ((IMAGE[0], 0, [[0.0] * 4]), ValueError, "got image as TensorSpec(shape=(8, 3)"),
        ((IMAGE[None], 0, [[0.0] * 4]), ValueError, "Is it in batches? Call .unbatch()"),
        ((IMAGE, 0.5, [[0.0] * 4]), TypeError, "label must be an integer from 0, got float32"),
        ((IMAGE, 0, [0.0] * 4), ValueError, "got boxes as TensorSpec(shape=(4,)"),
        ((IMAGE, 0, [[0.0] * 3]), ValueError, "boxes must be [n, 4]"),
        ((IMAGE, 0, [[0.0] * 4], 3), ValueError, "got box_labels as"),
        ((IMAGE.astype("int32"), 0, [[0.0] * 4]), TypeError, "uint8 (0..255) or floating point"),
    ],
)
def test_elements_of_another_structure(spec, error, message):
    with pytest.raises(error, match=re.escape(message)):
        data.from_tuples(tf.data.Dataset.from_tensors(spec), 1)


def half_and_half():
    """Left half white, with the box of the white half; and an image without boxes."""
    image = np.zeros((4, 8, 3), np.float32)
    image[:, :4] = 1
    examples = [(image, 3, [[0, 0, 1, 0.5], [0, 0, 1, 0.25]]), (image, 4, NO_BOXES)]
    return data.from_tuples(tuples(examples, tf.float32), 2)


def test_boxes_follow_a_flip():
    layer = keras_cv.layers.RandomFlip(rate=1.0, bounding_box_format="rel_yxyx")
    dataset = data.with_keras_cv(half_and_half(), layer)
    (before,), (after,) = half_and_half(), dataset
    np.testing.assert_allclose(after["image"], before["image"][:, :, ::-1])
    np.testing.assert_allclose(after["boxes"][0], [[0, 0.5, 1, 1], [0, 0.75, 1, 1]], atol=1e-6)
    np.testing.assert_array_equal(after["box_labels"], [[3, 3], [-1, -1]])
    np.testing.assert_array_equal(after["label"], [3, 4])
    assert after["box_labels"].dtype == tf.int32


def test_boxes_follow_resizing_with_padding():
    layer = keras_cv.layers.Resizing(8, 8, pad_to_aspect_ratio=True, bounding_box_format="rel_yxyx")
    (after,) = data.with_keras_cv(half_and_half(), layer)
    assert after["image"].shape == (2, 8, 8, 3)
    found = data.object_masks(after["boxes"], after["box_labels"], after["label"], 8)
    np.testing.assert_array_equal(found[0], after["image"][0, :, :, 0] == 1)
    assert not found[1].any()


def test_layers_of_another_format_are_refused():
    layer = keras_cv.layers.RandomFlip(bounding_box_format="xywh")
    with pytest.raises(ValueError, match="make it with bounding_box_format='rel_yxyx'"):
        data.with_keras_cv(half_and_half(), layer)


def test_layers_work_where_no_image_has_boxes():
    layer = keras_cv.layers.RandomFlip(bounding_box_format="rel_yxyx")
    batches = data.with_keras_cv(data.boxed_batches("digits", "test", 4, stop=4), layer)
    (batch,) = batches
    assert batch["boxes"].shape == (4, 0, 4)
