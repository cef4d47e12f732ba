"""Streams with boxes: order, ranges, padding."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from aad_tf import data

TRAIN, KEPT = 3005, 3000


def box_of(index):
    return np.array([0.125, 0.25, 0.5 + (index % 4) / 8, 1.0], np.float32)


def write_boxes(root, train=TRAIN, undecodable=()) -> Path:
    """A tiny_imagenet_boxes of flat 8x8 images by their indices, 4 of them for testing."""
    directory = root / "tiny_imagenet_boxes" / "1.0.0"
    directory.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="tiny_imagenet_boxes",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(directory),
        module_name="tests",
    )
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["n01", "n02", "n03"]),
            "objects": tfds.features.Sequence({"bbox": tfds.features.BBoxFeature()}),
        }
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=100_000)
    writer.initialize_splits(["train", "validation"])
    examples = [stored_example(index, index in undecodable) for index in range(train)]
    writer.add_examples({"train": examples})
    writer.add_examples({"validation": [stored_example(index) for index in range(4)]})
    writer.close_all()
    return root


def stored_example(index, undecodable=False):
    image = io.BytesIO(b"no image") if undecodable else np.full((8, 8, 3), index % 256, np.uint8)
    box = tfds.features.BBox(*box_of(index).tolist())
    return {"image": image, "label": index % 3, "objects": [{"bbox": box}]}


@pytest.fixture(scope="module")
def small_boxes(tmp_path_factory) -> Path:
    """A copy with 5 images to train on, 3,000 for validation and 4 for testing."""
    return write_boxes(tmp_path_factory.mktemp("boxes"))


def indices_of(batches):
    """Gray levels of a stream's images, a number per image."""
    images = [batch["image"][:, 0, 0, 0] for batch in batches.as_numpy_iterator()]
    return np.rint(np.concatenate(images) * 255).astype(int).tolist() if images else []


def stream(directory, split="validation", batch_size=4, **options):
    return data.boxed_batches("tiny_imagenet_boxes", split, batch_size, directory, **options)


def test_names():
    assert {"tiny_imagenet_boxes", "imagenet2012", "digits"} <= set(data.boxed_available())


@pytest.mark.parametrize(("split", "first", "count"), [("train", 0, 5), ("test", 0, 4)])
def test_examples_boxes_and_labels(small_boxes, split, first, count):
    (batch,) = stream(small_boxes, split, 10)
    expected = np.arange(first, first + count)
    assert batch["image"].shape == (count, 8, 8, 3)
    np.testing.assert_array_equal(
        batch["image"][:, 3, 3, 1], np.float32(expected) / np.float32(255)
    )
    np.testing.assert_array_equal(batch["label"], expected % 3)
    np.testing.assert_array_equal(batch["boxes"][:, 0], [box_of(index) for index in expected])
    np.testing.assert_array_equal(batch["box_labels"], expected[:, None] % 3)


def test_validation_is_the_end_of_the_stored_training_split(small_boxes):
    assert indices_of(stream(small_boxes, stop=3)) == [5, 6, 7]
    assert indices_of(stream(small_boxes, start=2998)) == [3003 % 256, 3004 % 256]
    info = data.boxed_info("tiny_imagenet_boxes", small_boxes)
    assert info.num_examples == {"train": 5, "validation": KEPT, "test": 4}
    assert info == data.info("tiny_imagenet_boxes", small_boxes)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0, None, range(4)), (1, 3, [1, 2]), (3, 9, [3]), (0, 0, []), (4, None, []), (2, 2, [])],
)
def test_any_part_of_a_split(small_boxes, start, stop, expected):
    part = stream(small_boxes, "test", batch_size=3, start=start, stop=stop)
    assert indices_of(part) == list(expected)
    assert part.element_spec["boxes"] == tf.TensorSpec((None, None, 4), tf.float32)


def test_what_lies_before_the_start_is_not_decoded(tmp_path):
    directory = write_boxes(tmp_path, undecodable=(0, 1))
    assert indices_of(stream(directory, "train", start=2)) == [2, 3, 4]
    with pytest.raises(tf.errors.InvalidArgumentError):
        indices_of(stream(directory, "train", start=1))


def test_resizing_keeps_fractions(small_boxes):
    (batch,) = stream(small_boxes, "test", image_size=(16, 12))
    assert batch["image"].shape == (4, 16, 12, 3)
    np.testing.assert_array_equal(batch["boxes"][:, 0], [box_of(index) for index in range(4)])
    info = data.boxed_info("tiny_imagenet_boxes", small_boxes, image_size=(16, 12))
    assert info.image_shape == (16, 12, 3)
    assert data.boxed_info("digits", image_size=14).image_shape == (14, 14, 1)


def test_data_without_boxes_give_none(small_copy):
    for name, directory, split in (("digits", None, "test"), ("mnist", small_copy, "validation")):
        plain = data.evaluation_batches(name, split, 50, directory, limit=120)
        boxed = data.boxed_batches(name, split, 50, directory, stop=120)
        for (images, labels), batch in zip(plain, boxed, strict=True):
            np.testing.assert_array_equal(batch["image"], images)
            np.testing.assert_array_equal(batch["label"], labels)
            assert batch["boxes"].shape == (len(labels), 0, 4)
            assert batch["box_labels"].shape == (len(labels), 0)
            assert not data.object_masks(batch["boxes"], batch["box_labels"], labels, 4).any()
    rest = data.boxed_batches("digits", "test", 50, start=350)
    assert [len(batch["label"]) for batch in rest] == [10]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("tiny_imagenet_box", "test", 4), {}, "Did you mean 'tiny_imagenet_boxes'"),
        (("digits", "val", 4), {}, "Unknown split 'val'"),
        (("digits", "test", 0), {}, "batch_size must be at least 1"),
        (("digits", "test", 4), {"start": -1}, "start must be at least 0"),
        (("digits", "test", 4), {"start": 5, "stop": 4}, "stop must be at least 5"),
        (("digits", "test", 4), {"start": 361}, "start is 361, but the split has 360 examples"),
        (("digits", "test", 4), {"annotations": "x.tgz"}, "belong to 'imagenet2012' alone"),
    ],
)
def test_bad_requests(arguments, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        data.boxed_batches(*arguments, **options)


def test_missing_data_says_where_and_how(tmp_path):
    with pytest.raises(data.DatasetNotFoundError, match="is not in .* Set TFDS_DATA_DIR"):
        stream(tmp_path)


def test_tiny_imagenet(require_dataset):
    directory = require_dataset("tiny_imagenet_boxes")
    info = data.boxed_info("tiny_imagenet_boxes", directory)
    assert info.num_examples == {"train": 17_000, "validation": 3_000, "test": 2_000}
    (batch,) = stream(directory, "test", 20, start=1990)
    assert batch["image"].shape == (10, 64, 64, 3)
    assert 0.9 < float(np.max(batch["image"])) <= 1.0
    np.testing.assert_array_equal(batch["box_labels"][:, 0], batch["label"])
    # Boxes are whole pixels of 64.
    pixels = np.asarray(batch["boxes"]) * 64
    np.testing.assert_array_equal(pixels, pixels.round())
    areas = (pixels[..., 2] - pixels[..., 0]) * (pixels[..., 3] - pixels[..., 1])
    found = data.object_masks(batch["boxes"], batch["box_labels"], batch["label"], 64)
    np.testing.assert_array_equal(found.sum((1, 2)), areas[:, 0])
    np.testing.assert_array_equal(data.check_boxes(batch["boxes"]), batch["boxes"])
