"""ImageNet's images come with the boxes of their objects; copies that do not fit are refused."""

from __future__ import annotations

import gc
import os
import re

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.decoding import central_crop
from tests.data.imagenet.annotated_images import (
    IMAGES,
    WNIDS,
    drawn,
    official,
    pack,
    stem,
    write_images,
    xml,
)


def stream(images, archive, batch_size=5, **options):
    return data.boxed_batches(
        "imagenet2012", "test", batch_size, images, annotations=archive, **options
    )


def test_batches(images, archive):
    (batch,) = stream(images, archive)
    assert batch["image"].shape == (5, 299, 299, 3)
    assert float(np.min(batch["image"])) >= 0 and float(np.max(batch["image"])) <= 1
    np.testing.assert_array_equal(batch["label"], [1, 2, 0, 3, 3])
    expected = [[1, -1], [2, 2], [0, 3], [1, -1], [-1, -1]]
    np.testing.assert_array_equal(batch["box_labels"], expected)
    # By hand: 375 rows lose int(375 / 16) = 23 on each side, 500 columns 31: 329 x 438 remain.
    first = [(108 - 23) / 329, (111 - 31) / 438, (193 - 23) / 329, (441 - 31) / 438]
    np.testing.assert_allclose(batch["boxes"][0, 0], first, rtol=0, atol=1e-6)
    # 333 rows lose 20: the second image's first box reaches the lower right corner.
    np.testing.assert_allclose(batch["boxes"][1, 0, 2:], [1, 1])
    # The box of the whole image is the whole crop.
    np.testing.assert_allclose(batch["boxes"][2, 0], [0, 0, 1, 1])


def test_boxes_lie_on_their_objects(images, archive):
    (batch,) = stream(images, archive)
    for index in (0, 1, 2):
        one = slice(index, index + 1)
        found = data.object_masks(
            batch["boxes"][one], batch["box_labels"][one], batch["label"][one], 299
        )[0]
        white = batch["image"][index, :, :, 0].numpy() > 0.5
        # JPEG and interpolation blur an edge by about a pixel.
        assert np.mean(found != white) < 0.005
        assert found.any()


def test_crop_and_resize_equal_tensorflows_own(images):
    image = tf.cast(drawn(2), tf.float32) / 255
    example = {"image": image, "boxes": tf.zeros([0, 4]), "box_labels": tf.zeros([0], tf.int32)}
    expected = tf.image.resize(tf.image.central_crop(image, 0.875), (299, 299))
    np.testing.assert_array_equal(central_crop(example, (299, 299))["image"], expected)


def test_boxes_outside_the_crop_vanish():
    boxes = tf.constant([[0, 0, 0.05, 1], [0, 0, 0.5, 0.5]])
    example = {"image": tf.zeros([160, 320, 3]), "boxes": boxes, "box_labels": tf.constant([1, 2])}
    cropped = central_crop(example, (8, 8))
    # 140 of 160 rows remain from row 10, 280 of 320 columns from column 20.
    np.testing.assert_allclose(cropped["boxes"], [[0, 0, 0.5, 0.5]], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(cropped["box_labels"], [2])


def test_any_part_and_size(images, archive):
    whole = list(stream(images, archive, batch_size=1, image_size=32))
    assert whole[0]["image"].shape == (1, 32, 32, 3)
    # Stored in shards of three: the part crosses from one to the next.
    part = list(stream(images, archive, batch_size=1, start=2, stop=4, image_size=32))
    assert len(part) == 2
    for found, expected in zip(part, whole[2:4], strict=True):
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key])


def test_boxes_outlive_the_names_they_were_made_from(images, archive):
    batches = stream(images, archive, batch_size=2, image_size=32)
    gc.collect()
    assert [len(batch["label"]) for batch in batches] == [2, 2, 1]


def test_coverage_counts_images_without_boxes(images, archive):
    found = imagenet.coverage("test", archive, images)
    assert found == imagenet.BoxCoverage(
        examples=5, without_annotation=1, without_label_box=1, dropped_boxes=0
    )


def test_info(images, archive, tmp_path):
    info = data.boxed_info("imagenet2012", images)
    assert info.num_examples == {"test": 5}
    assert (info.num_classes, info.class_names) == (4, tuple(WNIDS))
    assert (info.image_shape, info.source) == ((299, 299, 3), "tfds imagenet2012/5.1.0")
    boxed = data.boxed_info("imagenet2012", images, annotations=archive, image_size=224)
    assert boxed.source == "tfds imagenet2012/5.1.0, boxes ILSVRC2012_bbox_val_v3.tgz"
    assert boxed.image_shape == (224, 224, 3)
    files = official()
    del files[f"val/{stem(1)}.xml"]
    fewer = pack(tmp_path / "ILSVRC2012_bbox_val_v3.tgz", files)
    other = data.boxed_info("imagenet2012", images, annotations=fewer)
    assert len({info.fingerprint, boxed.fingerprint, other.fingerprint}) == 3


def test_a_replaced_archive_is_read_again(images, archive, tmp_path):
    path = tmp_path / "boxes.tgz"
    path.write_bytes(archive.read_bytes())
    before = data.boxed_info("imagenet2012", images, annotations=path)
    files = official()
    del files[f"val/{stem(1)}.xml"]
    pack(path, files)
    os.utime(path, ns=(1, 1))
    after = data.boxed_info("imagenet2012", images, annotations=path)
    assert (before.source, before.fingerprint == after.fingerprint) == (after.source, False)


def test_annotation_at_another_scale_is_used(images, archive, tmp_path):
    files = official()
    label, _, objects = IMAGES[1]
    halved = [(name, *(corner / 2 for corner in corners)) for name, *corners in objects]
    files[f"val/{stem(1)}.xml"] = xml(1, (188, 250), halved)
    path = pack(tmp_path / "boxes.tgz", files)
    (found,), (expected,) = (
        stream(images, source, stop=1, batch_size=1) for source in (path, archive)
    )
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.005)


def test_annotation_of_another_shape_is_refused(images, tmp_path):
    files = official()
    files[f"val/{stem(2)}.xml"] = xml(2, (500, 333), [])
    path = pack(tmp_path / "boxes.tgz", files)
    message = rf"{stem(2)}.*\[333 500\].*\[500 333\].*belong to other images"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(stream(images, path))


def test_class_names_that_do_not_match(archive, tmp_path):
    root = write_images(tmp_path, names=["tench", "viper", "butterfly", "church"])
    message = "object 'n01751748' is none of the data set's 4 classes (tench, viper, butterfly, ..."
    with pytest.raises(ValueError, match=re.escape(message)):
        stream(root, archive)


def test_bad_requests(images, archive, tmp_path):
    with pytest.raises(ValueError, match="pass annotations=, the path of"):
        stream(images, None)
    with pytest.raises(ValueError, match="Unknown split 'val'"):
        data.boxed_batches("imagenet2012", "val", 1, images, annotations=archive)
    for split in ("train", "validation"):
        with pytest.raises(data.DatasetNotFoundError, match="has no train images. Put ILSVRC2012"):
            data.boxed_batches("imagenet2012", split, 1, images, annotations=archive)
    with pytest.raises(data.DatasetNotFoundError, match="put ILSVRC2012_img_val.tar"):
        stream(tmp_path, archive)


def test_copies_that_are_not_whole(archive, tmp_path):
    root = write_images(tmp_path)
    shard = sorted((root / "imagenet2012" / "5.1.0").glob("*.tfrecord*"))[1]
    shard.unlink()
    with pytest.raises(
        data.DatasetNotFoundError, match=re.escape(f"split 'validation' lacks {shard}")
    ):
        stream(root, archive)


def test_another_data_set_in_its_place(write_copy, archive, tmp_path):
    write_copy(tmp_path, "imagenet2012", train=2, test=1)
    with pytest.raises(
        ValueError, match="is not TFDS's imagenet2012: it lacks the features file_name"
    ):
        stream(tmp_path, archive)
