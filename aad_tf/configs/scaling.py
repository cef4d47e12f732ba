"""Batch size and learning rate of a config on a number of replicas."""

from __future__ import annotations

import dataclasses

from aad_tf.configs.experiment import ExperimentConfig
from aad_tf.utils.checks import check_count


def for_replicas(config: ExperimentConfig, replicas: int) -> ExperimentConfig:
    """The config with the batch size and learning rate that it has on so many replicas.

    With `replica_batch_size` the global batch is that many examples on each replica, and the
    learning rate is scaled by global batch / `batch_size` (Goyal et al. 2017). Without, the global
    batch is `batch_size` and the learning rate stays, so the number of replicas changes nothing
    but speed.

    Args:
        config: as asked for.
        replicas: devices that train in step.

    Returns:
        The config with `batch_size` and `learning_rate` as they are trained with.

    Raises:
        ValueError: a global batch that does not divide among the replicas, or several steps per
            execution, which Keras 3 runs on one device only.

    Example:
        >>> preset = ExperimentConfig(batch_size=1600, replica_batch_size=32, learning_rate=0.045)
        >>> for_replicas(preset, 50).learning_rate, for_replicas(preset, 2).learning_rate
        (0.045, 0.0018)
    """
    check_count(replicas, "replicas")
    if replicas > 1 and config.steps_per_execution > 1:
        raise ValueError(
            f"Keras 3 cannot run steps_per_execution={config.steps_per_execution} on {replicas} "
            f"replicas. Use --config.steps_per_execution=1."
        )
    if config.replica_batch_size:
        batch_size = config.replica_batch_size * replicas
        rate = config.learning_rate * batch_size / config.batch_size
        return dataclasses.replace(
            config, batch_size=batch_size, learning_rate=rate, replica_batch_size=0
        )
    if config.batch_size % replicas:
        near = max(config.batch_size // replicas, 1)
        raise ValueError(
            f"batch_size {config.batch_size} does not divide among {replicas} replicas. Use "
            f"--config.batch_size={near * replicas}, or --config.replica_batch_size={near} to "
            f"scale the learning rate with the number of replicas."
        )
    return config
