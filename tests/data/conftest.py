"""Small data sets in the format of TensorFlow Datasets, written for the tests."""

from __future__ import annotations

import functools
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.data.imagenet.annotated_images import official, pack, write_images
from tests.data.imagenet.imagenet_copies import write_numbered

CopyWriter = Callable[..., Path]


@functools.cache
def features(shape: tuple[int, int, int], encoding: str) -> tfds.features.FeaturesDict:
    """An image and its label."""
    image = tfds.features.Image(shape=shape, encoding_format=encoding)
    return tfds.features.FeaturesDict(
        {"image": image, "label": tfds.features.ClassLabel(num_classes=10)}
    )


@functools.cache
def example(level: int, label: int, shape: tuple[int, int, int], encoding: str) -> bytes:
    """A flat image of one gray level with its label, as TFDS serializes it."""
    encode = {"png": tf.io.encode_png, "jpeg": tf.io.encode_jpeg}[encoding]
    file = io.BytesIO(encode(np.full(shape, level, np.uint8)).numpy())
    return features(shape, encoding).serialize_example({"image": file, "label": label})


def write(
    root: Path, name: str, train: int, test: int, shape=(28, 28, 1), encoding="png", version="3.0.1"
) -> Path:
    """Writes flat gray images as TFDS would; index modulo 256 is the level, modulo 10 the label."""
    directory = root / name / version
    directory.mkdir(parents=True)
    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name=name,
            version=tfds.core.Version(version),
            data_dir=str(directory),
            module_name="tests",
        ),
        features=features(shape, encoding),
    )
    info.set_file_format("tfrecord")
    splits = []
    for split, count in (("train", train), ("test", test)):
        place = tfds.core.ShardedFileTemplate(
            dataset_name=name, data_dir=directory, split=split, filetype_suffix="tfrecord"
        )
        # TFDS's own writer serializes each of thousands of examples, of which few are different.
        examples = [example(i % 256, i % 10, shape, encoding) for i in range(count)]
        if examples:
            path = place.sharded_filepath(shard_index=0, num_shards=1)
            with tf.io.TFRecordWriter(str(path)) as file:
                for each in examples:
                    file.write(each)
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[count] if count else [],
                num_bytes=sum(map(len, examples)),
                filename_template=place,
            )
        )
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(directory)
    return root


@pytest.fixture(scope="session")
def write_copy() -> CopyWriter:
    """The function `write(root, name, train, test, shape, encoding, version)`."""
    return write


@pytest.fixture(scope="session")
def small_copy(tmp_path_factory) -> Path:
    """A data directory whose mnist has 5,012 training images, so 12 are left to train on."""
    return write(tmp_path_factory.mktemp("small"), "mnist", train=5012, test=7)


@pytest.fixture
def writable_copy(small_copy, tmp_path) -> Path:
    """The same in a separate directory, for tests that damage it."""
    shutil.copytree(small_copy, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def numbered_imagenet(tmp_path_factory) -> Path:
    """An ImageNet of 36 training images, 3 of them held back, and 7 published for validation."""
    return write_numbered(tmp_path_factory.mktemp("imagenet"), train=36, test=7)


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """A data directory of five ImageNet images for validation."""
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """The archive of XML boxes of those images."""
    return pack(tmp_path_factory.mktemp("archive") / "ILSVRC2012_bbox_val_v3.tgz", official())
