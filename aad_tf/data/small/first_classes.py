"""Data sets that consist of the first classes of a larger one: 10, 20 or 50 of Tiny ImageNet."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os

import tensorflow as tf

from aad_tf.data.description import SPLITS, DatasetInfo
from aad_tf.data.prepared import data_directory
from aad_tf.data.requests import BoxedRequest
from aad_tf.data.small import tfds_source
from aad_tf.utils.files import PathLike

# Name of the whole and number of classes kept. Labels of the first classes stay what they are.
PARTS = {f"tiny_imagenet_{count}": ("tiny_imagenet_100", count) for count in (10, 20, 50)}


def info(name: str, data_dir: PathLike | None = None) -> DatasetInfo:
    """Describes the data set of the first 10, 20 or 50 classes of "tiny_imagenet_100".

    Args:
        name: one of "tiny_imagenet_10", "tiny_imagenet_20" and "tiny_imagenet_50".
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        A `DatasetInfo`: image shape, class names, number of examples by split, a line on the
        source, and a fingerprint, a hash of that of the larger data set and the number of classes.

    Raises:
        DatasetNotFoundError: the larger data set is missing or incomplete.
        ValueError: it has too few examples for a validation split.
    """
    whole, count = PARTS[name]
    found = tfds_source.info(whole, data_dir)
    return dataclasses.replace(
        found,
        name=name,
        num_classes=count,
        class_names=found.class_names[:count],
        num_examples={split: _count(whole, split, count, data_dir) for split in SPLITS},
        source=f"{found.source}, its first {count} classes",
        fingerprint=hashlib.sha256(f"{found.fingerprint} {count}".encode()).hexdigest()[:16],
    )


def _count(whole: str, split: str, classes: int, data_dir: PathLike | None) -> int:
    labels = tfds_source.labels(whole, split, data_dir)
    return int(tf.math.count_nonzero(labels < classes))


def examples(
    name: str, split: str, data_dir: PathLike | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images and labels of a split, in the stored order.

    They are those of the first 10, 20 or 50 classes of "tiny_imagenet_100".

    Args:
        name: one of "tiny_imagenet_10", "tiny_imagenet_20" and "tiny_imagenet_50".
        split: "train", "validation" or "test".
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        uint8 images `[n, height, width, channels]` and int32 labels `[n]`.

    Raises:
        DatasetNotFoundError: the larger data set is missing, incomplete or damaged.
        ValueError: it has too few examples for a validation split.
    """
    return _kept(name, split, os.fspath(data_directory(data_dir)))


@functools.lru_cache(maxsize=6)
def _kept(name: str, split: str, data_dir: str) -> tuple[tf.Tensor, tf.Tensor]:
    whole, count = PARTS[name]
    images, labels = tfds_source.examples(whole, split, data_dir)
    with tf.device("CPU:0"):
        kept = labels < count
        return tf.boolean_mask(images, kept), tf.boolean_mask(labels, kept)


def stored(name: str, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
    """Returns the requested examples one by one, without boxes.

    Args:
        name: one of "tiny_imagenet_10", "tiny_imagenet_20" and "tiny_imagenet_50".
        request: split, and range of examples.
        data_dir: directory of TensorFlow Datasets; None for the default one.

    Returns:
        A finite dataset of dictionaries of "image", uint8 `[height, width, channels]`, and "label",
        a scalar int32.

    Raises:
        DatasetNotFoundError: the larger data set is missing, incomplete or damaged.
        TypeError, ValueError: a range of examples that is not valid.
    """
    images, labels = examples(name, request.split, data_dir)
    first, end = request.span(len(labels))
    return tf.data.Dataset.from_tensor_slices(
        {"image": images[first:end], "label": labels[first:end]}
    )
