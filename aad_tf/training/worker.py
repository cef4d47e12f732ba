"""One process of a training run: a single one, or a worker of a cluster."""

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
    leaving_together,
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
    """Trains a config to its end under a strategy, and exports the network.

    A worker must call this before it uses TensorFlow for anything else. Before training, workers
    wait for each other and compare configs and versions. During training, TensorFlow's coordination
    service notices a worker whose process ends, and after `lost_after` seconds one that hangs or
    cannot be reached. Every other worker then ends with an error that names it, so that a launcher
    can start all workers again; they resume from the last checkpoint.

    Args:
        strategy: `"none"` for one device, `"mirrored"` for all devices of this machine, or
            `"multi_worker"` for the workers that `aad_tf.distribute.find_cluster` finds.
        config: what to train.
        model_dir: directory to which everything about the run is written, the same for all workers.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        callbacks: further Keras callbacks, or a function without arguments that makes them, which
            is called once the strategy exists.
        progress_seconds: least time between two lines of progress, in seconds.
        join_timeout: how long to wait for the other workers to start, in seconds.
        lost_after: seconds without a heartbeat after which a worker counts as lost.
        pack_megabytes: size of the buckets in which workers exchange gradients, in 2**20 bytes.

    Returns:
        The trained defence; its `network` is the classifier.

    Raises:
        AbsentWorkerError: a worker does not start or cannot be connected.
        ClusterError: no cluster, or a worker with another config, version or model directory.
        WorkerLostError: a worker was lost during training.
        ValueError: unknown strategy, a directory of another config or in use, missing data or
            networks, or unreadable checkpoints.
        RuntimeError: TensorFlow was used before the workers were connected.
        FloatingPointError: a loss or weights became NaN or infinite.
        PreemptedError: a SIGTERM came; everything is saved.

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
    together = (PreemptedError, DisagreementError)
    with (
        lost_workers_named(cluster, lost_after, together),
        leaving_together(cluster, together),
    ):
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
