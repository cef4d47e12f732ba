"""Starts programs and looks at processes, for the tests of launching."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
"""Longest wait; far more than is ever needed, on a machine with other things to do."""


def start(command: list[str], directory: Path, **environment: str) -> subprocess.Popen[str]:
    """Starts a command that finds this repository's modules and heeds signals."""
    return subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_signals,
    )


def _heed_signals() -> None:
    """Where the tests run in the background, these are ignored, and children inherit that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


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
