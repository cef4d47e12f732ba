"""What a cluster is: the addresses of its workers, and which of them this process is."""

from __future__ import annotations

import json
from dataclasses import dataclass

HIGHEST_PORT = 65535


class ClusterError(ValueError):
    """The workers of a run cannot be found, reached, or do not agree."""


class AbsentWorkerError(ClusterError):
    """Workers did not start in time; starting all of them again may help."""


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, in order, and which of them this process is.

    Args:
        addresses: `host:port` of each worker's TensorFlow server; IPv6 hosts in brackets.
            Worker 0 is the chief, which alone writes checkpoints; TensorFlow's coordination
            service runs in it.
        index: which of them this process is, in `[0, len(addresses))`.
        source: where this was read, e.g. `"TF_CONFIG"`; for messages.

    Raises:
        ClusterError: no addresses, one of them malformed or there twice, or `index` out of range.

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
        """Whether this process is worker 0."""
        return self.index == 0

    def name(self, index: int) -> str:
        """A worker as messages name it, e.g. `worker 1 (10.0.0.2:2222)`."""
        return f"worker {index} ({self.addresses[index]})"

    def names(self, indices: list[int], limit: int = 8) -> str:
        """Several workers as messages name them; those beyond `limit` are only counted."""
        shown = ", ".join(self.name(index) for index in indices[:limit])
        return shown if len(indices) <= limit else f"{shown} and {len(indices) - limit} more"

    def tf_config(self) -> str:
        """The cluster as TensorFlow reads it from the environment variable TF_CONFIG."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def split_address(address: str, source: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port of `host:port`.

    Raises:
        ClusterError: it is not an address with a port in [1, 65535].
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
