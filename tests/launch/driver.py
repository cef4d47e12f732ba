"""Runs small Python programs side by side, for tests to watch from outside.

python -m tests.launch.driver '{"sources": [...], "restarts": 0, "grace_seconds": 5}'
"""

from __future__ import annotations

import json
import os
import sys

from train.launch.processes import Program
from train.launch.restarts import run_again

PRELUDE = """
import os, signal, subprocess, sys, time
from pathlib import Path
def on_sigterm(action):
    signal.signal(signal.SIGTERM, lambda *_: action())
def save_and_end():
    print("saved", flush=True)
    os._exit(143)
def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)
"""


def main() -> None:
    options = json.loads(sys.argv[1])
    # Python without site-packages starts sooner, and these programs need none.
    python = [sys.executable, "-I", "-S", "-u", "-c"]
    programs = [
        Program(f"worker {index}", [*python, PRELUDE + source], os.environ)
        for index, source in enumerate(options["sources"])
    ]
    sys.exit(run_again(lambda: programs, options["restarts"], options["grace_seconds"]))


if __name__ == "__main__":
    main()
