"""The endless stream of one replica that reads its own part of a data set too large for memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from aad_tf.data.sharding.requests import TrainingRequest
from aad_tf.data.sharding.shared_epoch import SharedEpoch, Slice
from aad_tf.data.sharding.sharing import slice_bounds
from aad_tf.data.sharding.streaming import FileParts, in_batches_of, shuffled_records

# What random numbers are for; 1 is augmentation, in every source.
_AUGMENTATION = 1
_ORDER = 2


class ReplicaStream:
    """Batches of one replica, made of records in a random order.

    It begins at `request.start_epoch` and `request.start_step`: the records that lie before in that
    epoch are read again and dropped undecoded, earlier epochs are not read.

    Args:
        request: what is asked for.
        cut: the epoch, cut so that it feeds this replica alone.
        parts: where its examples are in the epochs 0 .. replicas - 1, from which on they repeat;
            see `aad_tf.data.sharding.shared_epoch.replica_parts`.
        buffer_records: records mixed.
    """

    def __init__(
        self,
        request: TrainingRequest,
        cut: SharedEpoch,
        parts: Sequence[FileParts],
        buffer_records: int,
    ) -> None:
        self._cut = cut
        self._first = request.first_step(cut.steps)
        self._buffer_records = buffer_records
        start, stop = slice_bounds(cut.batch_size, cut.share.first, cut.share.total)
        self._usual_size = stop - start
        self._seed = tf.constant(request.seed, tf.int64)
        counts = tf.constant([len(part.paths) for part in parts], tf.int64)
        self._starts, self._ends = tf.cumsum(counts, exclusive=True), tf.cumsum(counts)
        self._files = FileParts(*(tf.concat(one, axis=0) for one in zip(*parts, strict=True)))

    def batches(
        self, example: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]
    ) -> tf.data.Dataset:
        """Returns the batches.

        Args:
            example: makes (image, label) of a record and an int64 key `[2]` of random numbers.
        """
        first_epoch, first_step = self._first

        def numbered(epoch: tf.Tensor) -> tf.data.Dataset:
            """(Number of the batch, index in its slice, record) of an epoch."""
            step = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
            skipped = step * self._usual_size
            records = self._records(epoch).skip(skipped).enumerate(skipped)
            return records.map(lambda index, record: (*self._numbered(epoch, index), record))

        def made(number: tf.Tensor, index: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return number, *example(record, self._key(number, index))

        epochs = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(numbered)
        examples = epochs.map(made, tf.data.AUTOTUNE, deterministic=True)
        return in_batches_of(examples, lambda number: self._slice(number).size)

    def _records(self, epoch: tf.Tensor) -> tf.data.Dataset:
        rotation = epoch % self._cut.share.total
        now = slice(self._starts[rotation], self._ends[rotation])
        parts = FileParts(*(one[now] for one in self._files))
        key = self._folded(_ORDER, epoch, tf.constant(self._cut.share.first, tf.int64))
        return shuffled_records(parts, key, self._buffer_records)

    def _numbered(self, epoch: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The batch, counted from the first of the first epoch, and the index in its slice."""
        step = tf.minimum(index // self._usual_size, self._cut.steps - 1)
        return epoch * self._cut.steps + step, index - step * self._usual_size

    def _slice(self, number: tf.Tensor) -> Slice:
        return self._cut.slice_of(number % self._cut.steps)

    def _key(self, number: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        part = self._slice(number)
        drawing = self._cut.drawing(number // self._cut.steps, part.step)
        return self._folded(_AUGMENTATION, drawing, part.start + index)

    def _folded(self, purpose: int, *numbers: tf.Tensor) -> tf.Tensor:
        key = tf.stack([self._seed, tf.constant(purpose, tf.int64)])
        for number in numbers:
            key = tf.random.experimental.stateless_fold_in(key, number)
        return key
