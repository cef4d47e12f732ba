"""ImageNet 2012 for training and evaluation, read from a copy prepared by TensorFlow Datasets.

Splits are those that `aad_tf.data.imagenet.source` describes. Only a buffer of undecoded images is
kept in memory.

Order of training. The stored examples are divided into one contiguous part per replica. In each
epoch a replica gets the next part, so that after as many epochs as there are replicas it has seen
nearly every example. A replica opens only the files of its part, in an order that depends on the
seed and the epoch, reads 16 of them in turns, and shuffles their records in a buffer before they
are decoded. Which examples make up a batch therefore depends on the number of replicas, but not on
how they are distributed over workers. A run that resumes within an epoch reads the earlier records
of that epoch again without decoding them.

Images. For the augmentation "inception" only the part of a file that is used is decoded. All other
images are first cropped to the central 87.5% of each side. Images are resized to 299x299 pixels by
default.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from aad_tf.data.description import DatasetInfo
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.decoding import central_crop, central_image, changed_image, parser
from aad_tf.data.prepared import StoredRange, stored_examples
from aad_tf.data.requests import BoxedRequest, EvaluationRequest, TrainingRequest
from aad_tf.data.sharding.slices import ReplicaRange, SlicedEpoch, replica_parts
from aad_tf.data.sharding.streaming import (
    alternating,
    file_parts,
    in_batches_of,
    replica_batches,
    stored_records,
)
from aad_tf.utils.files import PathLike


@dataclass(frozen=True)
class StreamedImageNet:
    """Reads ImageNet 2012 from files while iterating, for the functions of `aad_tf.data`.

    Attributes:
        buffer_records: number of undecoded examples, some 110 kB each, in the shuffle buffer of
            each replica.
    """

    buffer_records: int = 4096

    def info(self, data_dir: PathLike | None, annotations: PathLike | None = None) -> DatasetInfo:
        """Describes the copy of ImageNet in a directory.

        Args:
            data_dir: directory of TensorFlow Datasets; None for the default one.
            annotations: archive of boxes whose name and hash the description includes, or None.

        Returns:
            A `DatasetInfo`: image shape (299, 299, 3), class names, number of examples by split, a
            line on the source, and a hash of the data.

        Raises:
            DatasetNotFoundError: the data set is missing or lacks files, or there are no
                annotations at their path.
            ValueError: a data set with other features, fewer than 10 training images, or
                annotations that are not valid.
        """
        return imagenet.info(data_dir, annotations)

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns single examples of a split in the stored order.

        Args:
            split: "train", "validation" or "test".
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of (image, label): float32 `[299, 299, 3]` in [0, 1], the central 87.5%
            of each side, and a scalar int32.

        Raises:
            DatasetNotFoundError: the data set or the split is missing.
            ValueError: an unknown split, or fewer than 10 training images.
        """
        builder = imagenet.open_builder(data_dir)
        parse, stored = parser(builder), imagenet.stored_range(builder, split)

        def example(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            jpeg, label = parse(record)
            return central_image(jpeg, imagenet.IMAGE_SIZE), label

        records = stored_records(file_parts(builder, stored))
        return records.map(example, tf.data.AUTOTUNE, deterministic=True)

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns batches of a part of a split, each example once, in the stored order.

        Images are cropped to the central 87.5% of each side. A worker decodes only the examples of
        its own replicas.

        Args:
            request: split, range of examples, batch size, size of images, and the replicas to feed.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of (images, labels): float32 `[batch, H, W, 3]` in [0, 1], and int32
            `[batch]`. For each batch it has one element per replica that is fed, in their order;
            the last batch may be shorter.

        Raises:
            DatasetNotFoundError: the data set or the split is missing.
            ValueError: an unknown split, a range without examples, or fewer examples than replicas.
        """
        builder = imagenet.open_builder(data_dir)
        stored = imagenet.stored_range(builder, request.split).part(request)
        cut = SlicedEpoch(stored.num_examples, request.batch_size, request.replica_range)
        parse, size = parser(builder), request.size or imagenet.IMAGE_SIZE

        def example(element: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, ...]:
            jpeg, label = parse(record)
            return element, central_image(jpeg, size), label

        records = stored_records(file_parts(builder, stored)).enumerate()
        assigned = records.map(lambda index, record: (cut.element_at(index), record))
        local = assigned.filter(lambda element, _: element >= 0)
        examples = local.map(example, tf.data.AUTOTUNE, deterministic=True)
        batches = in_batches_of(examples, lambda element: cut.slice_of(element).size)
        elements = tf.data.experimental.assert_cardinality(cut.steps * request.replica_range.count)
        # One batch ahead and no more: photographs are large, and memory must not grow.
        return batches.apply(elements).prefetch(1)

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns batches of the training split in random order, without end.

        Args:
            request: seed, first epoch and step, batch size, augmentation, size of images, number of
                examples, and the replicas to feed.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            An infinite dataset of (images, labels): float32 `[batch, H, W, 3]` in [0, 1], and int32
            `[batch]`. For each step it has one element per replica of this worker, in their order.

        Raises:
            DatasetNotFoundError: the data set or its training images are missing.
            ValueError: fewer examples than replicas, or fewer than 10 training images.
        """
        builder, fed = imagenet.open_builder(data_dir), request.replica_range
        stored = imagenet.stored_range(builder, "train")
        count = min(stored.num_examples, request.limit or stored.num_examples)
        parse, size = parser(builder), request.size or imagenet.IMAGE_SIZE

        def example(record: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            jpeg, label = parse(record)
            return changed_image(jpeg, request.augmentation, key, size), label

        streams = []
        for replica in range(fed.first, fed.first + fed.count):
            ranges = replica_parts(count, request.batch_size, replica, fed.total)
            parts = [file_parts(builder, StoredRange("train", *range_)) for range_ in ranges]
            cut = SlicedEpoch(count, request.batch_size, ReplicaRange(replica, total=fed.total))
            streams.append(replica_batches(request, cut, parts, self.buffer_records, example))
        return alternating(streams).prefetch(1)

    def boxed(self, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns single examples with boxes, in the stored order.

        Images are cropped to the central 87.5% of each side and resized, by default to 299 x 299.

        Args:
            request: split, range of examples, size of images, and archive of boxes.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of dictionaries: "image" float32 `[H, W, 3]` in [0, 1], "label" int32,
            "boxes" float32 `[n, 4]` as (ymin, xmin, ymax, xmax) in fractions of the image, and
            "box_labels" int32 `[n]`.

        Raises:
            DatasetNotFoundError: the data set or the split is missing, or there are no annotations
                at their path.
            ValueError: an unknown split, a range of examples that is not valid, or annotations that
                are None, not valid, or of another split.
        """
        builder, stored, join = imagenet.open_split(request.split, data_dir, request.annotations)
        examples = stored_examples(builder, stored.part(request)).map(join, tf.data.AUTOTUNE)
        size = request.size or imagenet.IMAGE_SIZE
        return examples.map(lambda example: central_crop(example, size), tf.data.AUTOTUNE)
