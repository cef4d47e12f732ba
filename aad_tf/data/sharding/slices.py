"""An epoch cut into global batches, and each of them into per-replica slices.

A part of an evaluation that runs on its own is something else, a *shard*
(`aad_tf.evaluation.shard_range`); shards are cut between batches, slices within one.

A global batch of n examples is cut into contiguous slices whose sizes differ by at most one,
larger first, as `numpy.array_split` cuts. An epoch's last batch may be short; if it has fewer
examples than there are replicas it joins the batch before, so that every replica always has
something to do and each example is still seen once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.utils.checks import check_count


@dataclass(frozen=True)
class ReplicaSlice:
    """The replicas that one input pipeline feeds: `first` .. `first + count - 1` of `total`.

    Attributes:
        first: number of the first replica fed, from 0.
        count: how many replicas are fed, at least 1.
        total: replicas of all workers together.

    Raises:
        TypeError: not integers.
        ValueError: negative numbers, no replica fed, or replicas beyond the last.

    Example:
        >>> ReplicaSlice(first=2, count=2, total=4)  # the second of two workers with two GPUs
    """

    first: int = 0
    count: int = 1
    total: int = 1

    def __post_init__(self) -> None:
        for name, least in (("first", 0), ("count", 1), ("total", 1)):
            check_count(getattr(self, name), name, least)
        if self.first + self.count > self.total:
            raise ValueError(
                f"The replicas fed must be among the {self.total} there are, got {self.count} from "
                f"number {self.first} on (the first has number 0)."
            )


# One replica that gets everything.
WHOLE = ReplicaSlice()


def steps_per_epoch(num_examples: int, batch_size: int, replicas: int = 1) -> int:
    """Returns how many global batches an epoch has.

    Args:
        num_examples: examples of the split.
        batch_size: examples per batch of all replicas together.
        replicas: replicas that share each batch.

    Returns:
        ceil(num_examples / batch_size), or one less when the last batch would have fewer
        examples than there are replicas and joins the batch before.

    Raises:
        TypeError: not integers.
        ValueError: numbers below 1, fewer examples than replicas, or a batch that
            cannot give every replica an example.

    Example:
        >>> steps_per_epoch(1297, 500)
        3
        >>> steps_per_epoch(1001, 500, replicas=2)  # batches of 500 and 501
        2
    """
    for name, value in (
        ("num_examples", num_examples),
        ("batch_size", batch_size),
        ("replicas", replicas),
    ):
        check_count(value, name)
    if batch_size < replicas:
        raise ValueError(
            f"batch_size counts the examples of all replicas: {batch_size} cannot be cut into "
            f"{replicas} slices. Pass a batch_size of at least {replicas}."
        )
    if num_examples < replicas:
        raise ValueError(
            f"{num_examples} examples are too few for {replicas} replicas: each needs one. Use "
            "fewer replicas or more examples."
        )
    full, last = divmod(num_examples, batch_size)
    return full + (last >= replicas or not full)


def slice_size(size: Any, replica: Any, replicas: int) -> Any:
    """Returns how many of a batch's examples a replica's slice has, as `numpy.array_split` cuts.

    Args:
        size: examples of the batch, int or tensor.
        replica: number of the replica, int or tensor.
        replicas: how many slices there are.

    Example:
        >>> [slice_size(8, replica, 3) for replica in range(3)]
        [3, 3, 2]
    """
    return (size + replicas - 1 - replica) // replicas


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
class SlicedEpoch:
    """Which examples of an epoch one worker gets, and in which order.

    Every replica gets a slice of every batch. The worker's stream has one *element* for each slice
    of its replicas: those of the first batch in the order of the replicas, then those of the
    second batch. Elements are numbered from 0.

    Attributes:
        num_examples: examples of the epoch.
        batch_size: examples per batch of all replicas together.
        replicas: the replicas of this worker.

    Raises:
        TypeError: not integers.
        ValueError: numbers below 1, or fewer examples, in the epoch or in a batch, than replicas.
    """

    num_examples: int
    batch_size: int
    replicas: ReplicaSlice

    def __post_init__(self) -> None:
        steps_per_epoch(self.num_examples, self.batch_size, self.replicas.total)

    @property
    def steps(self) -> int:
        """Batches of the epoch."""
        return steps_per_epoch(self.num_examples, self.batch_size, self.replicas.total)

    def drawing(self, epoch: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """The number a batch's random numbers are drawn from.

        It does not depend on whether the last batch joins the one before.
        """
        return epoch * steps_per_epoch(self.num_examples, self.batch_size) + step

    def slice_of(self, element: tf.Tensor) -> Slice:
        """The slice that is the worker's element of this number (int64, from 0)."""
        step = element // self.replicas.count
        replica = self.replicas.first + element % self.replicas.count
        first, size = self._batch(step)
        total = self.replicas.total
        start = replica * (size // total) + tf.minimum(replica, size % total)
        return Slice(step, first, start, slice_size(size, replica, total), size)

    def element_at(self, index: tf.Tensor) -> tf.Tensor:
        """Number of the worker's element that an example (int64, from 0) belongs to.

        It is -1 if the example belongs to another worker.
        """
        step = tf.minimum(index // self.batch_size, self.steps - 1)
        first, size = self._batch(step)
        smaller, larger_ones = size // self.replicas.total, size % self.replicas.total
        index -= first
        boundary = larger_ones * (smaller + 1)
        beyond = larger_ones + (index - boundary) // smaller
        replica = tf.where(index < boundary, index // (smaller + 1), beyond)
        fed = replica - self.replicas.first
        local = (fed >= 0) & (fed < self.replicas.count)
        return tf.where(local, step * self.replicas.count + fed, -1)

    def _batch(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Index of the first example of a batch, and its size."""
        start = step * self.batch_size
        return start, tf.where(step == self.steps - 1, self.num_examples - start, self.batch_size)


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
    full = steps_per_epoch(num_examples, batch_size, replicas) - 1
    last = num_examples - full * batch_size
    lengths = [
        full * slice_size(batch_size, number, replicas) + slice_size(last, number, replicas)
        for number in range(replicas)
    ]
    parts = []
    for epoch in range(replicas):
        before = ((number - epoch) % replicas for number in range((replica + epoch) % replicas))
        start = sum(lengths[number] for number in before)
        parts.append((start, start + lengths[replica]))
    return parts
