"""One start of all workers: watched, cut short by a kill, and never left behind."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.survival.logs import Follower
from train.launch import loopback
from train.launch.output import Printer
from train.launch.processes import Process
from train.launch.stopping import StopRequests, signal_name

_POLL_SECONDS = 0.01


class SurvivalError(RuntimeError):
    """The check cannot go on: a launch failed by itself, or took too long."""


class StoppedError(RuntimeError):
    """Somebody asked to stop.

    Attributes:
        signal: the number of the signal.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by {signal_name(signal)}")
        self.signal = signal


class Launch:
    """Worker processes on this machine; a context that ends them all when it is left.

    Attributes:
        processes: one a worker.
        logs: the output of each.
        chief: follows the log of worker 0, which tells the progress.

    Args:
        command: what each worker runs.
        shares: cores of each worker; see `train.launch.loopback.core_shares`.
        folder: where logs go; is made.
        stops: requests to stop, looked at while waiting.
        limit: seconds after which waiting is given up.
    """

    def __init__(
        self,
        command: Sequence[str],
        shares: Sequence[Sequence[int]],
        folder: Path,
        stops: StopRequests,
        limit: float,
    ) -> None:
        folder.mkdir(parents=True)
        self.processes: list[Process] = []
        self.logs = [folder / f"worker_{index}.log" for index in range(len(shares))]
        self._stops, self._limit = stops, limit
        self._open = contextlib.ExitStack()
        self._began = time.monotonic()
        self._closed: float | None = None
        try:
            for program, path in zip(loopback.cluster(command, shares), self.logs, strict=True):
                file = self._open.enter_context(path.open("wb"))
                printer = Printer(file.fileno(), file.fileno())
                self.processes.append(Process(program, printer))
            self.chief = Follower(self.logs[0])
            self._open.callback(self.chief.close)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills what is left and reads the logs to their end."""
        for process in self.processes:
            process.finish()
        self._open.close()
        self._closed = self._closed or time.monotonic()

    @property
    def seconds(self) -> float:
        """From the launch until now, or until it was closed."""
        return (self._closed or time.monotonic()) - self._began

    @property
    def codes(self) -> list[int | None]:
        """How each worker ended; None while it runs."""
        return [process.code for process in self.processes]

    @property
    def ended(self) -> bool:
        """Whether any worker has ended."""
        return any(code is not None for code in self.codes)

    def wait(self, condition: Callable[[], bool], limit: float | None = None) -> bool:
        """Waits until a condition holds, following the log of worker 0.

        Args:
            condition: looked at some hundred times a second.
            limit: seconds after which False is returned.

        Raises:
            SurvivalError: the limit of the launch is over.
            StoppedError: somebody asked to stop.
        """
        until = None if limit is None else self.seconds + limit
        while True:
            self.chief.read()
            if condition():
                return True
            if self._stops.first is not None:
                raise StoppedError(self._stops.first)
            if until is not None and self.seconds > until:
                return False
            if self.seconds > self._limit:
                raise SurvivalError(
                    f"A launch is not done after {self._limit:.0f} s; see {self.logs[0].parent}."
                )
            time.sleep(_POLL_SECONDS)

    def kill(self, worker: int) -> float:
        """Kills a worker (SIGKILL) and returns `time.monotonic` of the kill."""
        moment = time.monotonic()
        self.processes[worker].finish()
        return moment

    def text(self, worker: int) -> str:
        """The output of a worker so far."""
        return os.fsdecode(self.logs[worker].read_bytes())
