"""ImageNet's splits for training: what they hold, how they are evaluated, what is refused."""

from __future__ import annotations

import functools
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data
from aad_tf.data import ReplicaRange
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.decoding import central_crop
from tests.data.imagenet.annotated_images import pack, stem, xml
from tests.data.imagenet.imagenet_copies import gradient, jpeg, write_imagenet, write_numbered

TRAIN, VALIDATION, TEST = 33, 3, 7


def labels_of(elements):
    return np.concatenate([labels for _, labels in elements]).tolist()


# Description --------------------------------------------------------------------------------


def test_info(numbered_imagenet):
    info = data.info("imagenet2012", numbered_imagenet)
    assert info.num_examples == {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    assert (info.image_shape, info.class_names[1]) == ((299, 299, 3), "n00000001")
    assert data.info("imagenet2012", numbered_imagenet, image_size=64).image_shape == (64, 64, 3)
    assert data.boxed_info("imagenet2012", numbered_imagenet) == info


def test_at_most_so_many_are_held_back(numbered_imagenet, monkeypatch):
    # Of ImageNet's 1,281,167 images a tenth would be more.
    assert imagenet.MOST_HELD_OUT == 10_000
    monkeypatch.setattr(imagenet, "MOST_HELD_OUT", 2)
    info = data.info("imagenet2012", numbered_imagenet)
    assert info.num_examples == {"train": 34, "validation": 2, "test": TEST}


# Evaluation ---------------------------------------------------------------------------------


@functools.cache
def evaluated(numbered_imagenet, split, **options):
    """Elements of a split, made once for all tests that ask for them."""
    options = {"image_size": 24, **options}
    batches = data.evaluation_batches("imagenet2012", split, 4, numbered_imagenet, **options)
    elements = [(x.numpy(), y.numpy()) for x, y in batches]
    assert len(batches) == len(elements)
    return elements


def test_splits_in_stored_order(numbered_imagenet):
    for split, indices in (
        ("train", range(TRAIN)),
        ("validation", range(TRAIN, TRAIN + VALIDATION)),
        ("test", range(TEST)),
    ):
        assert labels_of(evaluated(numbered_imagenet, split)) == list(indices)
    assert [len(labels) for _, labels in evaluated(numbered_imagenet, "test")] == [4, 3]
    assert labels_of(evaluated(numbered_imagenet, "test", limit=5)) == list(range(5))


def test_evaluation_is_of_the_central_crop(numbered_imagenet):
    images = np.concatenate([x for x, _ in evaluated(numbered_imagenet, "test", image_size=0)])
    assert images.shape == (TEST, 299, 299, 3)
    stored = imagenet.open_builder(numbered_imagenet).as_dataset(split="validation")
    for image, example in zip(images, stored, strict=True):
        boxed = {
            "image": tf.cast(example["image"], tf.float32) / 255.0,
            "boxes": tf.zeros([0, 4]),
            "box_labels": tf.zeros([0], tf.int32),
        }
        np.testing.assert_array_equal(image, central_crop(boxed, (299, 299))["image"])


@pytest.fixture(scope="module")
def boxes_of_others(tmp_path_factory):
    """Annotations of no image of the numbered copy, named as those of training images are."""
    files = {"n00000000/n00000000_1.xml": xml(1, (48, 64), [], names=["n00000000"])}
    return pack(tmp_path_factory.mktemp("boxes") / "ILSVRC2012_bbox_train_v2.tgz", files)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_is_the_same_with_boxes_and_without(numbered_imagenet, boxes_of_others, split):
    boxed = data.boxed_batches(
        "imagenet2012", split, 4, numbered_imagenet, image_size=24, annotations=boxes_of_others
    )
    plain = evaluated(numbered_imagenet, split)
    for (images, labels), batch in zip(plain, boxed, strict=True):
        np.testing.assert_array_equal(batch["label"], labels)
        np.testing.assert_array_equal(batch["image"], images)
    later = data.boxed_batches(
        "imagenet2012", split, 4, numbered_imagenet, 1, 3, 24, annotations=boxes_of_others
    )
    (batch,) = later
    np.testing.assert_array_equal(batch["image"], np.concatenate([x for x, _ in plain])[1:3])
    counted = imagenet.coverage(split, boxes_of_others, numbered_imagenet)
    assert counted.examples == counted.without_annotation == sum(len(y) for _, y in plain)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_published_validation_boxes_belong_to_the_test_split(numbered_imagenet, tmp_path, split):
    files = {f"val/{stem(1)}.xml": xml(1, (48, 64), [], names=["n00000000"])}
    boxes = pack(tmp_path / "ILSVRC2012_bbox_val_v3.tgz", files)
    message = "annotates the published validation images, which are split 'test'"
    with pytest.raises(ValueError, match=message):
        data.boxed_batches("imagenet2012", split, 4, numbered_imagenet, annotations=boxes)
    with pytest.raises(ValueError, match=message):
        imagenet.coverage(split, boxes, numbered_imagenet)
    (batch,) = data.boxed_batches("imagenet2012", "test", 7, numbered_imagenet, annotations=boxes)
    assert batch["label"].shape == (TEST,)


@pytest.mark.parametrize(
    ("split", "start", "limit"),
    [("train", 8, None), ("train", 32, None), ("test", 4, None), ("train", 4, 17)],
)
def test_a_start_leaves_batches_out(numbered_imagenet, split, start, limit):
    whole = evaluated(numbered_imagenet, split, limit=limit)
    later = evaluated(numbered_imagenet, split, limit=limit, start=start)
    assert len(later) == len(whole) - start // 4
    for found, expected in zip(later, whole[start // 4 :], strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_starts_count_within_the_split(numbered_imagenet):
    # The last three of the stored training images.
    assert labels_of(evaluated(numbered_imagenet, "validation", start=1)) == [34, 35]
    with pytest.raises(ValueError, match="start is 3, but there are 3 examples"):
        evaluated(numbered_imagenet, "validation", start=3)


def test_what_lies_before_the_start_is_not_decoded(tmp_path):
    images = [(jpeg(gradient(index)), index, f"{index}.JPEG") for index in range(12)]
    broken = [(images[1][0][:40], 1, "1.JPEG")]
    names = [f"n{index:08d}" for index in range(12)]
    stored = {"train": images, "validation": images[:1] + broken + images[2:]}
    root = write_imagenet(tmp_path, stored, names)
    # Index 2 is in the file of the broken image, index 4 in the one after it.
    for start in (4, 2):
        later = evaluated(root, "test", start=start, limit=9)
        assert labels_of(later) == list(range(start, 9))
    with pytest.raises(tf.errors.InvalidArgumentError):
        evaluated(root, "test")


@pytest.mark.parametrize(("split", "total"), [("train", 2), ("test", 3), ("validation", 3)])
def test_evaluation_is_cut_among_replicas(numbered_imagenet, split, total):
    whole = evaluated(numbered_imagenet, split)
    parts = [
        evaluated(numbered_imagenet, split, replica_range=ReplicaRange(r, 1, total))
        for r in range(total)
    ]
    joined = [
        [np.concatenate(one) for one in zip(*elements, strict=True)]
        for elements in zip(*parts, strict=True)
    ]
    for index in (0, 1):
        np.testing.assert_array_equal(
            np.concatenate([element[index] for element in joined]),
            np.concatenate([element[index] for element in whole]),
        )
    both = evaluated(numbered_imagenet, split, replica_range=ReplicaRange(0, 2, total))
    for found, expected in ((both[::2], parts[0]), (both[1::2], parts[1])):
        assert labels_of(found) == labels_of(expected)
        assert len(found) == len(expected)


# What is wrong ------------------------------------------------------------------------------


def test_missing_data_says_how(tmp_path):
    for call in (
        lambda: data.info("imagenet2012", tmp_path),
        lambda: data.training_batches("imagenet2012", 4, 0, tmp_path),
        lambda: data.evaluation_batches("imagenet2012", "test", 4, tmp_path),
    ):
        with pytest.raises(data.DatasetNotFoundError, match=r"train, ILSVRC2012_img_train\.tar"):
            call()


def test_a_copy_for_evaluation_alone(tmp_path):
    image = (jpeg(gradient(0)), 0, "0.JPEG")
    write_imagenet(tmp_path, {"validation": [image]}, ["n00000000"])
    info = data.info("imagenet2012", tmp_path)
    assert info.num_examples == {"test": 1}
    (batch,) = data.evaluation_batches("imagenet2012", "test", 4, tmp_path)
    assert batch[1].shape == (1,)
    for call in (
        lambda: info.num_examples["train"],
        lambda: data.training_batches("imagenet2012", 4, 0, tmp_path),
        lambda: data.evaluation_batches("imagenet2012", "validation", 4, tmp_path),
        lambda: data.load("imagenet2012", "train", tmp_path),
    ):
        message = r"has no train images\. Put ILSVRC2012_img_train\.tar from image-net.org"
        with pytest.raises(data.DatasetNotFoundError, match=message):
            call()


def test_a_copy_too_small(tmp_path):
    write_numbered(tmp_path, 9, 1)
    with pytest.raises(ValueError, match="has 9 training images, too few to hold one in 10 back"):
        data.info("imagenet2012", tmp_path)


def test_a_copy_in_another_format(numbered_imagenet, tmp_path):
    root = shutil.copytree(numbered_imagenet, tmp_path / "copy")
    (metadata,) = root.glob("*/*/dataset_info.json")
    content = json.loads(metadata.read_text())
    content["fileFormat"] = "array_record"
    for split in content["splits"]:
        split["filepathTemplate"] = split["filepathTemplate"].replace("tfrecord", "array_record")
    metadata.write_text(json.dumps(content))
    for path in metadata.parent.glob("*.tfrecord*"):
        path.rename(path.with_name(path.name.replace("tfrecord", "array_record")))
    with pytest.raises(ValueError, match=re.escape("is stored as array_record, expected tfrecord")):
        data.training_batches("imagenet2012", 4, 0, root)


def test_bad_requests(numbered_imagenet):
    def train(batch_size, replicas):
        fed = ReplicaRange(0, 1, replicas)
        data.training_batches("imagenet2012", batch_size, 0, numbered_imagenet, replica_range=fed)

    with pytest.raises(ValueError, match="Unknown split 'dev'"):
        data.evaluation_batches("imagenet2012", "dev", 4, numbered_imagenet)
    with pytest.raises(ValueError, match="3 cannot be cut into 4 slices"):
        train(3, 4)
    with pytest.raises(ValueError, match="33 examples are too few for 40 replicas"):
        train(64, 40)
