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
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import app
from absl.testing import flagsaver

from tests.forked import SECONDS, Forked

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("analysis", "benchmarks", "eval", "train")
"""Those that hold binaries."""


class Run(NamedTuple):
    """How a run ended; its own output and errors, without lines of TensorFlow's C++."""

    code: int
    output: str
    errors: str


def _main(
    commands: Sequence[Sequence[str]],
    directory: str,
    files: Sequence[tuple[str, str]],
    codes: str,
    leads: bool,
) -> None:
    """Runs commands in this process; each finds flags and modules of binaries as a new one would.

    The file `codes` gets the exit code of each. A process that leads forms a group with those that
    it starts, as one that is started in a terminal does.
    """
    os.chdir(directory)
    if leads:
        os.setpgrp()
    # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Once per process, so that they are there before the first run, whose flags are removed.
    app.define_help_flags()
    loaded = set(sys.modules)
    for (binary, *arguments), (output, errors) in zip(commands, files, strict=True):
        sys.argv = [binary, *arguments]
        # Open until the process has ended and told why.
        sys.stdout, sys.stderr = (open(path, "w", encoding="utf-8") for path in (output, errors))  # noqa: SIM115
        code: object = 0
        with flagsaver.flagsaver():
            try:
                runpy.run_module(binary, run_name="__main__", alter_sys=True)
            except SystemExit as ended:
                code = ended.code or 0
            except Exception:
                traceback.print_exc()
                code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        with open(codes, "a", encoding="utf-8") as file:
            print(code, file=file)
        for name in set(sys.modules) - loaded:
            if name.partition(".")[0] in FOLDERS:
                del sys.modules[name]


class _Fork:
    """Runs commands, each a binary and its arguments, one after the other in one fork."""

    def __init__(
        self,
        commands: Sequence[Sequence[object]],
        environment: Mapping[str, str] | None = None,
        directory: Path = ROOT,
        leads: bool = False,
    ) -> None:
        words = [[*map(str, command)] for command in commands]
        self._directory = tempfile.TemporaryDirectory()
        place = Path(self._directory.name)
        self._codes = place / "codes"
        self._files = [(str(place / f"{n}o"), str(place / f"{n}e")) for n in range(len(words))]
        arguments = (words, str(directory), self._files, str(self._codes), leads)
        log = place / "log"
        self.process = Forked(_main, arguments, {**os.environ, **(environment or {})}, log)

    def end(self, seconds: float) -> list[Run]:
        """Waits for their end."""
        code, log = self.process.end(seconds)
        if code is None:
            self.process.kill()
            raise TimeoutError(log)
        with self._directory:
            codes = self._codes.read_text("utf-8").split() if self._codes.exists() else []
            # The process itself ended in the run that follows.
            codes += [code] if code else []
            if len(codes) != len(self._files):
                raise ChildProcessError(f"Code {code} after {len(codes)} runs: {log}")
            texts = [[Path(path).read_text("utf-8") for path in pair] for pair in self._files]
        return [Run(int(code), *pair) for code, pair in zip(codes, texts, strict=True)]


def run_each(
    commands: Sequence[Sequence[object]],
    directory: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> list[Run]:
    """Runs commands, each a binary and its arguments, in a directory, one after the other.

    In one process: what TensorFlow and Keras do but once takes longer than most runs. All together
    may take so many seconds.
    """
    return _Fork(commands, environment, directory).end(seconds)


def run_many(
    binary: str,
    commands: Sequence[Sequence[object]],
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> list[Run]:
    """Runs a binary with each list of arguments, one after the other; see `run_each`."""
    commands = [(binary, *arguments) for arguments in commands]
    return run_each(commands, environment=environment, seconds=seconds)


def stopped_once(
    condition: Callable[[], bool],
    stop: signal.Signals,
    binary: str,
    *arguments: object,
    group: bool = False,
    seconds: float = SECONDS,
) -> Run:
    """Starts a binary and sends it a signal as soon as a condition, asked often, holds.

    With `group` the processes that it has started get the signal, too. It gets the signal after so
    many seconds at the latest.
    """
    fork = _Fork([(binary, *arguments)], leads=group)
    deadline = time.monotonic() + seconds
    while fork.process.runs and time.monotonic() < deadline and not condition():
        time.sleep(0.005)
    if fork.process.runs:
        fork.process.signal(stop, group)
    (run_,) = fork.end(seconds)
    return run_


def stopped_after(
    records: int,
    stop: signal.Signals,
    journal: Path,
    binary: str,
    *arguments: object,
    group: bool = False,
    seconds: float = SECONDS,
) -> Run:
    """Starts a binary and stops it once its journal holds so many records; see `stopped_once`."""

    def holds_them() -> bool:
        return journal.exists() and journal.read_bytes().count(b"\n") > records

    return stopped_once(holds_them, stop, binary, *arguments, group=group, seconds=seconds)


def run(binary: str, *arguments: object) -> Run:
    """Runs `python -m binary` as a user does, who has set nothing for TensorFlow's messages."""
    command = [sys.executable, "-m", binary, *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    return Run(done.returncode, done.stdout, done.stderr)
