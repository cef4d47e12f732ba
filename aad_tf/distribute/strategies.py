"""Strategies by name, and what processes of one training run ask each other."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from aad_tf.checks import near_names
from aad_tf.cluster import Cluster
from aad_tf.distribute.replicas import is_multi_worker

STRATEGIES = ("none", "mirrored", "multi_worker")
# Gradients of InceptionV3 travelled about a fifth faster between two workers in packs of this size
# than in one piece, and packs can leave before the last gradient is known.
_BYTES_PER_PACK = 8 * 2**20


def create_strategy(name: str, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """Creates the strategy that a network is built and trained under.

    Args:
        name: `"none"`: one device. `"mirrored"`: all GPUs of this machine, or all logical CPU
            devices where there is no GPU. `"multi_worker"`: all workers of `cluster`.
        cluster: of `"multi_worker"`; every worker must create the strategy, before anything else
            of TensorFlow runs.

    Returns:
        A strategy; TensorFlow's default one for `"none"`.

    Raises:
        ValueError: unknown name, no cluster, or a single device to mirror.

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
    # TensorFlow reads the cluster from here, whatever it was found by.
    os.environ["TF_CONFIG"] = cluster.tf_config()
    options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=_BYTES_PER_PACK)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


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


def from_chief(strategy: tf.distribute.Strategy, value: int) -> int:
    """The number that the chief holds; every worker must ask, and waits for the others."""
    return int(_gathered(strategy, [value])[0, 0])


def _gathered(strategy: tf.distribute.Strategy, values: Sequence[int]) -> np.ndarray:
    """int64 `[replicas, values]`: what each replica holds."""
    own = tf.constant([values], tf.int64)
    if not is_multi_worker(strategy):
        return own.numpy()
    rows = strategy.run(_gather, args=(own,))
    return strategy.experimental_local_results(rows)[0].numpy()


# One function for all calls, since each new one would be traced.
@tf.function(reduce_retracing=True)
def _gather(own: tf.Tensor) -> tf.Tensor:
    # An argument lies on no device, which a collective needs to know.
    return tf.distribute.get_replica_context().all_gather(tf.identity(own), axis=0)
