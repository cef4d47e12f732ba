"""train.main on several workers: real processes, real kills, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from aad_tf.distribute.cluster.probe import unreachable
from tests.distribute.processes import tf_configs

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
"""Longest wait for one thing, on a machine with other things to do."""
# The first test of a run also waits for the uninterrupted one.
pytestmark = [pytest.mark.distributed, pytest.mark.timeout(600)]
FLAGS = [
    "--config=train/configs/digits.py:clean",
    "--config.epochs=8",
    "--config.batch_size=48",
    "--config.checkpoint_steps=20",
    "--config.validation_examples=31",
]
ENDLESS = "--config.epochs=4000"
HEARTBEATS = 10.0
"""Seconds without a heartbeat after which a worker is lost, by default."""
MARGIN = 15.0
"""For a busy machine; and a second in which workers tell each other."""


def weights_of(directory: Path) -> list[np.ndarray]:
    from aad_tf.model_directory import load_classifier

    return load_classifier(directory)[0].model.get_weights()


class Worker:
    """One process of train.main."""

    def __init__(self, environment: dict[str, str], log: Path, flags: Sequence[str]) -> None:
        self._log = log
        config = json.loads(environment["TF_CONFIG"])
        self.address: str = config["cluster"]["worker"][config["task"]["index"]]
        command = [sys.executable, "-m", "train.main", "--strategy=multi_worker", *FLAGS, *flags]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
                stdout=file,
                stderr=file,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> tuple[int, str]:
        """Waits for its end; exit code and what it has printed."""
        return self.process.wait(SECONDS), self.output

    @property
    def error(self) -> str:
        """What it says in its one line of error, at its end."""
        assert "Traceback" not in self.output, self.output
        (line,) = re.findall(r"^error: (.*)$", self.output, re.MULTILINE)
        return line


class Team:
    """Starts the workers of clusters; none is left behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "run"
        self._logs = directory
        self.started: list[Worker] = []

    def start(
        self, count: int, *flags: str, own: Sequence[Sequence[str]] = (), only: int | None = None
    ) -> list[Worker]:
        """Starts `count` workers of one cluster, or only the first of them."""
        workers = []
        for index, environment in enumerate(tf_configs(count)[:only]):
            more = own[index] if own else [f"--model_dir={self.directory}"]
            log = self._logs / f"log.{len(self.started)}"
            workers.append(Worker(environment, log, [*flags, *more]))
            self.started.append(workers[-1])
        return workers

    def train(self, count: int, *flags: str) -> list[Worker]:
        """Starts workers and waits until they have saved a checkpoint of their own."""
        began = time.time_ns()
        workers = self.start(count, *flags)
        deadline = time.monotonic() + SECONDS
        while not any(
            path.stat().st_mtime_ns > began for path in self.directory.glob("checkpoints/*.index")
        ):
            for worker in workers:
                assert worker.process.poll() is None, worker.output
            assert time.monotonic() < deadline, workers[0].output
            time.sleep(0.05)
        return workers

    def end(self) -> None:
        for worker in self.started:
            worker.process.kill()
            worker.process.wait()


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    team = Team(tmp_path)
    yield team
    team.end()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory of a run of two workers that nothing happened to."""
    team = Team(tmp_path_factory.mktemp("uninterrupted"))
    try:
        for worker in team.start(2):
            code, output = worker.end()
            assert code == 0, output
    finally:
        team.end()
    return team.directory


def assert_all_name(survivors: Sequence[Worker], lost: str, since: float, within: float) -> None:
    """Every survivor ends in time, with code 75 and one sentence, the same, about one worker."""
    for worker in survivors:
        code, output = worker.end()
        assert code == 75, output
        assert re.match(rf"{lost} \(127\.0\.0\.1:\d+\) was lost: ", worker.error), output
        assert worker.error.endswith("Start all workers again to resume.")
    print(f"{lost} was named after {time.monotonic() - since:.1f} s: {survivors[0].error}")
    assert time.monotonic() - since < within


def assert_ends_as(uninterrupted: Path, team: Team) -> None:
    """All workers are started again, resume, and end with the weights of the other run."""
    for worker in team.start(2):
        code, output = worker.end()
        assert code == 0 and "Resuming at epoch" in output, output
    for one, other in zip(weights_of(team.directory), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_killed_worker_and_chief_are_named_and_the_run_ends_as_if_nothing_had_been(
    team: Team, uninterrupted: Path
) -> None:
    for lost, survivor in ((1, 0), (0, 1)):
        workers = team.train(2)
        killed = time.monotonic()
        workers[lost].process.kill()
        assert_all_name([workers[survivor]], f"worker {lost}", killed, HEARTBEATS + MARGIN)
    assert_ends_as(uninterrupted, team)


def test_a_killed_worker_is_named_rather_than_those_that_end_because_of_it(team: Team) -> None:
    workers = team.train(3, ENDLESS)
    killed = time.monotonic()
    workers.pop(1).process.kill()
    assert_all_name(workers, "worker 1", killed, HEARTBEATS + MARGIN)


def test_a_stopped_worker_is_named_in_time_and_says_itself_that_it_was_cut_off(
    team: Team,
) -> None:
    workers = team.train(3, ENDLESS, "--lost_after=24")
    victim = workers.pop(1)
    victim.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    assert_all_name(workers, "worker 1", stopped, 24 + MARGIN)
    # The last of its heartbeats, which come twice per timeout, was sent up to 12 seconds before.
    assert time.monotonic() - stopped > 11.5
    victim.process.send_signal(signal.SIGCONT)
    code, output = victim.end()
    assert code == 75, output
    own = (
        r"worker 1 \(\S+\), which is this process, was suspended for (\d+) seconds, and the others"
    )
    found = re.match(own, victim.error)
    assert found and int(found[1]) >= 11, output


def test_a_stopped_chief_is_named_after_the_time_given(team: Team) -> None:
    chief, worker = team.train(2, ENDLESS, "--lost_after=4")
    chief.process.send_signal(signal.SIGSTOP)
    assert_all_name([worker], "worker 0", time.monotonic(), 4 + 4 / 2 + MARGIN)


def test_sigterm_saves_and_a_damaged_checkpoint_is_passed_over(
    team: Team, uninterrupted: Path
) -> None:
    workers = team.train(2)
    workers[1].process.send_signal(signal.SIGTERM)
    for worker in workers:
        code, output = worker.end()
        assert code == 128 + signal.SIGTERM and "training is saved" in output, output
    checkpoints = team.directory.glob("checkpoints/*.data-*")
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert_ends_as(uninterrupted, team)
    assert all("trying the one before" in worker.output for worker in team.started[-2:])


def test_workers_of_different_configs_refuse_to_train(team: Team) -> None:
    directory = f"--model_dir={team.directory}"
    workers = team.start(2, own=[[directory], [directory, "--config.learning_rate=0.5"]])
    for worker in workers:
        code, output = worker.end()
        assert code == 2, output
        assert re.search(
            r"do not agree\. worker 1 \(\S+\) has config\.learning_rate 0\.5, worker 0 \(\S+\) has "
            r"0\.001\.",
            worker.error,
        ), output
    assert not team.directory.exists()


def test_a_directory_that_is_not_shared_is_named(team: Team, tmp_path: Path) -> None:
    own = [[f"--model_dir={tmp_path / name}"] for name in ("one", "other")]
    chief, worker = team.start(2, "--join_timeout=60", "--lost_after=20", own=own)
    code, output = worker.end()
    assert code == 2 and "does not see what worker 0" in worker.error, output
    assert "Every worker needs the same --model_dir" in worker.error
    code, output = chief.end()
    assert code == 75, output
    assert re.match(r"worker 1 \(\S+\) failed: worker 1 .* does not see what", chief.error), output


def test_a_worker_that_was_never_started_is_named(team: Team) -> None:
    (chief,) = team.start(2, "--join_timeout=2", only=1)
    code, output = chief.end()
    assert code == 75, output
    assert re.match(r"worker 1 \(\S+\) did not start within 2 seconds", chief.error), output


def test_sigterm_ends_a_worker_that_waits_for_the_others(team: Team) -> None:
    (chief,) = team.start(2, only=1)
    deadline = time.monotonic() + SECONDS
    while unreachable([chief.address]):
        assert chief.process.poll() is None and time.monotonic() < deadline, chief.output
        time.sleep(0.1)
    chief.process.send_signal(signal.SIGTERM)
    code, output = chief.end()
    assert code == 128 + signal.SIGTERM and "asked to end" in output, output


def test_a_worker_that_dies_while_they_connect_is_named(tmp_path: Path) -> None:
    """TensorFlow would wait for it, and hold Python's lock meanwhile."""
    connect = (
        "from aad_tf.distribute import create_strategy, find_cluster; "
        "create_strategy('multi_worker', find_cluster(), connect_timeout=3.0)"
    )
    environment = tf_configs(2)[0]
    began = time.monotonic()
    alone = subprocess.run(
        [sys.executable, "-c", connect],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert time.monotonic() - began < 3 + 5 + 60
    assert alone.returncode == 1, alone.stderr
    assert re.search(
        r"^error: worker 1 \(\S+\) was lost while the workers connected", alone.stderr, re.MULTILINE
    ), alone.stderr
    assert "Traceback" not in alone.stderr


def test_flags_that_are_wrong_end_like_every_mistake(team: Team) -> None:
    (worker,) = team.start(1, "--strategy=many")
    code, output = worker.end()
    assert code == 2, output
    assert "--strategy" in worker.error
