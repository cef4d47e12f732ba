"""Workers of a cluster as real processes, which are forked so that TensorFlow is imported once."""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aad_tf.distribute import find_cluster
from train.launch.local import worker_environments

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
"""Longest wait for one thing, on a machine with other things to do."""
# The process that is forked calls nothing of TensorFlow, whose threads would not survive that.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["aad_tf.training"])


def _train(flags: Sequence[str], environment: dict[str, str], log: Path) -> None:
    """`python -m train.main` with these flags; runs in the new process."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    os.environ.update(environment)
    sys.argv = ["train.main", *flags]
    runpy.run_module("train.main", run_name="__main__", alter_sys=True)


class Worker:
    """One process of train.main."""

    def __init__(self, flags: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        self.process = _FORKS.Process(target=_train, args=(flags, environment, log))
        self.process.start()

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int | None, str]:
        """Waits for its end; exit code and what it has printed."""
        self.process.join(SECONDS)
        return self.process.exitcode, self.output

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def error(self) -> str:
        """What it says in its one line of error, at its end."""
        assert "Traceback" not in self.output, self.output
        (line,) = re.findall(r"^error: (.*)$", self.output, re.MULTILINE)
        return line


class Cluster:
    """Workers that train in one model directory; ended with the context.

    Args:
        directory: the model directory; logs of workers go beside it.
        count: workers of the cluster.
        flags: of train.main, for all.
        each: further flags by worker; if fewer than `count`, the last workers never start.
    """

    def __init__(
        self, directory: Path, count: int, *flags: str, each: Sequence[Sequence[str]] | None = None
    ) -> None:
        self.directory = directory
        self.began = time.time_ns()
        common = ["--strategy=multi_worker", f"--model_dir={directory}", *flags]
        environments = worker_environments([[]] * count)
        self.addresses = find_cluster(environments[0]).addresses
        self.workers = [
            Worker([*common, *more], environment, directory.with_suffix(f".log{index}"))
            for index, (environment, more) in enumerate(
                zip(environments, each or [[]] * count, strict=False)
            )
        ]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition, which must come true before a worker ends."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            for worker in self.workers:
                assert worker.process.is_alive() and time.monotonic() < deadline, worker.output
            time.sleep(0.02)

    def wait_for_checkpoint(self) -> None:
        """Waits until the workers, and not an earlier run, have saved a checkpoint."""
        self.wait_for(
            lambda: any(
                path.stat().st_mtime_ns > self.began
                for path in self.directory.glob("checkpoints/*.index")
            )
        )
