"""Tells which workers cannot be reached: `python probe.py SECONDS NAME ADDRESS [NAME ADDRESS ...]`.

A separate program that imports nothing of the package. A worker starts it because its own Python
code cannot run while TensorFlow connects the workers.
"""

from __future__ import annotations

import socket
import sys
import time

SECONDS = 5.0
"""How long the program may take after it has waited, in seconds."""


def unreachable(addresses: list[str], seconds: float = 1.0) -> list[int]:
    """Finds addresses where no process accepts a TCP connection.

    Args:
        addresses: `host:port`, tried one after the other.
        seconds: the longest wait for each.

    Returns:
        Indices into `addresses`.
    """
    missing = []
    for index, address in enumerate(addresses):
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), seconds) as connection:
                # To a closed port of the same machine, a connection may by chance reach itself.
                if connection.getsockname() == connection.getpeername():
                    missing.append(index)
        except OSError:
            missing.append(index)
    return missing


def main(seconds: float, names: list[str], addresses: list[str]) -> None:
    """Waits, then prints to stderr which workers cannot be reached.

    Args:
        seconds: how long to wait first.
        names: what the message calls each worker.
        addresses: `host:port` of each worker.
    """
    time.sleep(seconds)
    lost = unreachable(addresses, SECONDS / 2 / max(len(addresses), 1))
    missing = ", ".join(names[index] for index in lost) or "one of the others"
    print(
        f"error: {missing} was lost while the workers connected, which took longer than "
        f"{seconds:g} seconds. Start all workers again to resume.",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2::2], sys.argv[3::2])
