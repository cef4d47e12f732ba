"""Divides an epoch into global batches, and each global batch into one slice per replica.

A *slice* is the part of a global batch that one replica processes. (A *shard*, see
`aad_tf.evaluation.shard_range`, is a part of a data set that is evaluated in a run of its own.)

The slices of a batch are contiguous; their sizes differ by at most one, the larger ones first, as
those of `numpy.array_split`. The last batch of an epoch may be shorter than the others. If it has
fewer examples than there are replicas, it is joined to the batch before, so that every replica has
an example in every step and each example is used once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.utils.checks import check_count


@dataclass(frozen=True)
class ReplicaRange:
    """The replicas that one input pipeline gives data to: a range of those of all workers.

    They are `count` of the replicas of all workers, from number `first` on. Each of them gets a
    slice of every batch.

    Attributes:
        first: number of the first of these replicas, from 0.
        count: how many replicas the pipeline provides with data, at least 1.
        total: number of replicas of all workers together.

    Raises:
        TypeError: numbers that are not integers.
        ValueError: a negative number, a count or total below 1, or more replicas than `total`.

    Example:
        >>> ReplicaRange(first=2, count=2, total=4)  # the second of two workers with two GPUs
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
WHOLE = ReplicaRange()


def steps_per_epoch(num_examples: int, batch_size: int, replicas: int = 1) -> int:
    """Returns the number of global batches of an epoch.

    Args:
        num_examples: number of examples of the epoch.
        batch_size: examples per batch of all replicas together.
        replicas: number of replicas that share each batch.

    Returns:
        ceil(num_examples / batch_size); one less if the last batch would have fewer examples than
        there are replicas, since it is then joined to the batch before.

    Raises:
        TypeError: numbers that are not integers.
        ValueError: numbers below 1, or a batch size or number of examples below the number of
            replicas.

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
    """Returns the number of examples of a batch that one replica gets.

    Args:
        size: number of examples of the batch, an int or a tensor.
        replica: number of the replica, from 0, an int or a tensor.
        replicas: number of replicas.

    Returns:
        `size / replicas` rounded up for the first replicas and down for the others, as
        `numpy.array_split` divides; of the type of the arguments.

    Example:
        >>> [slice_size(8, replica, 3) for replica in range(3)]
        [3, 3, 2]
    """
    return (size + replicas - 1 - replica) // replicas


class Slice(NamedTuple):
    """The part of a global batch that one replica gets; all attributes are int64 scalar tensors.

    Attributes:
        step: number of the batch in its epoch, from 0.
        batch_start: index of the batch's first example in the epoch.
        start: index of the slice's first example in the batch.
        size: number of examples of the slice.
        batch_size: number of examples of the batch.
    """

    step: tf.Tensor
    batch_start: tf.Tensor
    start: tf.Tensor
    size: tf.Tensor
    batch_size: tf.Tensor

    @property
    def indices(self) -> slice:
        """The indices in the epoch of the replica's examples of this batch, a slice of tensors."""
        start = self.batch_start + self.start
        return slice(start, start + self.size)


@dataclass(frozen=True)
class SlicedEpoch:
    """Which examples of an epoch one worker gets, and in which order.

    Every replica gets a slice of every global batch. An *element* of the worker's data set is one
    such slice of one of its replicas. Elements are numbered from 0: first those of the first batch
    in the order of the replicas, then those of the second batch, and so on.

    Attributes:
        num_examples: number of examples of the epoch.
        batch_size: examples per batch of all replicas together.
        replicas: a `ReplicaRange`, which says which replicas this worker has: the number of the
            first, how many, and how many all workers have together.

    Raises:
        TypeError: numbers that are not integers.
        ValueError: numbers below 1, or a batch size or number of examples below the number of all
            replicas.
    """

    num_examples: int
    batch_size: int
    replicas: ReplicaRange

    def __post_init__(self) -> None:
        steps_per_epoch(self.num_examples, self.batch_size, self.replicas.total)

    @property
    def steps(self) -> int:
        """Number of global batches of the epoch."""
        return steps_per_epoch(self.num_examples, self.batch_size, self.replicas.total)

    def drawing(self, epoch: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns a number that identifies a batch of all epochs, to seed its random numbers.

        Args:
            epoch: number of the epoch, int64 scalar, from 0.
            step: number of the batch in the epoch, int64 scalar, from 0.

        Returns:
            int64 scalar: `epoch` times the batches of an epoch on a single replica, plus `step`. It
            does not depend on the number of replicas.
        """
        return epoch * steps_per_epoch(self.num_examples, self.batch_size) + step

    def slice_of(self, element: tf.Tensor) -> Slice:
        """Returns which examples an element of the worker's data set consists of.

        An element is the part of one global batch that one of the worker's replicas gets. Elements
        are numbered batch by batch, and within a batch in the order of the replicas.

        Args:
            element: number of the element, int64 scalar, from 0.

        Returns:
            A `Slice` of int64 scalar tensors: the number of the batch, the index of its first
            example in the epoch, its size, and the start within the batch and the size of the
            element.
        """
        step = element // self.replicas.count
        replica = self.replicas.first + element % self.replicas.count
        first, size = self._batch(step)
        total = self.replicas.total
        start = replica * (size // total) + tf.minimum(replica, size % total)
        return Slice(step, first, start, slice_size(size, replica, total), size)

    def element_at(self, index: tf.Tensor) -> tf.Tensor:
        """Returns the number of the worker's element that an example belongs to.

        An element is the part of one global batch that one of the worker's replicas gets. Elements
        are numbered batch by batch, and within a batch in the order of the replicas.

        Args:
            index: index of the example in the epoch, int64 scalar, from 0.

        Returns:
            int64 scalar, from 0; -1 if the example belongs to another worker.
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
    """Divides the stored examples into one contiguous part per replica, other ones in each epoch.

    The part of a replica has as many examples as it processes in the epoch: `num_examples /
    replicas`, rounded up or down, if the batch size is divisible by the number of replicas.

    Args:
        num_examples: number of examples of the split.
        batch_size: examples per batch of all replicas together.
        replica: number of the replica whose parts are returned, from 0.
        replicas: number of replicas.

    Returns:
        For each of the epochs 0 to `replicas - 1` the index of the part's first example and the
        index after its last; later epochs repeat these. In every epoch the parts of all replicas
        together are the split.

    Raises:
        TypeError: numbers of examples, batch or replicas that are not integers.
        ValueError: one of them is below 1, or there are fewer examples, per epoch or per batch,
            than replicas.

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
