"""Starts worker processes on loopback and hears what they tell."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("worker.py")
PATIENCE = 20.0


def free_port() -> int:
    """A port that is free, as is the control port that follows from it.

    Below those that outgoing connections are given, so that none takes it in between.
    """
    for _ in range(100):
        port = random.randrange(10_000, 31_000)
        try:
            for number in (port, port + 1000):
                socket.create_server(("127.0.0.1", number)).close()
        except OSError:
            continue
        return port
    raise RuntimeError("found no free port in 100 attempts")


def addresses(size: int) -> list[str]:
    """Addresses of workers on loopback, as a chief at a free port and others beside it."""
    port = free_port()
    return [f"127.0.0.1:{port + offset}" for offset in range(size)]


class Worker:
    """One worker process."""

    def __init__(self, addresses: list[str], index: int, **options: Any) -> None:
        given = {"addresses": addresses, "index": index, "join_timeout": PATIENCE, **options}
        environment = {n: v for n, v in os.environ.items() if n != "AAD_TF_CONTROL_PORT"}
        command = [sys.executable, str(SCRIPT), json.dumps(given)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.output: list[str] = []
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("{"):
                self._events.put(json.loads(line))

    def expect(self, event: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The next event, which must be this one."""
        return self.expect_any((event,), seconds)

    def expect_any(self, events: tuple[str, ...], seconds: float = PATIENCE) -> dict[str, Any]:
        """The next event, which must be one of these."""
        try:
            told = self._events.get(timeout=seconds)
        except queue.Empty:
            output = "".join(self.output)
            raise AssertionError(f"no {events} in {seconds} s; it told:\n{output}") from None
        assert told["event"] in events, told
        return told

    def command(self, text: str) -> None:
        """Gives a command without waiting for what comes of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def do(self, text: str) -> dict[str, Any]:
        """Gives a command and waits until it is done."""
        self.command(text)
        return self.expect("done")

    def has_told(self) -> bool:
        """Whether it has told something that was not expected yet."""
        return not self._events.empty()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """Kills the process, if it still runs, and closes what leads to it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


class Team:
    """The workers of one test; all of them end with it."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def start(self, addresses: list[str], index: int, **options: Any) -> Worker:
        worker = Worker(addresses, index, **options)
        self._workers.append(worker)
        return worker

    def joined(self, size: int, **options: Any) -> list[Worker]:
        """That many workers, which have joined."""
        where = addresses(size)
        workers = [self.start(where, index, **options) for index in range(size)]
        for worker in workers:
            worker.expect("joined")
        return workers

    def end(self) -> None:
        for worker in self._workers:
            worker.end()


def tell_nothing(workers: list[Worker], seconds: float) -> bool:
    """Whether none of these workers tells anything for that long."""
    time.sleep(seconds)
    return not any(worker.has_told() for worker in workers)


def wait_until(condition: Any, seconds: float = PATIENCE) -> None:
    """Waits until a condition holds, or fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come about in {seconds} seconds"
        time.sleep(0.02)
