"""An epoch cut into batches, and these into the slices of the replicas that one worker feeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from aad_tf.data.sharding.sharing import ReplicaShare, batch_bounds, slice_bounds, steps_per_epoch


class Slice(NamedTuple):
    """A replica's part of a batch; int64 tensors.

    Attributes:
        step: number of the batch in its epoch.
        batch_start: index of the batch's first example in the epoch.
        start: index of the slice's first example in the batch.
        size: examples of the slice.
        batch_size: examples of the batch.
    """

    step: tf.Tensor
    batch_start: tf.Tensor
    start: tf.Tensor
    size: tf.Tensor
    batch_size: tf.Tensor

    @property
    def indices(self) -> slice:
        """The indices of the slice's examples in the epoch."""
        start = self.batch_start + self.start
        return slice(start, start + self.size)


@dataclass(frozen=True)
class SharedEpoch:
    """What a worker is given of an epoch: per-replica slices, by batch and then by replica.

    Attributes:
        num_examples: examples of the epoch.
        batch_size: examples per batch of all replicas together.
        share: the replicas fed.

    Raises:
        ValueError: as `steps_per_epoch`.
    """

    num_examples: int
    batch_size: int
    share: ReplicaShare

    def __post_init__(self) -> None:
        steps_per_epoch(self.num_examples, self.batch_size, self.share.total)

    @property
    def steps(self) -> int:
        """Batches of the epoch."""
        return steps_per_epoch(self.num_examples, self.batch_size, self.share.total)

    def drawing(self, epoch: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """The number a batch's random numbers are drawn from.

        It does not depend on whether the last batch joins the one before.
        """
        return epoch * steps_per_epoch(self.num_examples, self.batch_size) + step

    def slice_of(self, element: tf.Tensor) -> Slice:
        """The slice that an element (int64, from 0) is."""
        step = element // self.share.count
        replica = self.share.first + element % self.share.count
        first, end = batch_bounds(step, self.num_examples, self.batch_size, self.share.total)
        start, stop = slice_bounds(end - first, replica, self.share.total)
        return Slice(step, first, start, stop - start, end - first)

    def element_at(self, index: tf.Tensor) -> tf.Tensor:
        """The element in which an example (int64, from 0) is, or -1 if it is another worker's."""
        step = tf.minimum(index // self.batch_size, self.steps - 1)
        first, end = batch_bounds(step, self.num_examples, self.batch_size, self.share.total)
        fed = replica_at(index - first, end - first, self.share.total) - self.share.first
        local = (fed >= 0) & (fed < self.share.count)
        return tf.where(local, step * self.share.count + fed, -1)


def replica_at(index: tf.Tensor, size: tf.Tensor, replicas: int) -> tf.Tensor:
    """Returns the replica in whose slice an example of a batch lies; undoes `slice_bounds`.

    Args:
        index: int64 index within the batch, from 0 to `size` - 1.
        size: int64, examples of the batch, at least `replicas`.
        replicas: how many slices there are.

    Returns:
        int64 number of the replica.
    """
    smaller, larger_ones = size // replicas, size % replicas
    boundary = larger_ones * (smaller + 1)
    beyond = larger_ones + (index - boundary) // smaller
    return tf.where(index < boundary, index // (smaller + 1), beyond)


def replica_parts(
    num_examples: int, batch_size: int, replica: int, replicas: int
) -> list[tuple[int, int]]:
    """Cuts an epoch into contiguous parts, one per replica, that move on with the epoch.

    A part has as many examples as the replica's slices of all batches: num_examples / replicas,
    rounded up or down, if the replicas divide the batch.

    Args:
        num_examples: examples of the split.
        batch_size: examples per batch of all replicas together.
        replica: whose part is asked for.
        replicas: how many parts there are.

    Returns:
        [start, stop) in the stored order for the epochs 0 .. replicas - 1, from which on they
        repeat. In every epoch the parts of all replicas make up the split.

    Example:
        >>> replica_parts(10, batch_size=4, replica=0, replicas=2)
        [(0, 5), (5, 10)]
    """
    steps = steps_per_epoch(num_examples, batch_size, replicas)
    last = num_examples - (steps - 1) * batch_size
    lengths = []
    for number in range(replicas):
        first, end = slice_bounds(batch_size, number, replicas)
        last_first, last_end = slice_bounds(last, number, replicas)
        lengths.append((steps - 1) * (end - first) + last_end - last_first)
    parts = []
    for epoch in range(replicas):
        before = ((number - epoch) % replicas for number in range((replica + epoch) % replicas))
        start = sum(lengths[number] for number in before)
        parts.append((start, start + lengths[replica]))
    return parts
