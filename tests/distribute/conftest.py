"""Real processes on loopback, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.distribute import worker
from tests.distribute.cases import CASES, Arrays
from tests.forked import Forked
from train.launch.local import worker_environments

Results = Callable[[str], list[Arrays]]


def run_processes(kind: str, directory: Path, environments: Sequence[dict[str, str]]) -> None:
    """Runs a worker in each environment, to its end or for a limited time."""
    processes = [
        Forked(worker.main, (kind, directory), environment, directory / f"log.{index}")
        for index, environment in enumerate(environments)
    ]
    try:
        for process in processes:
            code, output = process.end()
            assert code == 0, output[-3000:]
    finally:
        for process in processes:
            process.kill()


def reader(directory: Path, processes: int) -> Results:
    def read(case: str) -> list[Arrays]:
        paths = [directory / f"{case}.{index}.npz" for index in range(processes)]
        return [dict(np.load(path)) for path in paths]

    return read


@pytest.fixture(scope="session")
def cluster_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two workers of one cluster left what they found."""
    directory = tmp_path_factory.mktemp("two_workers")
    run_processes("multi_worker", directory, worker_environments([[], []]))
    return directory


@pytest.fixture(scope="session")
def two_workers(cluster_directory: Path) -> Results:
    """Results of a case by worker."""
    return reader(cluster_directory, 2)


@pytest.fixture(scope="session")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of a case in one process with two logical devices."""
    directory = tmp_path_factory.mktemp("mirrored")
    run_processes("mirrored", directory, [{}])
    return reader(directory, 1)


@pytest.fixture(scope="session")
def alone() -> Callable[[str], Arrays]:
    """Results of a case in this process, on one device; each case runs once."""
    found: dict[str, Arrays] = {}

    def run(case: str) -> Arrays:
        if case not in found:
            found[case] = CASES[case](tf.distribute.get_strategy())
        return found[case]

    return run
