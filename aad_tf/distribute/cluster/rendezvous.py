"""Waits until every worker of a cluster has started, before TensorFlow is asked to connect them.

TensorFlow's own wait has no end for worker 0, and no Python runs meanwhile, neither a thread nor a
signal handler. So workers first look at each other's ports, with nothing but TCP connections that
carry no data; TensorFlow's server then takes over the same port.
"""

from __future__ import annotations

import logging
import socket
import time

from aad_tf.distribute.cluster.spec import AbsentWorkerError, Cluster, ClusterError, split_address

LOGGER = logging.getLogger(__name__)

_PAUSE = 0.2
_CONNECT_SECONDS = 2.0
_PROGRESS_SECONDS = 30.0


def wait_for_workers(cluster: Cluster, seconds: float) -> None:
    """Waits until each of the other workers has once accepted a connection at its address.

    Args:
        cluster: every worker calls this with the same list of addresses.
        seconds: how long to wait.

    Raises:
        ClusterError: something else holds this worker's port.
        AbsentWorkerError: workers did not start in time; the message names them.
        ValueError: `seconds` is not positive.

    Example:
        >>> wait_for_workers(find_cluster(), seconds=300)
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds}.")
    deadline = time.monotonic() + seconds
    missing = [index for index in range(cluster.size) if index != cluster.index]
    with _listening(cluster):
        next_report = time.monotonic() + _PROGRESS_SECONDS
        while missing:
            missing = [i for i in missing if not _accepts(cluster, i, deadline)]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise AbsentWorkerError(
                    f"{cluster.names(missing)} did not start within {seconds:g} seconds. Is it "
                    f"running, is its address the same in the list of every worker "
                    f"({cluster.source}), and are ports open between the machines? Start all "
                    f"workers again to resume."
                )
            if time.monotonic() > next_report:
                next_report += _PROGRESS_SECONDS
                LOGGER.info("Waiting for %s to start.", cluster.names(missing))
            time.sleep(_PAUSE)


def _listening(cluster: Cluster) -> socket.socket:
    """Lets the other workers see this one, at the port that TensorFlow will use."""
    host, port = split_address(cluster.addresses[cluster.index], cluster.source)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port that an earlier run has just left can be used; one that is in use cannot.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        # Connections are never accepted here, so all of them must fit.
        listener.listen(2 * cluster.size + 16)
    except OSError as error:
        listener.close()
        raise ClusterError(
            f"Port {port} of {cluster.name(cluster.index)} cannot be used: {error.strerror}. Is an "
            f"earlier run still there? Otherwise give this worker another port."
        ) from error
    return listener


def _accepts(cluster: Cluster, index: int, deadline: float) -> bool:
    """Whether a worker accepts a connection, asked once."""
    limit = max(_PAUSE, min(_CONNECT_SECONDS, deadline - time.monotonic()))
    try:
        address = split_address(cluster.addresses[index], cluster.source)
        with socket.create_connection(address, timeout=limit) as connection:
            # To a closed port of the own machine, a connection may by chance reach itself.
            return connection.getsockname() != connection.getpeername()
    except OSError:
        return False
