"""Strategies by name, and what processes of one training run ask each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from aad_tf.checks import near_names
from aad_tf.cluster import Cluster
from aad_tf.distribute.connecting import PACK_MEGABYTES, connected
from aad_tf.distribute.replicas import is_multi_worker

STRATEGIES = ("none", "mirrored", "multi_worker")


def create_strategy(
    name: str,
    cluster: Cluster | None = None,
    connect_timeout: float = 30.0,
    pack_megabytes: float = PACK_MEGABYTES,
) -> tf.distribute.Strategy:
    """Creates the strategy that a network is built and trained under.

    Args:
        name: `"none"`: one device. `"mirrored"`: all GPUs of this machine, or all logical CPU
            devices where there is no GPU. `"multi_worker"`: all workers of `cluster`.
        cluster: of `"multi_worker"`; every worker must create the strategy, before anything else
            of TensorFlow runs.
        connect_timeout: seconds that TensorFlow may take to connect the workers; then the process
            ends, naming those that cannot be reached.
        pack_megabytes: size of the packs in which workers exchange gradients, in 2**20 bytes, the
            same on every worker. Each pack costs a round of all workers: with many of them, large
            packs are faster.

    Returns:
        A strategy; TensorFlow's default one for `"none"`.

    Raises:
        ValueError: unknown name, no cluster, a single device to mirror, or packs of no size.
        tf.errors.OpError: this worker's port is taken.

    Example:
        >>> with create_strategy("mirrored").scope():
        ...     network = aad_tf.models.build("lenet", (28, 28, 1), 10)
    """
    if name not in STRATEGIES:
        raise ValueError(f"Unknown strategy {name!r}." + near_names(name, STRATEGIES))
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return _mirrored()
    if cluster is None:
        raise ValueError("Strategy 'multi_worker' needs a cluster; see aad_tf.cluster.")
    return connected(cluster, connect_timeout, pack_megabytes)


def _mirrored() -> tf.distribute.Strategy:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(devices) < 2:
        raise ValueError(
            f"Strategy 'mirrored' needs at least two devices, found {len(devices)} {kind}. Use "
            f"--strategy=none, or several processes (python -m train.local_cluster)."
        )
    return tf.distribute.MirroredStrategy(devices)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of a run; every process but one does not."""
    return not is_multi_worker(strategy) or strategy.extended._is_chief


def in_agreement(strategy: tf.distribute.Strategy, values: Sequence[int]) -> bool:
    """Whether all workers hold the same numbers; every worker must ask, and waits for the others.

    Args:
        strategy: of training.
        values: as many on every worker.
    """
    rows = _gathered(strategy, values)
    return bool((rows == rows[0]).all())


def on_any_worker(strategy: tf.distribute.Strategy, here: bool) -> bool:
    """Whether something holds on any worker; every worker must ask, and waits for the others.

    Args:
        strategy: of training.
        here: whether it holds on this worker.
    """
    return bool(_gathered(strategy, [int(here)]).any())


def from_chief(strategy: tf.distribute.Strategy, value: int) -> int:
    """The number that the chief holds; every worker must ask, and waits for the others."""
    return int(_gathered(strategy, [value])[0, 0])


def numbers_of_chief(
    strategy: tf.distribute.Strategy, values: dict[str, float]
) -> dict[str, float]:
    """The numbers that the chief measured, for all workers to decide alike.

    Args:
        strategy: of training.
        values: the same names on every worker.
    """
    if not values or not is_multi_worker(strategy):
        return values
    first = _gathered(strategy, list(values.values()), tf.float64)[0]
    return dict(zip(values, map(float, first), strict=True))


def _gathered(
    strategy: tf.distribute.Strategy, values: Sequence[float], dtype: tf.DType = tf.int64
) -> np.ndarray:
    """`[replicas, values]`: what each replica holds."""
    own = tf.constant([values], dtype)
    if not is_multi_worker(strategy):
        return own.numpy()
    rows = strategy.run(_gather, args=(own,))
    return strategy.experimental_local_results(rows)[0].numpy()


# One function for all calls, since each new one would be traced.
@tf.function(reduce_retracing=True)
def _gather(own: tf.Tensor) -> tf.Tensor:
    # An argument lies on no device, which a collective needs to know.
    return tf.distribute.get_replica_context().all_gather(tf.identity(own), axis=0)
