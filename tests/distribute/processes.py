"""Addresses of workers on this machine, and what makes each process find the others."""

from __future__ import annotations

import contextlib
import json
import random
import socket


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on, below those given to outgoing connections."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            candidate = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind(("127.0.0.1", random.SystemRandom().randrange(10_000, 31_000)))
                ports.append(candidate.getsockname()[1])
    return ports


def tf_configs(count: int) -> list[dict[str, str]]:
    """The environment variable TF_CONFIG of each worker of a cluster, on fresh ports."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    return [
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            )
        }
        for index in range(count)
    ]
