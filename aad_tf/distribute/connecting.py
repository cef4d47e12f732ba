"""Connecting the workers of a cluster to one strategy in limited time, and leaving it together."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import itertools
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.python.eager import context

from aad_tf.distribute import probe
from aad_tf.distribute.cluster import Cluster

LOGGER = logging.getLogger(__name__)
# Gradients of InceptionV3 travelled about a fifth faster between two workers in buckets of this
# size than in one piece, and buckets can leave before the last gradient is known.
PACK_MEGABYTES = 8.0
# TensorFlow's own default. Longer would not help a worker that computes for long, because
# heartbeats come from a separate thread; it only helps one that is suspended or cut off.
LOST_AFTER = 10.0
CONNECT_TIMEOUT = 60.0
# Workers leave after the same step, so it takes moments unless one of them is gone.
LEAVE_TIMEOUT = 60.0
# What binaries end with after another worker was lost.
_LOST_WORKER = os.EX_TEMPFAIL
# Every context that is left has keys of its own, with the same number on all workers.
_LEAVINGS = itertools.count()


def connected(
    cluster: Cluster,
    seconds: float = CONNECT_TIMEOUT,
    pack_megabytes: float = PACK_MEGABYTES,
    lost_after: float = LOST_AFTER,
) -> tf.distribute.Strategy:
    """Creates the TensorFlow strategy of all workers of a cluster; every worker calls this.

    Args:
        cluster: the workers, and which of them this process is.
        seconds: how long TensorFlow may take to connect the workers. After that a message on stderr
            names the workers that cannot be reached, and five seconds later the process ends with
            code 75 (1 where the system is not Linux, or its C library lacks POSIX timers).
        pack_megabytes: size of the buckets in which workers exchange gradients, in 2**20 bytes.
        lost_after: seconds without a heartbeat after which a worker counts as lost; the value of
            worker 0 holds for all.

    Returns:
        A `tf.distribute.MultiWorkerMirroredStrategy`.

    Raises:
        RuntimeError: TensorFlow created a tensor or ran an operation before.
        ValueError: `pack_megabytes` or `lost_after` is not positive and finite.
        tf.errors.OpError: this worker's port is taken.
    """
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=bucket_bytes(pack_megabytes)
    )
    _set_heartbeat_timeout(cluster, lost_after)
    try:
        with _limited(cluster, seconds):
            return tf.distribute.MultiWorkerMirroredStrategy(_Resolver(cluster), options)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise RuntimeError(
            "Something of TensorFlow ran before the workers were connected, such as callbacks or "
            "data that hold tensors. Make them afterwards: train_with takes a function that makes "
            "callbacks."
        ) from error


@contextlib.contextmanager
def leaving_together(
    cluster: Cluster,
    together: tuple[type[BaseException], ...] = (),
    seconds: float = LEAVE_TIMEOUT,
) -> Iterator[None]:
    """Keeps this worker from leaving the context while another one still works in it.

    A collective operation ends on one worker a little earlier than on the next, which may still
    fetch its part from the first. If the first worker's process ended at once, the others would
    take it for lost, although all work was done.

    What this worker did is complete when it begins to wait, so the wait raises nothing: if another
    worker does not come in time, or is lost, a warning is logged.

    Args:
        cluster: the workers, and which of them this process is; all must be connected.
        together: types of errors that all workers raise after the same step. Workers wait for each
            other after these, too; after any other error this worker leaves at once.
        seconds: how long the wait may take.

    Example:
        >>> with lost_workers_named(cluster, lost_after=10.0), leaving_together(cluster):
        ...     model.fit(dataset)
    """
    try:
        yield
    except together:
        _wait_for_leavers(cluster, seconds)
        raise
    _wait_for_leavers(cluster, seconds)


def _wait_for_leavers(cluster: Cluster, seconds: float) -> None:
    if cluster.size == 1:
        return
    name = f"aad_tf/leave_{next(_LEAVINGS)}"
    deadline = time.monotonic() + seconds
    try:
        _set_value(f"{name}/arrived/{cluster.index}")
        for index in range(cluster.size):
            _wait_for_value(f"{name}/arrived/{index}", deadline)
        # The service is part of worker 0, which must not end before the others have been answered.
        _set_value(f"{name}/left/{cluster.index}")
        for index in range(cluster.size) if cluster.index == 0 else ():
            _wait_for_value(f"{name}/left/{index}", deadline)
    except tf.errors.OpError as error:
        LOGGER.warning("This worker leaves without the others: %s", error.message.splitlines()[0])


def _set_value(key: str) -> None:
    context.context().set_config_key_value(key, "yes")


def _wait_for_value(key: str, deadline: float) -> None:
    """Waits until a worker has set a value; in short calls, between which signals are handled."""
    while True:
        try:
            context.context().get_config_key_value(key, 500)
            return
        except tf.errors.DeadlineExceededError:
            if time.monotonic() > deadline:
                raise


def bucket_bytes(megabytes: float) -> int:
    """Converts the size of a gradient bucket to bytes.

    Args:
        megabytes: in units of 2**20 bytes.

    Returns:
        Bytes, rounded up.

    Raises:
        ValueError: not positive and finite.
    """
    if not 0.0 < megabytes < math.inf:
        raise ValueError(f"pack_megabytes must be positive and finite, got {megabytes}.")
    return math.ceil(megabytes * 2**20)


class _Resolver(tf.distribute.cluster_resolver.TFConfigClusterResolver):
    """Gives a cluster to TensorFlow, whatever it was found by; TF_CONFIG is neither read nor set.

    Derived from the resolver of TF_CONFIG since the strategy takes all of a machine's GPUs for that
    one alone, and asks others how many they want before it can be known.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(task_type="worker", task_id=cluster.index, rpc_layer="grpc")
        self._cluster = cluster

    def cluster_spec(self) -> tf.train.ClusterSpec:
        return tf.train.ClusterSpec({"worker": list(self._cluster.addresses)})


def _set_heartbeat_timeout(cluster: Cluster, seconds: float) -> None:
    """Configures the coordination service as MultiWorkerMirroredStrategy does, with a timeout.

    The strategy leaves a service alone that is configured already. There is no public way.
    """
    if not 0.0 < seconds < math.inf:
        raise ValueError(f"lost_after must be a positive number of seconds, got {seconds}.")
    config = tf.compat.v1.ConfigProto().experimental.coordination_config
    config.coordinated_job_list.add(name="worker", num_tasks=cluster.size)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        heartbeat_timeout_in_ms=math.ceil(1000 * seconds),
        coordinated_jobs=list(config.coordinated_job_list),
    )


@contextlib.contextmanager
def _limited(cluster: Cluster, seconds: float) -> Iterator[None]:
    """Ends this process if the context takes longer.

    TensorFlow waits without end for a worker that has died, and holds Python's lock meanwhile: no
    thread and no signal handler of this process runs, but a watchdog in C and another process do.
    """
    others = [index for index in range(cluster.size) if index != cluster.index]
    pairs = [text for index in others for text in (cluster.name(index), cluster.addresses[index])]
    command = [sys.executable, "-I", str(Path(probe.__file__)), str(seconds), *pairs]
    with subprocess.Popen(command) as reporter:
        try:
            # After the time in which the other process says who is missing.
            with _ended_after(seconds + probe.SECONDS):
                yield
        finally:
            reporter.kill()


class _Sigevent(ctypes.Structure):
    """What a timer does: here it calls a function in a thread that C starts."""

    _fields_ = [
        ("value", ctypes.c_size_t),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("reserved", ctypes.c_char * 32),
    ]


_SIGEV_THREAD = 2


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Ends this process if the context takes longer, whatever thread holds Python's lock."""
    libc = ctypes.CDLL(None, use_errno=True)
    # The layout of `_Sigevent` is that of Linux; before glibc 2.34 its timers were in librt.
    if sys.platform != "linux" or not hasattr(libc, "timer_create"):
        with open(os.devnull, "w") as nowhere:
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
        return
    # Python's own watchdog has no exit code but 1, which says that this worker has failed.
    end = ctypes.cast(libc._exit, ctypes.c_void_p)
    event = _Sigevent(value=_LOST_WORKER, notify=_SIGEV_THREAD, function=end)
    timer, fraction = ctypes.c_void_p(), seconds % 1.0
    # Interval and time to the first call, in seconds and nanoseconds.
    times = (ctypes.c_long * 4)(0, 0, int(seconds), int(1e9 * fraction))
    if libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), "The time to connect the workers cannot be limited")
    libc.timer_settime(timer, 0, times, None)
    try:
        yield
    finally:
        libc.timer_delete(timer)
