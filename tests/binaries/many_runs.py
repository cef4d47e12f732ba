"""Runs of a binary: many, one that is stopped on the way, one in a new process of its own.

Importing TensorFlow takes the longest, so all but the last are forks of a process that has.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.forked import Forked

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """How a run ended; its own output and errors, without lines of TensorFlow's C++."""

    code: int
    output: str
    errors: str


def _main(binary: str, arguments: Sequence[str], directory: str, output: str, errors: str) -> None:
    os.chdir(directory)
    # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [binary, *arguments]
    # Open until the process has ended and told why.
    sys.stdout, sys.stderr = (open(path, "w", encoding="utf-8") for path in (output, errors))  # noqa: SIM115
    runpy.run_module(binary, run_name="__main__", alter_sys=True)


class _Fork:
    """`python -m binary`, e.g. of "eval.robustness", in a fork."""

    def __init__(
        self,
        binary: str,
        arguments: Sequence[object],
        environment: Mapping[str, str] | None = None,
        directory: Path = ROOT,
    ) -> None:
        self._files = tempfile.TemporaryDirectory()
        self._output, self._errors, log = (Path(self._files.name, name) for name in "oel")
        files = (str(self._output), str(self._errors))
        command = (binary, [*map(str, arguments)], str(directory), *files)
        self.process = Forked(_main, command, {**os.environ, **(environment or {})}, log)

    def end(self) -> Run:
        """Waits for its end."""
        code, log = self.process.end()
        if code is None:
            self.process.kill()
            raise TimeoutError(log)
        with self._files:
            texts = [path.read_text("utf-8") for path in (self._output, self._errors)]
        return Run(code, *texts)


def run_many(
    binary: str, commands: Sequence[Sequence[object]], environment: Mapping[str, str] | None = None
) -> list[Run]:
    """Runs a binary with each list of arguments, one after the other."""
    return [_Fork(binary, arguments, environment).end() for arguments in commands]


def run_each(commands: Sequence[Sequence[str]], directory: Path = ROOT) -> list[Run]:
    """Runs commands, each a binary and its arguments, in a directory, one after the other."""
    return [_Fork(binary, arguments, directory=directory).end() for binary, *arguments in commands]


def stopped_once(
    condition: Callable[[], bool], stop: signal.Signals, binary: str, *arguments: object
) -> Run:
    """Starts a binary and sends it a signal as soon as a condition, asked often, holds."""
    fork = _Fork(binary, arguments)
    deadline = time.monotonic() + 200
    while fork.process.runs and time.monotonic() < deadline and not condition():
        time.sleep(0.005)
    if fork.process.runs:
        fork.process.signal(stop)
    return fork.end()


def stopped_after(
    records: int, stop: signal.Signals, journal: Path, binary: str, *arguments: object
) -> Run:
    """Starts a binary and stops it once its journal holds so many records."""

    def holds_them() -> bool:
        return journal.exists() and journal.read_bytes().count(b"\n") > records

    return stopped_once(holds_them, stop, binary, *arguments)


def run(binary: str, *arguments: object) -> Run:
    """Runs `python -m binary` as a user does, who has set nothing for TensorFlow's messages."""
    command = [sys.executable, "-m", binary, *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    return Run(done.returncode, done.stdout, done.stderr)
