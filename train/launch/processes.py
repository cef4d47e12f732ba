"""Processes that belong together: when one fails all are stopped, and none is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from train.launch.output import Printer, forward
from train.launch.stopping import StopRequests, signal_name

LOST_WORKER = 75
"""A worker ends with this when it lost another one: the cause is to be looked for there."""
_CAUSE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """What one process runs.

    Attributes:
        name: stands before each line of its output, as in `[worker 1] `.
        command: program and arguments.
        environment: all of its environment variables.
        cores: numbers of the processor cores it may use (Linux); empty for any.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    cores: Sequence[int] = ()


@dataclass(frozen=True)
class Outcome:
    """How a group of processes ended.

    Attributes:
        codes: for each process the code it ended with by itself, negative for the number of the
            signal that killed it; None if it ran until it was stopped.
        failed: index of the process that failed first, None if none did.
        stopped_by: number of the signal that asked for the end, None if none did.
    """

    codes: tuple[int | None, ...]
    failed: int | None = None
    stopped_by: int | None = None


class Process:
    """A running program. Linux kills it when the thread that started it ends."""

    def __init__(self, program: Program, printer: Printer) -> None:
        self.name = program.name
        self.code: int | None = None
        self.ended_at = float("inf")
        child = [sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py"))]
        child += [str(os.getpid()), ",".join(map(str, program.cores)), *program.command]
        pipes = {stream: os.pipe() for stream in ("standard", "errors")}
        try:
            self._popen = subprocess.Popen(
                child,
                env=dict(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=pipes["standard"][1],
                stderr=pipes["errors"][1],
                # Out of reach of the terminal's Ctrl-C: it is to be asked to save instead.
                start_new_session=True,
            )
        finally:
            for _, write_end in pipes.values():
                os.close(write_end)
        prefix = f"[{self.name}] ".encode()
        self._readers = [
            _in_background(_show_all, read_end, partial(_show, printer, stream, prefix))
            for stream, (read_end, _) in pipes.items()
        ]
        self._waiter = _in_background(self._wait)

    def ask_to_end(self) -> None:
        """Sends SIGTERM to the process, which may save first; not to those it started itself."""
        self._popen.terminate()

    def finish(self) -> None:
        """Kills the process and those it started, if they are left; prints its last lines."""
        if self.code is None:
            self._kill_group()
        self._waiter.join()
        deadline = time.monotonic() + _DRAIN_SECONDS
        for reader in self._readers:  # Who left the session may hold the pipe open for ever.
            reader.join(max(0.0, deadline - time.monotonic()))

    def _wait(self) -> None:
        code = self._popen.wait()
        self.ended_at = time.monotonic()
        self._kill_group()  # At once: later its number may be that of a stranger.
        self.code = code

    def _kill_group(self) -> None:
        # macOS says PermissionError where only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)


def _in_background(function: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def _show_all(source: int, show: Callable[[bytes], None]) -> None:
    try:
        forward(source, show)
    finally:
        os.close(source)


def _show(printer: Printer, stream: str, prefix: bytes, line: bytes) -> None:
    printer.line(prefix + line, stream)


def run_together(
    programs: Sequence[Program],
    stops: StopRequests,
    printer: Printer,
    grace_seconds: float = 10.0,
) -> Outcome:
    """Runs programs side by side until all have ended, one has failed, or a stop is asked for.

    Those that then still run get SIGTERM and, after `grace_seconds` or a second Ctrl-C, SIGKILL.
    Whatever happens, no process is left when this returns. Call it from the main thread.

    Args:
        programs: what to run.
        stops: open as a context.
        printer: takes the output of all, a line at a time.
        grace_seconds: time to save and end after SIGTERM.

    Returns:
        How they ended. Which one failed first says who was killed or ended otherwise, rather than
        one that says within a second of it that it lost another worker.

    Raises:
        OSError: a process cannot be started; those that were are killed.
    """
    processes: list[Process] = []
    try:
        for program in programs:
            processes.append(Process(program, printer))
        _until_decided(processes, stops)
        codes = tuple(process.code for process in processes)
        outcome = Outcome(codes, _first_failure(processes, codes), stops.first)
        _report(processes, outcome, printer, grace_seconds)
        _stop(processes, stops, grace_seconds)
        return outcome
    finally:
        for process in processes:
            process.finish()


def _until_decided(processes: Sequence[Process], stops: StopRequests) -> None:
    """Waits until all have ended, a stop is asked for, or one failed and the cause is known."""
    while stops.first is None:
        codes = [process.code for process in processes]
        if None not in codes or any(code not in (None, 0, LOST_WORKER) for code in codes):
            return
        first = min((process.ended_at for process in processes if process.code), default=None)
        if first is not None and time.monotonic() > first + _CAUSE_SECONDS:
            return
        time.sleep(_POLL_SECONDS)


def _first_failure(processes: Sequence[Process], codes: Sequence[int | None]) -> int | None:
    """The process whose failure came first and is not said to be the fault of another."""
    failed = [index for index, code in enumerate(codes) if code]
    return min(
        failed,
        key=lambda index: (codes[index] == LOST_WORKER, processes[index].ended_at),
        default=None,
    )


def _stop(processes: Sequence[Process], stops: StopRequests, grace_seconds: float) -> None:
    """Asks all that run to end and waits for them, but no longer than the grace period."""
    for process in processes:
        if process.code is None:
            process.ask_to_end()
    deadline = time.monotonic() + grace_seconds
    while any(process.code is None for process in processes):
        if stops.at_once or time.monotonic() >= deadline:
            return
        time.sleep(_POLL_SECONDS)


def _report(
    processes: Sequence[Process], outcome: Outcome, printer: Printer, grace_seconds: float
) -> None:
    """Says why all are being stopped, after the last words of the one that failed."""
    if outcome.stopped_by is not None:
        reason = signal_name(outcome.stopped_by)
    elif outcome.failed is not None:
        processes[outcome.failed].finish()
        reason = f"{processes[outcome.failed].name} {ending(outcome.codes[outcome.failed] or 0)}"
    else:
        return
    if running := outcome.codes.count(None):
        reason += f"; {running} still running, to save and end within {grace_seconds:g} s"
        reason += " (Ctrl-C again: at once)" if outcome.stopped_by is not None else ""
    printer.line(f"[launcher] {reason}".encode())


def ending(code: int) -> str:
    """How a process ended, in words: "was killed by signal 9 (SIGKILL)"."""
    if code < 0:
        return f"was killed by signal {-code} ({signal_name(-code)})"
    lost = " (it lost another worker: see its message)" if code == LOST_WORKER else ""
    return f"ended with code {code}{lost}"
