"""Reads data sets that are small enough to be kept in memory, for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.data.augmentation import augmented
from aad_tf.data.description import DatasetInfo
from aad_tf.data.images import resized, unit_range
from aad_tf.data.requests import BoxedRequest, EvaluationRequest, TrainingRequest
from aad_tf.data.sharding.slices import SlicedEpoch
from aad_tf.utils.files import PathLike


@dataclass(frozen=True)
class InMemory:
    """Reads a data set that is kept in memory, for the functions of `aad_tf.data`.

    Attributes:
        describe: function from a directory of TensorFlow Datasets, or None for the default one, to
            a `DatasetInfo`.
        read: function from a split and the directory to images `[n, height, width, channels]`,
            uint8 or float32 in [0, 1], and int32 labels `[n]`.
        stream: function from a `BoxedRequest` (split and range of examples) and the directory to a
            dataset of single examples. They are dictionaries of "image", "label" and, if there are
            boxes, "objects", a dictionary whose "bbox" is `[n, 4]`, (ymin, xmin, ymax, xmax) in
            fractions of the image. Examples before the range requested are not decoded.
    """

    describe: Callable[[PathLike | None], DatasetInfo]
    read: Callable[[str, PathLike | None], tuple[tf.Tensor, tf.Tensor]]
    stream: Callable[[BoxedRequest, PathLike | None], tf.data.Dataset]

    def info(self, data_dir: PathLike | None, annotations: PathLike | None) -> DatasetInfo:
        """Describes the data set in a directory.

        Args:
            data_dir: directory of TensorFlow Datasets; None for the default one.
            annotations: not used.

        Returns:
            A `DatasetInfo`: name, image shape, classes, number of examples by split, a line on the
            source, and a hash of the data.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
        """
        return self.describe(data_dir)

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns single examples of a split in the stored order.

        Args:
            split: "train", "validation" or "test".
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of (image, label): float32 `[H, W, C]` in [0, 1], and a scalar int32.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
        """
        return tf.data.Dataset.from_tensor_slices(self.read(split, data_dir)).map(_example)

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns each example of a part of a split once, in batches, in the stored order.

        Args:
            request: split, range of examples, batch size, size of images, and the replicas to feed.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of (images, labels): float32 `[batch, H, W, C]` in [0, 1], and int32
            `[batch]`. For each batch it has one element per replica that is fed, in their order;
            the last batch may be shorter.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
            ValueError: no examples are left, or fewer than there are replicas.
        """
        images, labels = self.read(request.split, data_dir)
        start, stop = request.span(len(labels))
        cut = SlicedEpoch(stop - start, request.batch_size, request.replica_range)

        def batch(element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            found = cut.slice_of(element).indices
            local = slice(start + found.start, start + found.stop)
            return resized(unit_range(images[local]), request.size), labels[local]

        elements = tf.data.Dataset.range(cut.steps * request.replica_range.count)
        return elements.map(batch).prefetch(tf.data.AUTOTUNE)

    def boxed(self, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns single examples with boxes in the stored order.

        Args:
            request: split, and range of examples.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of dictionaries: "image" float32 `[H, W, C]` in [0, 1], "label" int32,
            "boxes" float32 `[n, 4]` as (ymin, xmin, ymax, xmax) in fractions of the image, and
            "box_labels" int32 `[n]`, all of the image's class; n is 0 for a data set without boxes.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
            TypeError, ValueError: a range of examples that is not valid.
        """
        return self.stream(request, data_dir).map(_boxed, tf.data.AUTOTUNE)

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns batches of the training split in random order, without end.

        Order and augmentation do not depend on the number of replicas.

        Args:
            request: seed, first epoch and step, batch size, augmentation, size of images, number of
                examples, and the replicas to feed.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            An infinite dataset of (images, labels): float32 `[batch, H, W, C]` in [0, 1], and int32
            `[batch]`. For each step it has one element per replica that is fed, in their order.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
            ValueError: fewer examples than replicas.
        """
        images, labels = self.read("train", data_dir)
        seed = tf.constant(request.seed, tf.int64)

        def gather(number: tf.Tensor, indices: tf.Tensor, start: tf.Tensor, whole: tf.Tensor):
            plain = unit_range(tf.gather(images, indices))
            key = tf.random.experimental.stateless_fold_in(tf.stack([seed, 1]), number)
            changed = augmented(
                plain, request.augmentation, key, size=request.size, start=start, whole=whole
            )
            return changed, tf.gather(labels, indices)

        count = min(len(labels), request.limit or len(labels))
        slices = _shuffled_slices(request, count, seed)
        batches = slices.map(gather, tf.data.AUTOTUNE, deterministic=True)
        return batches.prefetch(tf.data.AUTOTUNE)


def _shuffled_slices(request: TrainingRequest, count: int, seed: tf.Tensor) -> tf.data.Dataset:
    """(Number to draw from, indices of a slice, where it begins in its batch, the batch's size)."""
    cut = SlicedEpoch(count, request.batch_size, request.replica_range)
    first_epoch, first_step = request.first_step(cut.steps)
    fed = request.replica_range.count

    def slices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([seed, epoch]), alg="philox"
        )

        def chosen(element: tf.Tensor) -> tuple[tf.Tensor, ...]:
            part = cut.slice_of(element)
            drawing = cut.drawing(epoch, part.step)
            return drawing, order[part.indices], part.start, part.batch_size

        step = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
        return tf.data.Dataset.range(step * fed, cut.steps * fed).map(chosen)

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(slices)


def _example(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return unit_range(image), label


def _boxed(example: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Boxes stored beside an image are of its class."""
    label = tf.cast(example["label"], tf.int32)
    boxes = example["objects"]["bbox"] if "objects" in example else tf.zeros([0, 4])
    return {
        "image": unit_range(example["image"]),
        "label": label,
        "boxes": boxes,
        "box_labels": tf.fill(tf.shape(boxes)[:1], label),
    }
