"""Connecting the workers of a cluster to one strategy, within a limited time."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from aad_tf.cluster import Cluster, probe

# Gradients of InceptionV3 travelled about a fifth faster between two workers in packs of this size
# than in one piece, and packs can leave before the last gradient is known.
PACK_MEGABYTES = 8.0
# Of malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def connected(
    cluster: Cluster, seconds: float, pack_megabytes: float = PACK_MEGABYTES
) -> tf.distribute.Strategy:
    """Creates the strategy of all workers of a cluster.

    Args:
        cluster: every worker calls this at about the same time.
        seconds: how long workers may take; then this process ends with code 1, naming those that
            cannot be reached.
        pack_megabytes: gradients are exchanged in packs of about this size (2**20 bytes), the same
            on every worker.

    Raises:
        ValueError: packs of no size.
        tf.errors.OpError: this worker's port is taken.
        RuntimeError: something of TensorFlow ran before.
    """
    size = pack_bytes(pack_megabytes)
    # TensorFlow reads the cluster from here, whatever it was found by.
    os.environ["TF_CONFIG"] = cluster.tf_config()
    options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=size)
    if not tf.config.list_physical_devices("GPU"):
        _keep_freed_memory()
    try:
        with _limited(cluster, seconds):
            return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise RuntimeError(
            "Something of TensorFlow ran before the workers were connected, such as callbacks or "
            "data that hold tensors. Make them afterwards: train_with takes a function that makes "
            "callbacks."
        ) from error


def pack_bytes(megabytes: float) -> int:
    """Size of a pack in bytes.

    Raises:
        ValueError: it is not positive, or no finite number.
    """
    if not 0.0 < megabytes < math.inf:
        raise ValueError(f"pack_megabytes must be positive and finite, got {megabytes}.")
    return math.ceil(megabytes * 2**20)


def _keep_freed_memory() -> None:
    """Lets the C library keep what is freed, where it can be told so (glibc).

    TensorFlow's server, unlike a process alone, takes each tensor on the CPU from malloc, which
    gets large ones from the kernel and gives them back every time. In plain training of
    InceptionV3 with two workers that took about a quarter of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def _limited(cluster: Cluster, seconds: float) -> Iterator[None]:
    """Ends this process if the context takes longer.

    TensorFlow waits up to an hour for a worker that has died, and holds Python's lock meanwhile: no
    thread and no signal handler of this process runs, but a watchdog in C and another process do.
    """
    others = [address for i, address in enumerate(cluster.addresses) if i != cluster.index]
    names = [cluster.name(i) for i in range(cluster.size) if i != cluster.index]
    pairs = [text for pair in zip(names, others, strict=True) for text in pair]
    script = str(Path(probe.__file__))
    teller = subprocess.Popen([sys.executable, "-I", script, str(seconds), *pairs])
    # Behind the time in which the other process tells who is missing.
    faulthandler.dump_traceback_later(seconds + probe.SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        teller.kill()
        teller.wait()
