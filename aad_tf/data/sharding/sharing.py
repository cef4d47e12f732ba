"""How replicas share a data set: one global batch, cut into per-replica slices.

A part of an evaluation that runs on its own is something else, a *shard*
(`aad_tf.evaluation.shard_range`); shards are cut between batches, slices within one.

A global batch of n examples is cut into contiguous slices whose sizes differ by at most one,
larger first, as `numpy.array_split` cuts. An epoch's last batch may be short; if it has fewer
examples than there are replicas it joins the batch before, so that every replica always has
something to do and each example is still seen once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.utils.checks import check_count


@dataclass(frozen=True)
class ReplicaShare:
    """The replicas that one input pipeline feeds: `first` .. `first + count - 1` of `total`.

    Attributes:
        first: number of the first replica fed, from 0.
        count: how many replicas are fed, at least 1.
        total: replicas of all workers together.

    Raises:
        TypeError: not integers.
        ValueError: negative numbers, no replica fed, or replicas beyond the last.

    Example:
        >>> ReplicaShare(first=2, count=2, total=4)  # the second of two workers with two GPUs
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
WHOLE = ReplicaShare()


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


def batch_bounds(step: Any, num_examples: int, batch_size: int, replicas: int) -> tuple[Any, Any]:
    """Returns [start, stop) of a step's global batch in the order of its epoch.

    Args:
        step: number of the batch in its epoch, int or int64 tensor.
        num_examples: examples of the split.
        batch_size: examples per batch of all replicas together.
        replicas: replicas that share each batch.

    Returns:
        Two numbers of the kind of `step`.
    """
    start = step * batch_size
    last = step == steps_per_epoch(num_examples, batch_size, replicas) - 1
    if tf.is_tensor(step):
        return start, tf.where(last, tf.constant(num_examples, step.dtype), start + batch_size)
    return start, num_examples if last else start + batch_size


def slice_bounds(size: Any, replica: Any, replicas: int) -> tuple[Any, Any]:
    """Returns [start, stop) of a replica's slice of a batch, as `numpy.array_split` cuts.

    Args:
        size: examples of the batch, int or tensor.
        replica: number of the replica, int or tensor.
        replicas: how many slices there are.

    Returns:
        Two numbers of the kind of `size`.

    Example:
        >>> [slice_bounds(8, replica, 3) for replica in range(3)]
        [(0, 3), (3, 6), (6, 8)]
    """
    smaller, larger_ones = size // replicas, size % replicas
    lesser: Any = min
    if tf.is_tensor(size):
        replica, lesser = tf.cast(replica, size.dtype), tf.minimum
    start = replica * smaller + lesser(replica, larger_ones)
    return start, (replica + 1) * smaller + lesser(replica + 1, larger_ones)
