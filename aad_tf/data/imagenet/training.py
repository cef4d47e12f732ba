"""ImageNet 2012 for training and evaluation, streamed from a copy prepared by TFDS.

The published training images without the last 10,000 (of a smaller copy: the last tenth) are
"train", those held back are "validation", and the published validation images are "test";
`boxed_batches` keeps the published names. Nothing but a buffer of undecoded files is kept in
memory.

Order. The stored order is cut into one contiguous part for each replica, which moves on to the
next replica from epoch to epoch, so that in as many epochs as there are replicas each sees nearly
every example. A replica opens the files of its own part alone, in an order that depends on the
seed and the epoch, reads some of them in turns, and mixes their records in a buffer before it
decodes any. Which examples make up a batch therefore depends on the number of replicas, but not
on which of them a worker feeds. A stream that starts within an epoch reads the records before it
again, and decodes none of them.

Pictures. "inception" decodes only the part of a file that it keeps; all else begins with the
central 87.5% of each side. Images are 299x299 unless said otherwise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.data.description import DatasetInfo, DatasetNotFoundError
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.decoding import central_picture, changed_picture, parser
from aad_tf.data.sharding.replica_stream import ReplicaStream
from aad_tf.data.sharding.requests import EvaluationRequest, PathLike, TrainingRequest
from aad_tf.data.sharding.shared_epoch import SharedEpoch, replica_parts
from aad_tf.data.sharding.sharing import ReplicaShare
from aad_tf.data.sharding.streaming import alternating, file_parts, in_batches_of, stored_records


class HeldBack(NamedTuple):
    """How many of the last published training examples are kept for validation.

    Attributes:
        examples: at most so many.
        one_in: and at most one of so many.
    """

    examples: int = 10_000
    one_in: int = 10


@dataclass(frozen=True)
class StreamedImageNet:
    """ImageNet 2012 as a source of `aad_tf.data`.

    Attributes:
        held_back: how validation is carved from the training images.
        buffer_records: undecoded examples of each replica that are mixed; some 110 kB each.
    """

    held_back: HeldBack = HeldBack()
    buffer_records: int = 4096

    def info(self, data_dir: PathLike | None) -> DatasetInfo:
        """Describes the copy; `aad_tf.data.imagenet.info` with the splits of training."""
        ranges = self._ranges(_open(data_dir))
        counts = {split: stop - start for split, (_, start, stop) in ranges.items()}
        return dataclasses.replace(imagenet.info(data_dir), num_examples=counts)

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Single examples in the stored order, as they are evaluated."""
        builder = _open(data_dir)
        parse = parser(builder)

        def example(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            jpeg, label = parse(record)
            return central_picture(jpeg, _side(0)), label

        records = stored_records(file_parts(builder, *self._ranges(builder)[split]))
        return records.map(example, tf.data.AUTOTUNE, deterministic=True)

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Each example once, in the stored order; a worker decodes those of its slices alone."""
        builder = _open(data_dir)
        stored, begin, end = self._ranges(builder)[request.split]
        start, stop = request.span(end - begin)
        cut = SharedEpoch(stop - start, request.batch_size, request.share)
        parse, side = parser(builder), _side(request.image_size)

        def example(element: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, ...]:
            jpeg, label = parse(record)
            return element, central_picture(jpeg, side), label

        parts = file_parts(builder, stored, begin + start, begin + stop)
        records = stored_records(parts).enumerate()
        placed = records.map(lambda place, record: (cut.element_at(place), record))
        own = placed.filter(lambda element, _: element >= 0)
        examples = own.map(example, tf.data.AUTOTUNE, deterministic=True)
        batches = in_batches_of(examples, lambda element: cut.slice_of(element).size)
        elements = tf.data.experimental.assert_cardinality(cut.steps * request.share.count)
        # One batch ahead and no more: photographs are large, and memory must not grow.
        return batches.apply(elements).prefetch(1)

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Endless batches; each replica fed has a stream of its own."""
        builder, share = _open(data_dir), request.share
        stored, _, present = self._ranges(builder)["train"]
        count = min(present, request.limit or present)
        parse, side = parser(builder), _side(request.image_size)

        def example(record: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            jpeg, label = parse(record)
            return changed_picture(jpeg, request.augmentation, key, side), label

        streams = []
        for replica in range(share.first, share.first + share.count):
            ranges = replica_parts(count, request.batch_size, replica, share.total)
            parts = [file_parts(builder, stored, *range_) for range_ in ranges]
            cut = SharedEpoch(count, request.batch_size, ReplicaShare(replica, total=share.total))
            stream = ReplicaStream(request, cut, parts, self.buffer_records)
            streams.append(stream.batches(example))
        return alternating(streams).prefetch(1)

    def _ranges(self, builder: Any) -> dict[str, tuple[str, int, int]]:
        """TFDS's split, first example and end of "train", "validation" and "test"."""
        splits = builder.info.splits
        train, test = splits["train"].num_examples, splits["validation"].num_examples
        kept = min(self.held_back.examples, train // self.held_back.one_in)
        if not kept:
            raise ValueError(
                f"{imagenet.NAME} in {builder.data_path} has {train} training images, too few to "
                f"hold one in {self.held_back.one_in} back for validation."
            )
        return {
            "train": ("train", 0, train - kept),
            "validation": ("train", train - kept, train),
            "test": ("validation", 0, test),
        }


def _open(data_dir: PathLike | None) -> Any:
    """Opens a copy that has what training needs."""
    builder = imagenet.open_builder(data_dir)
    for split, archive in (("train", "img_train"), ("validation", "img_val")):
        if split not in builder.info.splits or not builder.info.splits[split].num_examples:
            raise DatasetNotFoundError(
                f"{imagenet.NAME} in {builder.data_path} has no {split} images. Put "
                f"ILSVRC2012_{archive}.tar from image-net.org into <data_dir>/downloads/manual and "
                f"prepare it again with `tfds build {imagenet.NAME} --overwrite`."
            )
    return builder


def _side(image_size: int) -> int:
    return image_size or imagenet.IMAGE_SIZE[0]
