"""Processes that measure on order, each on its own core, and none of them left behind."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.hosts import Host
from train.launch import child, loopback
from train.launch.processes import Program

_COMMAND = (sys.executable, "-m", "benchmarks.scaling.worker")
_ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.1
# Lines of what a worker printed before it failed.
_LAST_WORDS = 20


class WorkerFailedError(RuntimeError):
    """A worker process ended or was silent for too long."""


class WorkerProcess:
    """A running `benchmarks.scaling.worker`.

    Args:
        program: its command, environment and cores.
        answer_seconds: so long may it take to answer.
    """

    def __init__(self, program: Program, answer_seconds: float) -> None:
        self.name, self._patience = program.name, answer_seconds
        self._last_words: collections.deque[str] = collections.deque(maxlen=_LAST_WORDS)
        command = [sys.executable, "-I", "-S", child.__file__, str(os.getpid())]
        command += [",".join(map(str, program.cores)), *program.command]
        self._popen = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=dict(program.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._asked = time.monotonic()
        self._answers: queue.Queue[str | None] = queue.Queue()
        for listen in (self._hear_answers, self._hear_words):
            threading.Thread(target=listen, daemon=True).start()

    def _hear_answers(self) -> None:
        for line in self._popen.stdout or ():
            self._answers.put(line)
        self._answers.put(None)

    def _hear_words(self) -> None:
        self._last_words.extend(self._popen.stderr or ())

    @property
    def process_id(self) -> int:
        """Number of the process."""
        return self._popen.pid

    def order(self, name: str, **arguments: Any) -> None:
        """Sends an order; `answer` waits for what comes of it."""
        if self._popen.stdin is None:
            raise WorkerFailedError(f"{self.name} takes no orders.")
        self._asked = time.monotonic()
        try:
            self._popen.stdin.write(json.dumps({"order": name, **arguments}) + "\n")
            self._popen.stdin.flush()
        except OSError as error:
            raise self._failure("ended") from error

    def answer(self, wait_seconds: float) -> dict[str, Any] | None:
        """The answer to the oldest order that was not answered; None if there is none yet.

        Raises:
            WorkerFailedError: the process ended, or was silent for too long.
        """
        try:
            line = self._answers.get(timeout=wait_seconds)
        except queue.Empty:
            if time.monotonic() - self._asked > self._patience:
                raise self._failure(f"was silent for {self._patience:g} s") from None
            return None
        if line is None:
            raise self._failure("ended")
        return json.loads(line)

    def _failure(self, what: str) -> WorkerFailedError:
        # Its last words may take a moment.
        time.sleep(0.2)
        words = "".join(list(self._last_words))
        return WorkerFailedError(f"{self.name} {what}. It said last:\n{words}")

    def end(self) -> None:
        """Kills the process and all it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


def _moved(program: Program, hosts: Sequence[Host]) -> Program:
    """A worker of a cluster on loopback, on its host."""
    config = json.loads(program.environment["TF_CONFIG"])
    addresses = config["cluster"]["worker"]
    config["cluster"]["worker"] = [
        f"{host.address}:{address.rpartition(':')[2]}"
        for host, address in zip(hosts, addresses, strict=True)
    ]
    own = hosts[config["task"]["index"]]
    environment = {**program.environment, "TF_CONFIG": json.dumps(config)}
    return Program(program.name, own.command(program.command), environment, program.cores)


def ask(workers: Sequence[WorkerProcess], order: str, **arguments: Any) -> list[dict[str, Any]]:
    """Gives all workers the same order at once and returns their answers.

    Raises:
        WorkerFailedError: one of them failed.
    """
    for worker in workers:
        worker.order(order, **arguments)
    answers: dict[str, dict[str, Any]] = {}
    while len(answers) < len(workers):
        # All in turns: a worker whose peer has ended would wait for it.
        for worker in workers:
            if worker.name not in answers:
                answer = worker.answer(_POLL_SECONDS)
                if answer is not None:
                    answers[worker.name] = answer
    return [answers[worker.name] for worker in workers]


@contextlib.contextmanager
def crew(
    cores: Sequence[int], together: bool, answer_seconds: float, hosts: Sequence[Host] = ()
) -> Iterator[Any]:
    """Runs a worker on each core while the context is open.

    Args:
        cores: one a worker.
        together: whether they make a cluster; else each is alone.
        answer_seconds: so long may a worker take to answer.
        hosts: one a worker; none for all on loopback.

    Yields:
        The workers, in the order of cores.
    """
    programs = loopback.cluster(_COMMAND, [[core] for core in cores])
    if hosts:
        programs = [_moved(program, hosts) for program in programs]
    workers: list[WorkerProcess] = []
    try:
        for program in programs:
            environment = dict(program.environment)
            if not together:
                del environment["TF_CONFIG"]
            kind = "of a pair" if together else "alone"
            name = f"{program.name} {kind} on core {program.cores[0]}"
            workers.append(
                WorkerProcess(
                    Program(name, program.command, environment, program.cores), answer_seconds
                )
            )
        yield workers
    finally:
        for worker in workers:
            worker.end()
