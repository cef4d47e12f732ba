"""Records of prepared files as streams: in a repeatable order, undecoded, little in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.data.sharding.requests import StoredRange

# Files read in turns, and how many records are taken of one before the next has its turn.
_OPEN_FILES = 16
_TURN = 4


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
    """Makes batches of given sizes.

    Args:
        examples: (int64 number of the batch, *example), those of a batch following one another.
        size_of: gives a batch's int64 size, at least 1, of its number.

    Returns:
        A dataset of batched examples without their number.
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
