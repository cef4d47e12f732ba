"""A cluster on one machine: its ports, its environment variables, its share of the cores."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from collections.abc import Sequence

from train.launch.processes import Program

_HOST = "127.0.0.1"
# Below the ports that Linux and macOS give to outgoing connections, which would otherwise take
# one between its choice here and its use by a worker.
_PORTS = range(15000, 32000)


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback address that nobody listens on.

    Raises:
        OSError: there are not so many.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                return ports
            candidate = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            with contextlib.suppress(OSError):
                candidate.bind((_HOST, port))
                ports.append(port)
    raise OSError(f"{count} free ports are needed on {_HOST}; {len(ports)} were found")


def cluster_environments(workers: int) -> list[dict[str, str]]:
    """Environment variables that make each of the workers find the others, on fresh ports."""
    control, *ports = free_ports(workers + 1)
    cluster = {"worker": [f"{_HOST}:{port}" for port in ports]}
    return [
        {
            "TF_CONFIG": json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
            "AAD_TF_CONTROL_PORT": str(control),
            "PYTHONUNBUFFERED": "1",
        }
        for index in range(workers)
    ]


def core_shares(workers: int, pin: bool = True) -> list[list[int]]:
    """The cores this process may use, in one share a worker; sizes differ by one at most.

    Args:
        workers: how many shares.
        pin: False for empty shares, which leave all cores to every worker.

    Raises:
        ValueError: there are fewer cores than workers, or the system has no such thing.
    """
    if not pin:
        return [[] for _ in range(workers)]
    if not hasattr(os, "sched_getaffinity"):
        raise ValueError("--pin_cores works on Linux only; leave it out.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        raise ValueError(
            f"--pin_cores needs a core for each of the {workers} workers, and there are "
            f"{len(cores)}; leave it out, or start fewer workers."
        )
    ends = [len(cores) * index // workers for index in range(workers + 1)]
    return [cores[first:last] for first, last in zip(ends, ends[1:], strict=False)]


def cluster(command: Sequence[str], shares: Sequence[Sequence[int]]) -> list[Program]:
    """The same command once a worker, with what makes each find the others, on fresh ports.

    Args:
        command: program and arguments.
        shares: the cores of each worker, as from `core_shares`; TensorFlow gets a thread a core.
    """
    programs = []
    for index, environment in enumerate(cluster_environments(len(shares))):
        threads = str(len(shares[index]))
        limits = {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
        environment = {**os.environ, **environment, **(limits if shares[index] else {})}
        programs.append(Program(f"worker {index}", command, environment, shares[index]))
    return programs
