"""Says which workers cannot be reached: `python probe.py SECONDS NAME ADDRESS [NAME ADDRESS ...]`.

A separate program that imports nothing of the package, started by a process that cannot say
anything itself while TensorFlow connects it.
"""

from __future__ import annotations

import socket
import sys
import time

SECONDS = 5.0
"""How long the program may take after its wait."""


def unreachable(addresses: list[str], seconds: float = SECONDS / 2) -> list[int]:
    """Indices of the addresses, `host:port`, where nobody accepts a connection."""
    missing = []
    deadline = time.monotonic() + seconds
    for index, address in enumerate(addresses):
        host, _, port = address.rpartition(":")
        left = max(deadline - time.monotonic(), 0.05)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=left).close()
        except OSError:
            missing.append(index)
    return missing


def main(seconds: float, names: list[str], addresses: list[str]) -> None:
    """Waits, then says who is missing."""
    time.sleep(seconds)
    missing = ", ".join(names[index] for index in unreachable(addresses)) or "one of the others"
    print(
        f"error: {missing} was lost while the workers connected, which took longer than "
        f"{seconds:g} seconds. Start all workers again to resume.",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2::2], sys.argv[3::2])
