"""A worker process: joins, then obeys the commands it reads, and tells in JSON what happens.

The package is loaded without `aad_tf/__init__.py`, so without TensorFlow, and starts at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import types
from pathlib import Path
from typing import Any

PACKAGE = types.ModuleType("aad_tf")
PACKAGE.__path__ = [str(Path(__file__).resolve().parents[2] / "aad_tf")]
sys.modules["aad_tf"] = PACKAGE

from aad_tf.cluster import AbsentWorkerError, Cluster, ClusterError, Control, join  # noqa: E402

TELLING = threading.Lock()


def tell(event: str, **fields: Any) -> None:
    with TELLING:
        print(json.dumps({"event": event, **fields}), flush=True)


def obey(control: Control, command: str, argument: str) -> None:
    if command == "fail":
        control.fail(argument)
    elif command == "leave":
        control.leave()
    elif command == "close":
        control.close()
    elif command == "wait":
        tell("waited", lost=control.wait_lost(float(argument)))
    elif command == "exit":
        os._exit(int(argument))


def main() -> None:
    options = json.loads(sys.argv[1])
    cluster = Cluster(tuple(options.pop("addresses")), options.pop("index"), "the test")
    exits = options.pop("exit_when_lost", False)

    def on_lost(message: str) -> None:
        tell("lost", message=message)
        if exits:
            os._exit(75)

    try:
        control = join(cluster, options.pop("card", {}), on_lost=on_lost, **options)
    except ClusterError as error:
        tell("refused", message=str(error), absent=isinstance(error, AbsentWorkerError))
        os._exit(2)
    tell("joined", tensorflow="tensorflow" in sys.modules)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        obey(control, command, argument)
        tell("done", command=command, lost=control.lost)


if __name__ == "__main__":
    main()
