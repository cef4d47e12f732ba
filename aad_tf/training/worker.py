"""One process of a training run: alone, or a worker of a cluster that fails loudly together."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from aad_tf.cluster import Cluster, ClusterError, Control, WorkerLostError, find_cluster, join
from aad_tf.configs import ExperimentConfig
from aad_tf.defenses import DefenseModel
from aad_tf.distribute import (
    PACK_MEGABYTES,
    create_strategy,
    from_chief,
    in_agreement,
    is_chief,
)
from aad_tf.logs import LOGGER
from aad_tf.preemption import PreemptedError, TerminatedError
from aad_tf.results import write_atomically
from aad_tf.run_log import PROGRESS_SECONDS
from aad_tf.training.card import worker_card
from aad_tf.training.run import Callbacks, finished, train

# What a process ends with that hangs after another worker was lost, as train/running.py has it.
_LOST_WORKER = 75
JOIN_TIMEOUT = 300.0
LOST_AFTER = 60.0
# How long TensorFlow may take to notice the loss itself before the process is ended.
_GRACE = 15.0
# In which a worker's end is known if it came first.
_MOMENT = 2.0
_CONNECT_TIMEOUT = 30.0
# Where in the graph it was, and how many errors came of it.
_NOISE = (
    "Graph execution error",
    "Detected at node",
    "File ",
    "[[",
    "Additional GRPC",
    "0 successful",
    "0 derived",
)
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

    Before training, workers meet and compare configs and versions. While it goes on, the loss of a
    worker is noticed at once if its process dies and after `lost_after` seconds if it hangs or the
    network breaks; every other worker then ends with an error that names it, for the launcher to
    start all of them again.

    Args:
        strategy: `"none"`, `"mirrored"` or `"multi_worker"`, which finds its cluster with
            `aad_tf.cluster.find_cluster`.
        config, model_dir, data_dir, callbacks, progress_seconds: as `train`.
        join_timeout: seconds to wait for the other workers to start.
        lost_after: seconds without a sign of life after which a worker is lost.
        pack_megabytes: as `aad_tf.distribute.create_strategy`.

    Returns:
        The trained defence.

    Raises:
        ClusterError: no cluster, a worker that does not come, or one of another config, version
            or model directory.
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
    # A worker that is started again behind the end of a run would wait for the others in vain.
    trained = finished(config, model_dir, data_dir)
    if trained is not None:
        return trained
    cluster = find_cluster()
    _check_own_port(cluster)
    over = threading.Event()
    control = join(
        cluster,
        worker_card(config, pack_megabytes),
        join_timeout=join_timeout,
        lost_after=lost_after,
        on_lost=partial(_end_process, over),
    )
    # Silence while TensorFlow connects must not be taken for a loss.
    connecting = min(lost_after / 2, _CONNECT_TIMEOUT)
    try:
        with _watched(control, _GRACE):
            chosen = create_strategy(strategy, cluster, connecting, pack_megabytes)
        with _watched(control, lost_after + _GRACE):
            _check_shared(chosen, cluster, Path(model_dir), min(join_timeout, 120.0))
            model = train(config, model_dir, strategy=chosen, **arguments)
        control.leave()
        return model
    finally:
        over.set()


def _check_own_port(cluster: Cluster) -> None:
    """Refuses a port that something else holds, before other workers wait for this one."""
    host, _, port = cluster.addresses[cluster.index].rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(("", int(port)))
        except OSError as error:
            raise ClusterError(
                f"Port {port} of {cluster.name(cluster.index)} cannot be used: {error.strerror}. "
                f"Is an earlier run still there? Otherwise give this worker another port."
            ) from error


@contextlib.contextmanager
def _watched(control: Control, patience: float) -> Iterator[None]:
    """Tells the others of an error, and says who was lost when that made TensorFlow fail.

    Args:
        control: of this worker.
        patience: seconds until a loss must have become known.
    """
    try:
        yield
    except PreemptedError:
        control.leave()
        raise
    except TerminatedError as error:
        control.fail(_first_line(error))
        raise
    except (tf.errors.OpError, RuntimeError) as error:
        # Most errors of collectives come of a lost worker; which one, the control knows.
        lost = control.wait_lost(patience if _collective(error) else _MOMENT)
        if lost is None:
            control.fail(_first_line(error))
            raise
        raise WorkerLostError(f"{lost} Start all workers again to resume.") from error
    except BaseException as error:
        control.fail(_first_line(error))
        raise


def _first_line(error: BaseException) -> str:
    """What happened; errors of TensorFlow's graphs say it in their last lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, tf.errors.OpError):
        told = [line for line in lines if not line.startswith(_NOISE)]
        lines = told[-1:] or lines
    return (lines or [type(error).__name__])[0][:500]


def _collective(error: Exception) -> bool:
    """Whether an error may come of another worker's end."""
    kinds = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
        tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError,
    )
    return isinstance(error, kinds)


def _end_process(over: threading.Event, message: str) -> None:
    """Ends a process that hangs in a collective because another worker was lost."""
    if over.wait(_GRACE):
        return
    LOGGER.error("%s Start all workers again to resume.", message)
    os._exit(_LOST_WORKER)


def _check_shared(
    strategy: tf.distribute.Strategy, cluster: Cluster, directory: Path, seconds: float
) -> None:
    """Makes sure that all workers see one model directory; what is new may take its time."""
    token = from_chief(strategy, secrets.randbits(62))
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
    in_agreement(strategy, [0])
    if is_chief(strategy):
        path.unlink(missing_ok=True)


def _holds(path: Path, token: int) -> bool:
    try:
        return path.read_text(encoding="utf-8") == str(token)
    except FileNotFoundError:
        return False
