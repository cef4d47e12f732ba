"""The first classes of a data set as a data set of its own: fewer classes, the same pictures."""

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
    """Describes the part; its fingerprint is a hash of the whole's and the number of classes.

    Raises:
        DatasetNotFoundError, ValueError: as `tfds_source.info` of the whole.
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
    """Images and labels of a split, in the order in which the whole stores them.

    Raises:
        DatasetNotFoundError, ValueError: as `tfds_source.examples` of the whole.
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
    """Part of a split as dictionaries of "image" and "label"; there are no boxes."""
    images, labels = examples(name, request.split, data_dir)
    first, end = request.span(len(labels))
    return tf.data.Dataset.from_tensor_slices(
        {"image": images[first:end], "label": labels[first:end]}
    )
