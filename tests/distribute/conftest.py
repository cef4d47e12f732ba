"""Real processes on loopback, started once for all tests of this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.distribute import worker
from tests.distribute.cases import Arrays
from tests.forked import Forked
from train.launch.local import worker_environments

Results = Callable[[str], list[Arrays]]
Started = dict[str, tuple[Path, list[Forked]]]

KINDS = ("multi_worker", "mirrored", "none")


@contextlib.contextmanager
def started(
    kind: str, directory: Path, environments: Sequence[dict[str, str]]
) -> Iterator[list[Forked]]:
    """A worker in each environment, ended with the context."""
    processes = [
        Forked(worker.main, (kind, directory), environment, directory / f"log.{index}")
        for index, environment in enumerate(environments)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """All processes of this folder by kind, with the directory that each kind writes into.

    They run side by side, so that some compute while others wait for each other.
    """
    with contextlib.ExitStack() as running:
        found = {}
        for kind in KINDS:
            environments = worker_environments([[], []]) if kind == "multi_worker" else [{}]
            directory = tmp_path_factory.mktemp(kind)
            found[kind] = directory, running.enter_context(started(kind, directory, environments))
        yield found


def results(processes: Started, kind: str) -> Results:
    """Waits for the end of the processes of a kind; gives the results of a case by process."""
    directory, running = processes[kind]
    for process in running:
        code, output = process.end()
        assert code == 0, output[-3000:]

    def read(case: str) -> list[Arrays]:
        paths = [directory / f"{case}.{index}.npz" for index in range(len(running))]
        return [dict(np.load(path)) for path in paths]

    return read


@pytest.fixture(scope="session")
def two_workers(processes: Started) -> Results:
    """Results of a case by worker, of two workers of one cluster."""
    return results(processes, "multi_worker")


@pytest.fixture(scope="session")
def cluster_directory(processes: Started, two_workers: Results) -> Path:
    """Where two workers of one cluster left what they found."""
    return processes["multi_worker"][0]


@pytest.fixture(scope="session")
def mirrored(processes: Started) -> Results:
    """Results of a case in one process with two logical devices."""
    return results(processes, "mirrored")


@pytest.fixture(scope="session")
def alone(processes: Started) -> Callable[[str], Arrays]:
    """Results of a case in one process on one device."""
    read = results(processes, "none")
    return lambda case: read(case)[0]
