"""Data sets that consist of some classes of a larger one: 10, 20 or 50 of 100 of Tiny ImageNet.

The classes of "tiny_imagenet_100" are in the order of their WordNet ids: fish, frogs, snakes and
spiders come first, objects last. The classes of "tiny_imagenet_spread_10", "_20" and "_50" are
spread evenly over that order, and each of these data sets holds the classes of the smaller ones.
The classes of "tiny_imagenet_10", "_20" and "_50" are the first ones, all of them animals.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from typing import NamedTuple

import tensorflow as tf

from aad_tf.data.description import SPLITS, DatasetInfo
from aad_tf.data.prepared import data_directory
from aad_tf.data.requests import BoxedRequest
from aad_tf.data.small import tfds_source
from aad_tf.utils.files import PathLike

WHOLE, _CLASSES = "tiny_imagenet_100", 100
# Positions of the classes kept in each ten of the list.
_SPREAD = {10: (0,), 20: (0, 4), 50: (0, 2, 4, 6, 8)}


class Part(NamedTuple):
    """Some classes of a larger data set.

    Attributes:
        kept: their labels there, ascending; here they are 0, 1, 2 and so on.
        words: which ones they are, for the line on the source.
    """

    kept: tuple[int, ...]
    words: str


def _spread(count: int) -> Part:
    kept = tuple(label for label in range(_CLASSES) if label % 10 in _SPREAD[count])
    return Part(kept, f"{count} of its classes, spread evenly over their order")


PARTS = {f"tiny_imagenet_spread_{count}": _spread(count) for count in _SPREAD} | {
    f"tiny_imagenet_{count}": Part(tuple(range(count)), f"its first {count} classes")
    for count in _SPREAD
}


def info(name: str, data_dir: PathLike | None = None) -> DatasetInfo:
    """Describes a data set of 10, 20 or 50 classes of "tiny_imagenet_100".

    Args:
        name: a key of `PARTS`, such as "tiny_imagenet_spread_10".
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        A `DatasetInfo`: image shape, class names, number of examples by split, a line on the
        source, which says which classes, and a fingerprint, a hash of that of the larger data set
        and the classes.

    Raises:
        DatasetNotFoundError: the larger data set is missing or incomplete.
        ValueError: it has too few examples for a validation split.
    """
    part, found = PARTS[name], tfds_source.info(WHOLE, data_dir)
    return dataclasses.replace(
        found,
        name=name,
        num_classes=len(part.kept),
        class_names=tuple(found.class_names[label] for label in part.kept),
        num_examples={split: _count(part, split, data_dir) for split in SPLITS},
        source=f"{found.source}, {part.words}",
        fingerprint=_fingerprint(found.fingerprint, part),
    )


def _fingerprint(whole: str, part: Part) -> str:
    """A hash of the larger data set's fingerprint and the classes, of first ones their number.

    Earlier versions had first classes only, so that their records are still of the same data.
    """
    count = len(part.kept)
    classes = count if part.kept == tuple(range(count)) else part.kept
    return hashlib.sha256(f"{whole} {classes}".encode()).hexdigest()[:16]


def _count(part: Part, split: str, data_dir: PathLike | None) -> int:
    labels = tfds_source.labels(WHOLE, split, data_dir)
    return int(tf.math.count_nonzero(_new_labels(part, labels) >= 0))


def _new_labels(part: Part, labels: tf.Tensor) -> tf.Tensor:
    """Labels in the part, int32; -1 for those of classes that are left out."""
    table = [-1] * _CLASSES
    for new, label in enumerate(part.kept):
        table[label] = new
    return tf.gather(tf.constant(table, tf.int32), labels)


def examples(
    name: str, split: str, data_dir: PathLike | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images and labels of a split, in the stored order.

    They are those of 10, 20 or 50 classes of "tiny_imagenet_100", whose labels are counted anew.

    Args:
        name: a key of `PARTS`, such as "tiny_imagenet_spread_10".
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
    images, labels = tfds_source.examples(WHOLE, split, data_dir)
    with tf.device("CPU:0"):
        labels = _new_labels(PARTS[name], labels)
        kept = labels >= 0
        return tf.boolean_mask(images, kept), tf.boolean_mask(labels, kept)


def stored(name: str, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
    """Returns the requested examples one by one, without boxes.

    Args:
        name: a key of `PARTS`, such as "tiny_imagenet_spread_10".
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
