"""Starting the driver and looking at processes, for the tests of launching."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
"""Longest wait; far more than is ever needed, on a machine with other things to do."""


def start(command: list[str], directory: Path, **environment: str) -> subprocess.Popen[str]:
    """Starts a command that finds this repository's modules and notices Ctrl-C."""
    return subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def start_driver(
    directory: Path, *sources: str, restarts: int = 0, grace_seconds: float = SECONDS
) -> subprocess.Popen[str]:
    """Starts the driver on these programs."""
    options = {"sources": sources, "restarts": restarts, "grace_seconds": grace_seconds}
    command = [sys.executable, "-m", "tests.launch.driver", json.dumps(options)]
    return start(command, directory)


def run_driver(directory: Path, *sources: str, **options: float) -> tuple[int, str, str]:
    """Runs the driver to its end; gives its exit code, standard output and standard error."""
    return end_of(start_driver(directory, *sources, **options))  # type: ignore[arg-type]


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for a process; gives its exit code, standard output and standard error."""
    try:
        out, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, out, errors


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, and fails if it does not come true."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie that nobody has reaped (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
