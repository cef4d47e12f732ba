"""Workers of train.main on this machine, as real processes."""

from __future__ import annotations

import re
import runpy
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aad_tf.distribute import find_cluster
from tests.forked import SECONDS, Forked
from train.launch.local import worker_environments

HEARTBEATS = 10.0
"""Seconds without a heartbeat after which a worker is lost, by default."""
MARGIN = 15.0
"""For a busy machine; and a second in which workers tell each other."""
_USED: set[str] = set()
_USE = threading.Lock()


def _environments(count: int) -> list[dict[str, str]]:
    """Those of a cluster at addresses that no other cluster has had."""
    with _USE:
        while True:
            environments = worker_environments([[]] * count)
            addresses = find_cluster(environments[0]).addresses
            if _USED.isdisjoint(addresses):
                _USED.update(addresses)
                return environments


def _train(*flags: str) -> None:
    """`python -m train.main` with these flags."""
    sys.argv = ["train.main", *flags]
    runpy.run_module("train.main", run_name="__main__", alter_sys=True)


class Worker(Forked):
    """One process of train.main, whose errors are one line."""

    def __init__(self, flags: Sequence[str], environment: dict[str, str], log: Path) -> None:
        super().__init__(_train, flags, environment, log)

    @property
    def error(self) -> str:
        """What it says in its one line of error, at its end."""
        assert "Traceback" not in self.output, self.output
        (line,) = re.findall(r"^error: (.*)$", self.output, re.MULTILINE)
        return line


def assert_all_name(
    survivors: Sequence[Worker], lost: str, since: float, within: float = HEARTBEATS
) -> None:
    """Every survivor ends in time, with code 75 and one sentence, the same, about one worker.

    Args:
        survivors: the workers that go on.
        lost: the name of the one that is lost, as in "worker 1".
        since: when it was lost, by `time.monotonic`.
        within: seconds after which it is named at the latest, but for MARGIN.
    """
    for worker in survivors:
        code, output = worker.end()
        assert code == 75, output
        assert re.match(rf"{lost} \(127\.0\.0\.1:\d+\) was lost: ", worker.error), output
        assert worker.error.endswith("Start all workers again to resume.")
    print(f"{lost} was named after {time.monotonic() - since:.1f} s: {survivors[0].error}")
    assert time.monotonic() - since < within + MARGIN


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
        environments = _environments(count)
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
            worker.kill()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition, which must come true before a worker ends."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            for worker in self.workers:
                assert worker.runs and time.monotonic() < deadline, worker.output
            time.sleep(0.02)

    def wait_for_checkpoint(self) -> None:
        """Waits until the workers, and not an earlier run, have saved a checkpoint."""
        self.wait_for(
            lambda: any(
                path.stat().st_mtime_ns > self.began
                for path in self.directory.glob("checkpoints/*.index")
            )
        )
