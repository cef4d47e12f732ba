"""Real processes, forked from one that has imported TensorFlow, so that each starts at once.

The process that is forked calls nothing of TensorFlow, whose threads would not survive that.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240
"""Longest wait for one thing, on a machine with other things to do."""
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.preloaded"])
# Each start looks at all processes, and an exit code can be read once only.
_ONE_AT_A_TIME = threading.Lock()


def _run(
    action: Callable[..., object], arguments: Any, environment: Mapping[str, str], log: Path
) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    os.environ.update(environment)
    action(*arguments)


class Forked:
    """A process that calls a function of a module; output and errors go to a file.

    Several threads may start such processes and wait for theirs.

    Args:
        action: the function.
        arguments: of the function.
        environment: variables beside those of this process.
        log: the file.
    """

    def __init__(
        self,
        action: Callable[..., object],
        arguments: Any,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self._log = log
        self._process = _FORKS.Process(target=_run, args=(action, arguments, environment, log))
        with _ONE_AT_A_TIME:
            self._process.start()

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        with _ONE_AT_A_TIME:
            return self._process.is_alive()

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def signal(self, number: int, group: bool = False) -> None:
        """Sends it a signal, or the group of processes that it leads."""
        (os.killpg if group else os.kill)(self._process.pid, number)

    def end(self, seconds: float = SECONDS) -> tuple[int | None, str]:
        """Waits for its end; exit code, None if it does not end, and what it has printed."""
        deadline = time.monotonic() + seconds
        while self.runs and time.monotonic() < deadline:
            time.sleep(0.02)
        with _ONE_AT_A_TIME:
            return self._process.exitcode, self.output

    def kill(self) -> None:
        """Kills it, if it runs, and waits until it is gone."""
        with _ONE_AT_A_TIME:
            self._process.kill()
            self._process.join()
