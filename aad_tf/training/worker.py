"""One process of a training run: alone, or a worker of a cluster that fails loudly together."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from aad_tf.configs import ExperimentConfig
from aad_tf.defenses import DefenseModel
from aad_tf.distribute import (
    LOST_AFTER,
    PACK_MEGABYTES,
    AbsentWorkerError,
    Cluster,
    ClusterError,
    all_workers_equal,
    broadcast_from_chief,
    create_strategy,
    find_cluster,
    is_chief,
    lost_workers_named,
    wait_for_workers,
)
from aad_tf.training.agreement import (
    DisagreementError,
    check_same_on_all_workers,
    worker_spec,
)
from aad_tf.training.preemption import PreemptedError
from aad_tf.training.run import Callbacks, load_finished, train
from aad_tf.training.run_log import PROGRESS_SECONDS
from aad_tf.utils.files import write_atomically

JOIN_TIMEOUT = 300.0
_SHARED_FILE = ".shared_by_all_workers"


def train_with(
    strategy: str,
    config: ExperimentConfig,
    model_dir: str | os.PathLike[str],
    *,
    data_dir: str | None = None,
    callbacks: Callbacks = (),
    progress_seconds: float = PROGRESS_SECONDS,
    join_timeout: float = JOIN_TIMEOUT,
    lost_after: float = LOST_AFTER,
    pack_megabytes: float = PACK_MEGABYTES,
) -> DefenseModel:
    """Trains a config under a strategy; must be the first thing a worker does with TensorFlow.

    Before training, workers wait for each other and compare configs and versions. While it goes on,
    TensorFlow's coordination service notices when a worker's process ends, and after `lost_after`
    seconds when it hangs or the network breaks; every other worker then ends with an error that
    names it, for the launcher to start all of them again.

    Args:
        strategy: `"none"`, `"mirrored"` or `"multi_worker"`, which finds its cluster with
            `aad_tf.distribute.find_cluster`.
        config, model_dir, data_dir, callbacks, progress_seconds: as `train`.
        join_timeout: seconds to wait for the other workers to start.
        lost_after: seconds without a heartbeat after which a worker is lost.
        pack_megabytes: as `aad_tf.distribute.create_strategy`.

    Returns:
        The trained defence.

    Raises:
        AbsentWorkerError: a worker that does not start or cannot be connected.
        ClusterError: no cluster, or a worker of another config, version or model directory.
        WorkerLostError: a worker was lost while training went on.
        ValueError, FloatingPointError, PreemptedError: as `train`.

    Example:
        >>> train_with("mirrored", ExperimentConfig(dataset="digits"), "runs/digits")
    """
    arguments: dict[str, Any] = {
        "data_dir": data_dir,
        "callbacks": callbacks,
        "progress_seconds": progress_seconds,
    }
    if strategy != "multi_worker":
        return train(config, model_dir, strategy=create_strategy(strategy), **arguments)
    # A worker that is started again after the end of a run would wait for the others in vain.
    trained = load_finished(config, model_dir, data_dir)
    if trained is not None:
        return trained
    cluster = find_cluster()
    spec = worker_spec(config, pack_megabytes, lost_after)
    wait_for_workers(cluster, join_timeout)
    chosen = _connect(cluster, pack_megabytes, lost_after)
    with lost_workers_named(cluster, lost_after, together=(PreemptedError, DisagreementError)):
        check_same_on_all_workers(chosen, cluster, spec)
        _check_shared(chosen, cluster, Path(model_dir), min(join_timeout, 120.0))
        return train(config, model_dir, strategy=chosen, **arguments)


def _connect(cluster: Cluster, pack_megabytes: float, lost_after: float) -> tf.distribute.Strategy:
    try:
        return create_strategy(
            "multi_worker", cluster, pack_megabytes=pack_megabytes, lost_after=lost_after
        )
    except tf.errors.OpError as error:
        # Another one has just ended, for example, or one of the run before has not ended yet.
        raise AbsentWorkerError(
            f"{cluster.name(cluster.index)} could not be connected to the others: "
            f"{error.message} Start all workers again to resume."
        ) from error


def _check_shared(
    strategy: tf.distribute.Strategy, cluster: Cluster, directory: Path, seconds: float
) -> None:
    """Makes sure that all workers see one model directory; what is new may take its time."""
    # A float64 holds 52 bits exactly.
    token = int(broadcast_from_chief(strategy, {"token": secrets.randbits(52)})["token"])
    # Another launch in the same directory has another file.
    path = directory / f"{_SHARED_FILE}_{token}"
    if is_chief(strategy):
        directory.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as file:
            file.write(str(token).encode())
    deadline = time.monotonic() + seconds
    while not _holds(path, token):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{cluster.name(cluster.index)} does not see what {cluster.name(0)} writes into "
                f"{directory}. Every worker needs the same --model_dir on storage that all "
                f"machines share."
            )
        time.sleep(0.2)
    all_workers_equal(strategy, [0])
    if is_chief(strategy):
        path.unlink(missing_ok=True)


def _holds(path: Path, token: int) -> bool:
    try:
        return path.read_text(encoding="utf-8") == str(token)
    except FileNotFoundError:
        return False
