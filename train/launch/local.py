"""Runs worker processes on this machine: starts, stops and restarts all of them together.

`run` does the work of the program `train.local_cluster`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any

from binaries.command_line import LOST_WORKER, MISTAKE

UPDATE_SECONDS = 1.0
"""A progress bar that rewrites its line is shown at most this often."""

_HOST = "127.0.0.1"
# Below the ports that Linux and macOS give to outgoing connections, which would otherwise take
# one between its choice here and its use by a worker.
_PORTS = range(15000, 32000)
_ASKED_TO_END = (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)
_CAUSE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def free_ports(count: int) -> list[int]:
    """Finds free TCP ports of the loopback address.

    Args:
        count: how many ports.

    Returns:
        `count` different ports.

    Raises:
        OSError: there are not so many free ports.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                return ports
            candidate = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            with contextlib.suppress(OSError):
                candidate.bind((_HOST, port))
                ports.append(port)
    raise OSError(f"{count} free ports are needed on {_HOST}; {len(ports)} were found")


def split_cores(workers: int) -> list[list[int]]:
    """Divides the CPU cores that this process may use among workers.

    Args:
        workers: number of workers.

    Returns:
        The numbers of the cores of each worker; their counts differ by one at most.

    Raises:
        ValueError: there are fewer cores than workers, or the system cannot pin processes.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise ValueError("--pin_cores works on Linux only; leave it out.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        raise ValueError(
            f"--pin_cores needs a core for each of the {workers} workers, and there are "
            f"{len(cores)}; leave it out, or start fewer workers."
        )
    ends = [len(cores) * index // workers for index in range(workers + 1)]
    return [cores[first:last] for first, last in zip(ends, ends[1:], strict=False)]


def worker_environments(cores: Sequence[Sequence[int]]) -> list[dict[str, str]]:
    """Makes the environment variables of the workers of a new cluster.

    Args:
        cores: the numbers of the CPU cores of each worker, for which TensorFlow starts as many
            threads; an empty entry for all cores.

    Returns:
        For each worker the variables to be added to those of this process: TF_CONFIG with free
        ports, settings of memory allocation, and numbers of threads.

    Raises:
        OSError: there are not enough free ports.
    """
    ports = free_ports(len(cores))
    cluster = {"worker": [f"{_HOST}:{port}" for port in ports]}
    environments = []
    for index, own in enumerate(cores):
        task = {"type": "worker", "index": index}
        environments.append(
            {
                "TF_CONFIG": json.dumps({"cluster": cluster, "task": task}),
                "PYTHONUNBUFFERED": "1",
                # Has glibc keep what is freed. TensorFlow's server, unlike a process alone, takes
                # each tensor on the CPU from malloc, which gets large ones from the kernel and
                # gives them back every time: a quarter of a plain step of InceptionV3.
                "MALLOC_MMAP_MAX_": "0",
                "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
            }
        )
        if own:
            environments[-1] |= dict.fromkeys(
                ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(len(own))
            )
    return environments


def _prepare(parent: int, cores: Sequence[int]) -> None:
    """Runs in a new process before its program: its cores, and its end with its parent (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # The parent ended before prctl.
            os._exit(1)
    if cores:
        os.sched_setaffinity(0, cores)


def run(
    command: Sequence[str],
    cores: Sequence[Sequence[int]],
    restarts: int = 0,
    grace_seconds: float = 60.0,
) -> int:
    """Runs a command once per worker, and after a failure all of them again.

    If one worker fails, and on Ctrl-C, SIGTERM or SIGHUP, the workers that still run get SIGTERM
    and, after `grace_seconds` or a second Ctrl-C, SIGKILL. They are not restarted after a mistake
    of the user's (exit code 2), after a worker was ended by Ctrl-C or SIGTERM (codes 130 and 143,
    or killed by these signals), or after a request to stop. No process is left when this returns.
    It must be called from the main thread.

    Args:
        command: program and arguments of every worker.
        cores: the numbers of the CPU cores of each worker, one entry per worker; an empty entry for
            all cores.
        restarts: how often all workers may be restarted.
        grace_seconds: how long workers may take to save and end after SIGTERM, in seconds.

    Returns:
        The exit code: 0 if all ended with 0; 128 plus the number of the signal that asked to stop
        (130 after Ctrl-C, 143 after SIGTERM, 141 if the output cannot be written any more); 2 if a
        worker ended with 2; else 1.

    Raises:
        OSError: a process cannot be started.
    """
    with _Output() as output:
        for restart in range(restarts + 1):
            if restart:
                output.say(f"starting all again (restart {restart} of {restarts})")
            codes, failed = _run_once(command, cores, output, grace_seconds)
            if output.stopped_by or failed is None or MISTAKE in codes:
                break
            if codes[failed] in _ASKED_TO_END:
                break
    if all(code == 0 for code in codes):
        return 0
    if output.stopped_by:
        return 128 + output.stopped_by
    return MISTAKE if MISTAKE in codes else 1


def _run_once(
    command: Sequence[str], cores: Sequence[Sequence[int]], output: _Output, grace_seconds: float
) -> tuple[list[int | None], int | None]:
    """One try: the exit code of each worker, None if it ran until stopped; who failed first."""
    workers: list[_Worker] = []
    try:
        for index, environment in enumerate(worker_environments(cores)):
            workers.append(_Worker(index, command, environment, cores[index]))
        # Threads come after all processes: a process should not be forked beside threads.
        for worker in workers:
            worker.show(output)
        codes = _wait_for_end_or_failure(workers, output)
        # Rather one that failed by itself than one that lost another worker.
        failures = [index for index, code in enumerate(codes) if code]
        failed = min(failures, key=lambda index: codes[index] == LOST_WORKER, default=None)
        _say_why(workers, failed, output, grace_seconds)
        for worker in workers:
            if worker.code is None:
                worker.process.terminate()
        deadline = time.monotonic() + grace_seconds
        while any(worker.poll() is None for worker in workers):
            if output.stop_at_once or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
        mistaken = [index for index, worker in enumerate(workers) if worker.code == MISTAKE]
        if mistaken and not output.stopped_by:
            # It may have taken longer to end than those that only lost it.
            failed = mistaken[0]
            codes[failed] = MISTAKE
        return codes, failed
    finally:
        for worker in workers:
            worker.finish()


def _wait_for_end_or_failure(workers: Sequence[_Worker], output: _Output) -> list[int | None]:
    """Waits until all have ended, one failed and the cause is known, or a stop is asked for."""
    deadline = float("inf")
    while True:
        codes = [worker.poll() for worker in workers]
        if LOST_WORKER in codes:  # The lost one may not be seen to have ended yet.
            deadline = min(deadline, time.monotonic() + _CAUSE_SECONDS)
        is_cause_known = any(code not in (None, 0, LOST_WORKER) for code in codes)
        if None not in codes or is_cause_known or output.stopped_by or time.monotonic() > deadline:
            return codes
        time.sleep(_POLL_SECONDS)


def _say_why(
    workers: Sequence[_Worker], failed: int | None, output: _Output, grace_seconds: float
) -> None:
    """Says why all are being stopped, below the last output of the one that failed."""
    if output.stopped_by:
        reason = signal.Signals(output.stopped_by).name
    elif failed is not None:
        workers[failed].finish()
        code = workers[failed].code or 0
        reason = f"{workers[failed].name} ended with code {code}"
        if code < 0:
            name = signal.strsignal(-code)
            reason = f"{workers[failed].name} was killed by signal {-code} ({name})"
        elif code == LOST_WORKER:
            reason += " (it lost another worker: see its message)"
    else:
        return
    if running := sum(worker.code is None for worker in workers):
        reason += f"; {running} still running, to save and end within {grace_seconds:g} s"
        reason += " (Ctrl-C again: at once)" if output.stopped_by else ""
    output.say(reason)


class _Worker:
    """A running worker process.

    Attributes:
        code: its exit code, negative for the number of the signal that killed it; None before.
    """

    def __init__(
        self, index: int, command: Sequence[str], environment: dict[str, str], cores: Sequence[int]
    ) -> None:
        self.name = f"worker {index}"
        self.code: int | None = None
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Out of reach of the terminal's Ctrl-C: it is to be asked to save instead.
            start_new_session=True,
            preexec_fn=partial(_prepare, os.getpid(), cores),
        )
        self._readers: list[threading.Thread] = []

    def show(self, output: _Output) -> None:
        """Copies its output line by line, its name before each line, in threads."""
        for pipe, descriptor in ((self.process.stdout, 1), (self.process.stderr, 2)):
            arguments = (pipe, descriptor, f"[{self.name}] ".encode())
            self._readers.append(threading.Thread(target=output.copy, args=arguments, daemon=True))
            self._readers[-1].start()

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.code is None and (code := self.process.poll()) is not None:
            self.code = code
            self._kill_session()  # At once: later its number may be that of another process.
        return self.code

    def finish(self) -> None:
        """Kills it and what it started, if they are left; waits until its output is shown."""
        if self.poll() is None:
            self._kill_session()
            self.process.wait()
            self.poll()
        deadline = time.monotonic() + _DRAIN_SECONDS
        for reader in self._readers:  # A process that left the session may hold the pipe open.
            reader.join(max(0.0, deadline - time.monotonic()))

    def _kill_session(self) -> None:
        # macOS says PermissionError where only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class _Output:
    """Terminal of all workers, and the requests to stop that come from it, while it is a context.

    A signal that was ignored before (as SIGINT is for a shell's background jobs, SIGHUP under
    nohup) stays ignored.

    Attributes:
        stopped_by: number of the signal that asked to stop first, SIGPIPE if the output cannot be
            written any more; 0 while none has.
        stop_at_once: whether Ctrl-C asked again.
    """

    def __init__(self) -> None:
        self.stopped_by = 0
        self.stop_at_once = False
        self._failed = False
        self._lock = threading.Lock()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _Output:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None = None) -> None:
        if not self.stopped_by:
            self.stopped_by = number
        elif number == signal.SIGINT:
            self.stop_at_once = True

    def say(self, text: str) -> None:
        """Prints a line of the launcher itself."""
        self._write(2, f"[launcher] {text}\n".encode())

    def copy(self, pipe: Any, descriptor: int, prefix: bytes) -> None:
        """Writes the lines of a pipe to a file descriptor until the pipe ends, and closes it."""
        with pipe:
            for line in lines_of(iter(partial(os.read, pipe.fileno(), 65536), b"")):
                self._write(descriptor, prefix + line + b"\n")

    def _write(self, descriptor: int, line: bytes) -> None:
        try:
            with self._lock:
                while line:
                    try:
                        line = line[os.write(descriptor, line) :]
                    except BlockingIOError:
                        select.select([], [descriptor], [], 1.0)
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._stop(signal.SIGPIPE)
                self.say(f"the output cannot be written: {error.strerror}")


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    r"""Splits a stream into lines, as a terminal would show them at the end.

    A line ends with "\n" or "\r\n". Text that ends with "\r" alone, as of a progress bar, is
    overwritten by what follows: it is yielded at most once per second, and its last state always.

    Args:
        pieces: the bytes of the stream, in pieces of any length.

    Yields:
        Lines without their ends.
    """
    rest, updated, due = b"", False, 0.0
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            visible = _last_visible(line)
            if visible or not updated:
                yield visible
            updated = False
        # A "\r" at the very end may yet turn out to be the first half of "\r\n".
        updates, _, tail = rest[:-1].rpartition(b"\r")
        visible = _last_visible(updates)
        if visible and time.monotonic() >= due:
            yield visible
            rest = tail + rest[-1:]
            updated, due = True, time.monotonic() + UPDATE_SECONDS
    if visible := _last_visible(rest):
        yield visible


def _last_visible(line: bytes) -> bytes:
    """The last state of a line that is not blank, or nothing."""
    return next((state for state in reversed(line.split(b"\r")) if state.strip()), b"")
