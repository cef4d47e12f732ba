"""Reads the serialized examples (records) of files in a repeatable order, with little memory.

`replica_batches` makes the training batches of one replica, which reads its own part of a data set
that is too large for memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.data.prepared import StoredRange
from aad_tf.data.requests import TrainingRequest
from aad_tf.data.sharding.slices import Slice, SlicedEpoch

# Files read in turns, and how many records are taken of one before the next has its turn.
_OPEN_FILES = 16
_TURN = 4
# What random numbers are for; 1 is augmentation, in every source.
_AUGMENTATION = 1
_ORDER = 2


class FileParts(NamedTuple):
    """Consecutive parts of files of records, which are serialized examples.

    Attributes:
        paths: string tensor `[files]`.
        skip: int64 `[files]`, number of records left out at the beginning of each file.
        take: int64 `[files]`, number of records read after them.
    """

    paths: tf.Tensor
    skip: tf.Tensor
    take: tf.Tensor


def file_parts(builder: Any, stored: StoredRange) -> FileParts:
    """Returns the parts of files that hold a range of stored examples.

    Args:
        builder: builder object of TensorFlow Datasets, of a copy in the tfrecord format.
        stored: the range of examples.

    Returns:
        A `FileParts`, in the stored order: `paths`, strings `[files]`, and int64 `[files]`, how
        many examples of each file to `skip` and then to `take`.

    Raises:
        ValueError: a copy in another file format.
    """
    if builder.info.file_format.value != "tfrecord":
        raise ValueError(
            f"{builder.data_path} is stored as {builder.info.file_format.value}, expected "
            f"tfrecord. Prepare it with `tfds build {builder.name} --file_format=tfrecord "
            "--overwrite`."
        )
    found = builder.info.splits[f"{stored.split}[{stored.start}:{stored.stop}]"].file_instructions
    return FileParts(
        tf.constant([str(part.filename) for part in found]),
        tf.constant([part.skip for part in found], tf.int64),
        tf.constant([part.take for part in found], tf.int64),
    )


def stored_records(parts: FileParts) -> tf.data.Dataset:
    """Returns the records in parts of files, in the stored order.

    Args:
        parts: the parts of files that are read: paths, and how many records of each file are left
            out at its beginning and how many are read then.

    Returns:
        A finite dataset of scalar strings, the serialized examples.
    """
    return tf.data.Dataset.from_tensor_slices(tuple(parts)).flat_map(_records)


def shuffled_records(parts: FileParts, key: tf.Tensor, buffer_records: int) -> tf.data.Dataset:
    """Returns records, serialized examples, in a random order.

    The order of the files is shuffled, 16 files are read in turns, and their records are shuffled
    in a buffer.

    Args:
        parts: the parts of files that are read.
        key: int64 `[2]`, random seed; the same key gives the same order.
        buffer_records: number of records in the shuffle buffer, at least 1.

    Returns:
        A finite dataset of records, as scalar strings.
    """
    seeds = tf.random.experimental.stateless_split(key, 2)
    order = tf.random.experimental.stateless_shuffle(
        tf.range(tf.size(parts.paths)), seed=seeds[0], alg="philox"
    )
    files = tf.data.Dataset.from_tensor_slices(tuple(tf.gather(one, order) for one in parts))
    records = files.interleave(
        _records,
        cycle_length=_OPEN_FILES,
        block_length=_TURN,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return _shuffled(records, buffer_records, seeds[1])


def _records(path: tf.Tensor, skip: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(path).skip(skip).take(take)


def _shuffled(dataset: tf.data.Dataset, buffer_size: int, seeds: tf.Tensor) -> tf.data.Dataset:
    """`Dataset.shuffle` by `seeds` alone; its own method also depends on the global seed."""
    variant = tf.raw_ops.ShuffleDatasetV3(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=tf.constant(buffer_size, tf.int64),
        seed=seeds[0],
        seed2=seeds[1],
        seed_generator=tf.raw_ops.DummySeedGenerator(),
        reshuffle_each_iteration=False,
        output_types=[tf.string],
        output_shapes=[tf.TensorShape([])],
    )
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def in_batches_of(
    examples: tf.data.Dataset, size_of: Callable[[tf.Tensor], tf.Tensor]
) -> tf.data.Dataset:
    """Groups numbered examples into batches of given sizes, in their order.

    Args:
        examples: dataset of tuples `(number, *example)`: the number of the example's batch, int64
            scalar, and the tensors of the example. Examples of one batch are consecutive.
        size_of: function from the number of a batch to its number of examples, an int64 scalar of
            at least 1.

    Returns:
        A dataset of batches: the tensors of the examples, with the batch as first axis.
    """

    def batch(number: tf.Tensor, window: tf.data.Dataset) -> tf.data.Dataset:
        return window.map(lambda _, *example: example).batch(size_of(number))

    return examples.group_by_window(
        key_func=lambda number, *_: number, reduce_func=batch, window_size_func=size_of
    )


def alternating(streams: Sequence[tf.data.Dataset]) -> tf.data.Dataset:
    """Combines infinite datasets into one that takes an element of each in turn.

    Args:
        streams: infinite datasets with elements of the same structure, at least one.

    Returns:
        An infinite dataset.
    """
    if len(streams) == 1:
        return streams[0]
    turns = tf.data.Dataset.range(len(streams)).repeat()
    return tf.data.Dataset.choose_from_datasets(streams, turns)


def replica_batches(
    request: TrainingRequest,
    cut: SlicedEpoch,
    parts: Sequence[FileParts],
    buffer_records: int,
    example: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
) -> tf.data.Dataset:
    """Returns the training batches of one replica, made of records in random order, without end.

    Records are serialized examples. Batches begin at `request.start_epoch` and
    `request.start_step`. Earlier records of that epoch are read and dropped without being decoded;
    earlier epochs are not read.

    Args:
        request: the request for training batches, of which seed, first epoch and first step are
            used.
        cut: which examples of an epoch the replica gets, with it as the only one of its worker.
        parts: the parts of files that hold the replica's examples, one entry for each of the epochs
            0 to replicas - 1; later epochs repeat them.
        buffer_records: number of records in the shuffle buffer, at least 1.
        example: function from a record, a scalar string, and an int64 key `[2]`, which seeds the
            augmentation, to (image, label).

    Returns:
        An infinite dataset of (images, labels), with the batch as first axis.
    """
    first_epoch, first_step = request.first_step(cut.steps)
    usual_size = cut.slice_of(tf.constant(0, tf.int64)).size
    counts = tf.constant([len(part.paths) for part in parts], tf.int64)
    starts, ends = tf.cumsum(counts, exclusive=True), tf.cumsum(counts)
    files = FileParts(*(tf.concat(one, axis=0) for one in zip(*parts, strict=True)))

    def key_of(purpose: int, *numbers: tf.Tensor) -> tf.Tensor:
        key = tf.constant([request.seed, purpose], tf.int64)
        for number in numbers:
            key = tf.random.experimental.stateless_fold_in(key, number)
        return key

    def slice_of(number: tf.Tensor) -> Slice:
        return cut.slice_of(number % cut.steps)

    def records(epoch: tf.Tensor) -> tf.data.Dataset:
        rotation = epoch % cut.replicas.total
        now = slice(starts[rotation], ends[rotation])
        key = key_of(_ORDER, epoch, tf.constant(cut.replicas.first, tf.int64))
        return shuffled_records(FileParts(*(one[now] for one in files)), key, buffer_records)

    def numbered(epoch: tf.Tensor) -> tf.data.Dataset:
        """(Batch, counted from the first of the first epoch; index in its slice; record)."""

        def number(index: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, ...]:
            step = tf.minimum(index // usual_size, cut.steps - 1)
            return epoch * cut.steps + step, index - step * usual_size, record

        step = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
        skipped = step * usual_size
        return records(epoch).skip(skipped).enumerate(skipped).map(number)

    def made(number: tf.Tensor, index: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        part = slice_of(number)
        drawing = cut.drawing(number // cut.steps, part.step)
        return number, *example(record, key_of(_AUGMENTATION, drawing, part.start + index))

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(numbered)
    examples = epochs.map(made, tf.data.AUTOTUNE, deterministic=True)
    return in_batches_of(examples, lambda number: slice_of(number).size)
