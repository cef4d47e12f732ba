"""The workers of one training run: their addresses, which of them this process is, their start.

`find_cluster` (`aad_tf.distribute.launchers`) reads the addresses of the workers from the
environment (TF_CONFIG, a Kubernetes indexed Job, a Slurm job step). `wait_for_workers` then waits
until all workers have started, before TensorFlow connects them: in TensorFlow, worker 0 would wait
without end, and meanwhile no Python code runs, neither a thread nor a signal handler. Workers find
each other by TCP connections that carry no data; TensorFlow's server then uses the same port. All
later messages, heartbeats included, go through TensorFlow's servers, whose connections are not
authenticated: keep their ports on a private network.

Example:
    >>> cluster = find_cluster()
    >>> wait_for_workers(cluster, seconds=300)
    >>> strategy = aad_tf.distribute.create_strategy("multi_worker", cluster)
    >>> with aad_tf.distribute.leaving_together(cluster):
    ...     aad_tf.training.train(config, "runs/mine", strategy=strategy)
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from dataclasses import dataclass

from aad_tf.distribute.probe import unreachable

LOGGER = logging.getLogger(__name__)
HIGHEST_PORT = 65535
_PAUSE = 0.2
_CONNECT_SECONDS = 2.0
_PROGRESS_SECONDS = 30.0


class ClusterError(ValueError):
    """The workers of a training run cannot be found or reached, or differ where they must agree."""


class AbsentWorkerError(ClusterError):
    """Workers did not start in time or could not be connected; starting all again may help."""


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, in order, and which of them this process is.

    Args:
        addresses: `host:port` of each worker's TensorFlow server; IPv6 hosts in brackets.
            Worker 0 is the chief, which alone writes checkpoints; TensorFlow's coordination
            service runs in it.
        index: which of them this process is, in `[0, len(addresses))`.
        source: where the addresses were read, e.g. `"TF_CONFIG"`; for messages.

    Raises:
        ClusterError: no addresses, one that is malformed or repeated, or `index` out of range.

    Example:
        >>> Cluster(("10.0.0.1:2222", "10.0.0.2:2222"), 1, "TF_CONFIG").name(1)
        'worker 1 (10.0.0.2:2222)'
    """

    addresses: tuple[str, ...]
    index: int
    source: str

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ClusterError(f"{self.source} lists no workers. Give at least one host:port.")
        for address in self.addresses:
            split_address(address, self.source)
        repeated = sorted({a for a in self.addresses if self.addresses.count(a) > 1})
        if repeated:
            raise ClusterError(
                f"{self.source} lists {', '.join(repeated)} more than once. Every worker needs "
                f"a different address; workers on one machine need different ports."
            )
        if not 0 <= self.index < self.size:
            raise ClusterError(
                f"{self.source} says that this is worker {self.index}, but lists {self.size} "
                f"worker(s): the index must lie in [0, {self.size})."
            )

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process is worker 0, the chief, which alone writes checkpoints."""
        return self.index == 0

    def name(self, index: int) -> str:
        """The name of a worker in messages, e.g. `worker 1 (10.0.0.2:2222)`.

        Args:
            index: which worker, in `[0, size)`.
        """
        return f"worker {index} ({self.addresses[index]})"

    def names(self, indices: list[int], limit: int = 8) -> str:
        """Several workers as messages name them.

        Args:
            indices: which workers, each in `[0, size)`.
            limit: how many are named at most; the others are only counted.

        Returns:
            For instance `worker 0 (10.0.0.1:2222), worker 1 (10.0.0.2:2222) and 3 more`.
        """
        shown = ", ".join(self.name(index) for index in indices[:limit])
        return shown if len(indices) <= limit else f"{shown} and {len(indices) - limit} more"


def split_address(address: str, source: str) -> tuple[str, int]:
    """Splits `host:port` into the host, without the brackets of IPv6, and the port.

    Args:
        address: for instance `10.0.0.1:2222` or `[::1]:2222`.
        source: where the address was read; for messages.

    Returns:
        Host and port.

    Raises:
        ClusterError: not an address with a port in [1, 65535], or IPv6 without brackets.
    """
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    is_port = port.isascii() and port.isdigit() and 1 <= int(port) <= HIGHEST_PORT
    if not host.strip() or not is_port or any(c.isspace() or c in "/," for c in host):
        raise ClusterError(
            f"{source} gives the address {address!r}; expected host:port with a port in "
            f"[1, {HIGHEST_PORT}], for example 10.0.0.1:2222."
        )
    if ":" in host and not bracketed:
        raise ClusterError(
            f"{source} gives the address {address!r}; write an IPv6 host in brackets, as in "
            f"[{host}]:{port}."
        )
    return (host[1:-1] if bracketed else host), int(port)


def wait_for_workers(cluster: Cluster, seconds: float) -> None:
    """Waits until each of the other workers has accepted a connection at its address once.

    Every worker calls this; meanwhile it accepts the connections of the others at its own port.

    Args:
        cluster: the workers; the list of addresses is the same on every worker.
        seconds: how long to wait at most, positive.

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
    with _listening(cluster) as listener:
        next_report = time.monotonic() + _PROGRESS_SECONDS
        while missing:
            _take_connections(listener)
            left = max(_PAUSE, min(_CONNECT_SECONDS, deadline - time.monotonic()))
            missing = [
                missing[i] for i in unreachable([cluster.addresses[i] for i in missing], left)
            ]
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
    _, port = split_address(cluster.addresses[cluster.index], cluster.source)
    # A host's name may stand for addresses of either kind.
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        # A port that an earlier run has just left can be used; one that is in use cannot.
        listener = socket.create_server(
            ("", port), family=family, backlog=2 * cluster.size + 16, dualstack_ipv6=both
        )
    except OSError as error:
        raise ClusterError(
            f"Port {port} of {cluster.name(cluster.index)} cannot be used: {error.strerror}. Is an "
            f"earlier run still there? Otherwise give this worker another port."
        ) from error
    listener.setblocking(False)
    return listener


def _take_connections(listener: socket.socket) -> None:
    """Makes room for further connections; one that came has told its worker that this one runs."""
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
