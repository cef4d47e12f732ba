"""Records of prepared files as streams: in a repeatable order, undecoded, little in memory.

`replica_batches` makes the endless stream of one replica that reads its own part of a data set too
large for memory.
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
    """Parts of files that follow one another.

    Attributes:
        paths: string `[files]`.
        skip: int64 `[files]`, records left out at the beginning of each.
        take: int64 `[files]`, records read after that.
    """

    paths: tf.Tensor
    skip: tf.Tensor
    take: tf.Tensor


def file_parts(builder: Any, stored: StoredRange) -> FileParts:
    """Returns the parts of files that stored examples are in.

    Args:
        builder: TFDS's builder of a copy in the tfrecord format.
        stored: the examples.

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
    """Records one after the other, as they are stored."""
    return tf.data.Dataset.from_tensor_slices(tuple(parts)).flat_map(_records)


def shuffled_records(parts: FileParts, key: tf.Tensor, buffer_records: int) -> tf.data.Dataset:
    """Records of files in a random order, mixed in a buffer of records as they are stored.

    Args:
        parts: what is read.
        key: int64 `[2]`; the same key gives the same order.
        buffer_records: records the buffer holds, at least 1.

    Returns:
        A finite dataset of serialized examples; files are opened when their turn comes.
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
    """Makes batches of given sizes, in order, of examples that say which batch they belong to.

    Args:
        examples: elements `(number, *example)`: the batch's number, int64 scalar, and the
            example's tensors. Examples of one batch follow one another.
        size_of: from a batch's number to how many examples it has, int64 scalar of at least 1.

    Returns:
        A dataset of `example` with a first axis `batch` before each of its tensors.
    """

    def batch(number: tf.Tensor, window: tf.data.Dataset) -> tf.data.Dataset:
        return window.map(lambda _, *example: example).batch(size_of(number))

    return examples.group_by_window(
        key_func=lambda number, *_: number, reduce_func=batch, window_size_func=size_of
    )


def alternating(streams: Sequence[tf.data.Dataset]) -> tf.data.Dataset:
    """One element of each endless stream in turn."""
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
    """Endless batches of one replica, made of records in a random order.

    The stream begins at `request.start_epoch` and `request.start_step`: the records that lie before
    in that epoch are read again and dropped undecoded, earlier epochs are not read.

    Args:
        request: what is asked for.
        cut: the epoch, cut so that it feeds this replica alone.
        parts: where its examples are in the epochs 0 .. replicas - 1, from which on they repeat;
            see `aad_tf.data.sharding.slices.replica_parts`.
        buffer_records: records mixed.
        example: makes (image, label) of a record and an int64 key `[2]` of random numbers.
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
