"""ImageNet 2012 for training and evaluation, streamed from a copy prepared by TFDS.

Splits are those of `aad_tf.data.imagenet.source`. Nothing but a buffer of undecoded files is kept
in memory.

Order. The stored order is cut into one contiguous part for each replica, which moves on to the
next replica from epoch to epoch, so that in as many epochs as there are replicas each sees nearly
every example. A replica opens the files of its part alone, in an order that depends on the
seed and the epoch, reads some of them in turns, and mixes their records in a buffer before it
decodes any. Which examples make up a batch therefore depends on the number of replicas, but not
on which of them a worker feeds. A stream that starts within an epoch reads the records before it
again, and decodes none of them.

Images. "inception" decodes only the part of a file that it keeps; all else begins with the
central 87.5% of each side. Images are 299x299 unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from aad_tf.data.description import DatasetInfo
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.decoding import central_crop, central_image, changed_image, parser
from aad_tf.data.prepared import StoredRange, stored_examples
from aad_tf.data.requests import BoxedRequest, EvaluationRequest, TrainingRequest
from aad_tf.data.sharding.slices import ReplicaSlice, SlicedEpoch, replica_parts
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
    """ImageNet 2012 as a source of `aad_tf.data`.

    Attributes:
        buffer_records: undecoded examples of each replica that are mixed; some 110 kB each.
    """

    buffer_records: int = 4096

    def info(self, data_dir: PathLike | None, annotations: PathLike | None = None) -> DatasetInfo:
        """Describes the copy and, with their archive, the boxes."""
        return imagenet.info(data_dir, annotations)

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Single examples in the stored order: float32 image `[299, 299, 3]`, int32 label.

        The image is cropped to its central part and resized, as for evaluation.
        """
        builder = imagenet.open_builder(data_dir)
        parse, stored = parser(builder), imagenet.stored_range(builder, split)

        def example(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            jpeg, label = parse(record)
            return central_image(jpeg, imagenet.IMAGE_SIZE), label

        records = stored_records(file_parts(builder, stored))
        return records.map(example, tf.data.AUTOTUNE, deterministic=True)

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Batches of a part of a split, each example once, in the stored order.

        Elements are float32 images `[batch, H, W, 3]` in [0, 1] and int32 labels `[batch]`. Of
        several workers each decodes only the examples of its own slices.
        """
        builder = imagenet.open_builder(data_dir)
        stored = imagenet.stored_range(builder, request.split).part(request)
        cut = SlicedEpoch(stored.num_examples, request.batch_size, request.replica_slice)
        parse, size = parser(builder), request.size or imagenet.IMAGE_SIZE

        def example(element: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, ...]:
            jpeg, label = parse(record)
            return element, central_image(jpeg, size), label

        records = stored_records(file_parts(builder, stored)).enumerate()
        assigned = records.map(lambda index, record: (cut.element_at(index), record))
        local = assigned.filter(lambda element, _: element >= 0)
        examples = local.map(example, tf.data.AUTOTUNE, deterministic=True)
        batches = in_batches_of(examples, lambda element: cut.slice_of(element).size)
        elements = tf.data.experimental.assert_cardinality(cut.steps * request.replica_slice.count)
        # One batch ahead and no more: photographs are large, and memory must not grow.
        return batches.apply(elements).prefetch(1)

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Endless batches of float32 images `[batch, H, W, 3]` in [0, 1] and int32 labels.

        Each replica of this worker has a stream of its own; their batches come in turn.
        """
        builder, fed = imagenet.open_builder(data_dir), request.replica_slice
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
            cut = SlicedEpoch(count, request.batch_size, ReplicaSlice(replica, total=fed.total))
            streams.append(replica_batches(request, cut, parts, self.buffer_records, example))
        return alternating(streams).prefetch(1)

    def boxed(self, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Single examples with the boxes of their annotations, cropped and resized."""
        builder, stored, join = imagenet.open_split(request.split, data_dir, request.annotations)
        examples = stored_examples(builder, stored.part(request)).map(join, tf.data.AUTOTUNE)
        size = request.size or imagenet.IMAGE_SIZE
        return examples.map(lambda example: central_crop(example, size), tf.data.AUTOTUNE)
