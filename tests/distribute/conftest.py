"""Real processes on loopback, started once for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.distribute.cases import CASES, Arrays
from train.launch.local import worker_environments

WORKER = Path(__file__).with_name("worker.py")
SECONDS = 240
Results = Callable[[str], list[Arrays]]


def run_processes(kind: str, directory: Path, environments: Sequence[dict[str, str]]) -> None:
    """Runs a worker in each environment, to its end or for a limited time."""
    command = [sys.executable, str(WORKER), kind, str(directory)]
    processes = []
    try:
        for index, environment in enumerate(environments):
            with (directory / f"log.{index}").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        command, env={**os.environ, **environment}, stdout=log, stderr=log
                    )
                )
        codes = [process.wait(SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = "\n".join((directory / f"log.{i}").read_text()[-3000:] for i in range(len(codes)))
    assert codes == [0] * len(codes), logs


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
