"""Strategies by name, their input pipelines, and collectives by which workers decide alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.data import ReplicaRange
from aad_tf.distribute.cluster import Cluster
from aad_tf.distribute.connecting import (
    CONNECT_TIMEOUT,
    LOST_AFTER,
    PACK_MEGABYTES,
    connected,
)
from aad_tf.distribute.replicas import is_multi_worker
from aad_tf.utils.checks import check_choice

STRATEGIES = ("none", "mirrored", "multi_worker")


def create_strategy(
    name: str,
    cluster: Cluster | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
    pack_megabytes: float = PACK_MEGABYTES,
    lost_after: float = LOST_AFTER,
) -> tf.distribute.Strategy:
    """Creates the strategy that a network is built and trained under.

    Args:
        name: `"none"`: one device. `"mirrored"`: all GPUs of this machine, or all logical CPU
            devices where there is no GPU. `"multi_worker"`: all workers of `cluster`.
        cluster: the workers, for `"multi_worker"` alone. Every worker must create the strategy
            before it uses TensorFlow for anything else.
        connect_timeout: seconds that TensorFlow may take to connect the workers. After that the
            process ends, and a message on stderr names the workers that cannot be reached.
        pack_megabytes: size of the buckets in which workers exchange gradients, in 2**20 bytes,
            the same on every worker. Each bucket costs an exchange among all workers: with many
            workers, large buckets are faster.
        lost_after: heartbeat timeout in seconds: a worker that sends no heartbeat for so long
            counts as lost, and the others' operations end with an error. The same on every worker.

    Returns:
        A strategy; TensorFlow's default one for `"none"`.

    Raises:
        ValueError: unknown name, `"multi_worker"` without a cluster, `"mirrored"` with a single
            device, or `pack_megabytes` or `lost_after` not positive and finite.
        RuntimeError: `"multi_worker"` after TensorFlow has been used.
        tf.errors.OpError: this worker's port is taken.

    Example:
        >>> with create_strategy("mirrored").scope():
        ...     network = aad_tf.models.build("lenet", (28, 28, 1), 10)
    """
    check_choice(name, STRATEGIES, "strategy")
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return _mirrored()
    if cluster is None:
        raise ValueError("Strategy 'multi_worker' needs a cluster; see find_cluster.")
    return connected(cluster, connect_timeout, pack_megabytes, lost_after)


def _mirrored() -> tf.distribute.Strategy:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(devices) < 2:
        raise ValueError(
            f"Strategy 'mirrored' needs at least two devices, found {len(devices)} {kind}. Use "
            f"--strategy=none, or several processes (python -m train.local_cluster)."
        )
    return tf.distribute.MirroredStrategy(devices)


def distributed(
    strategy: tf.distribute.Strategy,
    batches: Callable[[ReplicaRange], tf.data.Dataset],
    endless: bool = False,
) -> Any:
    """Makes the input pipelines of this process.

    Args:
        strategy: the strategy of training.
        batches: a function that takes the numbers of the replicas that this process feeds, a
            `ReplicaRange`, and returns a data set. Each step takes one element for each of these
            replicas, in their order. `aad_tf.data.training_batches` makes such data sets.
        endless: True says that the data set never ends, so that workers need not agree at each
            step whether it has.

    Returns:
        What `fit` takes: a plain data set with one replica, else a distributed one. Where this
        process feeds several replicas, give `fit` and `evaluate` the number of steps, because Keras
        would count one step for each element.

    Example:
        >>> distributed(strategy, lambda fed: training_batches("mnist", 64, 0, replica_range=fed))
    """
    if strategy.num_replicas_in_sync == 1:
        return batches(ReplicaRange())

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        total = context.num_replicas_in_sync
        local = total // context.num_input_pipelines
        dataset = batches(ReplicaRange(context.input_pipeline_id * local, local, total))
        if endless:
            dataset = dataset.apply(
                tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY)
            )
        return dataset

    return strategy.distribute_datasets_from_function(pipeline)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Says whether this process writes the files of a run.

    Args:
        strategy: the strategy of training.

    Returns:
        True in worker 0, or in the only process there is.

    Example:
        >>> is_chief(tf.distribute.get_strategy())
        True
    """
    return not is_multi_worker(strategy) or strategy.extended._is_chief


def all_workers_equal(strategy: tf.distribute.Strategy, values: Sequence[int]) -> bool:
    """Whether every worker passes the same numbers; all workers must call it, and wait.

    Args:
        strategy: the strategy of training.
        values: integers that fit into 64 bits, equally many on every worker.

    Returns:
        The same answer on every worker; True with a single process.

    Example:
        >>> all_workers_equal(tf.distribute.get_strategy(), [3, 4])
        True
    """
    rows = _gathered(strategy, values)
    return bool((rows == rows[0]).all())


def any_worker(strategy: tf.distribute.Strategy, here: bool) -> bool:
    """Whether a condition is true on at least one worker; all workers must call it, and wait.

    Args:
        strategy: the strategy of training.
        here: whether it is true on this worker.

    Returns:
        The same answer on every worker.

    Example:
        >>> any_worker(tf.distribute.get_strategy(), here=False)
        False
    """
    return bool(_gathered(strategy, [int(here)]).any())


def broadcast_from_chief(
    strategy: tf.distribute.Strategy, values: dict[str, float]
) -> dict[str, float]:
    """Gives every worker the numbers of worker 0; all workers must call it, and wait.

    Args:
        strategy: the strategy of training.
        values: numbers by name, exact in float64; the same names in the same order on every worker.

    Returns:
        The numbers of worker 0 by name; `values` itself with a single process.

    Example:
        >>> strategy = tf.distribute.get_strategy()
        >>> broadcast_from_chief(strategy, {"val_robust_accuracy": 0.875})
        {'val_robust_accuracy': 0.875}
    """
    if not values or not is_multi_worker(strategy):
        return values
    first = _gathered(strategy, list(values.values()), tf.float64)[0]
    return dict(zip(values, map(float, first), strict=True))


def texts_of_workers(strategy: tf.distribute.Strategy, text: str) -> list[str]:
    """Gathers the text that each worker passes; all workers must call it, and wait.

    Args:
        strategy: the strategy of training.
        text: this worker's text, of any length.

    Returns:
        The texts of all workers, in the order of the workers.

    Example:
        >>> texts_of_workers(tf.distribute.get_strategy(), "worker 0 is ready")
        ['worker 0 is ready']
    """
    own = list(text.encode())
    longest = int(_gathered(strategy, [len(own)]).max())
    rows = _gathered(strategy, [len(own), *own, *[0] * (longest - len(own))])
    if is_multi_worker(strategy):
        # Every replica of a worker passes the same.
        rows = rows[:: len(rows) // strategy.cluster_resolver.cluster_spec().num_tasks("worker")]
    return [bytes(row[1 : 1 + row[0]].astype("uint8")).decode() for row in rows]


def _gathered(
    strategy: tf.distribute.Strategy, values: Sequence[float], dtype: tf.DType = tf.int64
) -> np.ndarray:
    """`[replicas, values]`: the values of each replica."""
    local = tf.constant([values], dtype)
    if not is_multi_worker(strategy):
        return local.numpy()
    rows = strategy.run(_gather, args=(local,))
    return strategy.experimental_local_results(rows)[0].numpy()


# One function for all calls, since each new one would be traced.
@tf.function(reduce_retracing=True)
def _gather(local: tf.Tensor) -> tf.Tensor:
    # An argument lies on no device, which a collective needs to know.
    return tf.distribute.get_replica_context().all_gather(tf.identity(local), axis=0)
