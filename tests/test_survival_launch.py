"""The survival check with processes: small programs that are killed, and a whole check."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.survival.killing import Bounds, Killing
from benchmarks.survival.launch import Launch, StoppedError, SurvivalError
from benchmarks.survival.logs import Pace
from benchmarks.survival.plan import Course, Kill
from train.launch.stopping import StopRequests

ROOT = Path(__file__).resolve().parents[1]
COURSE = Course(epochs=1, steps=100, checkpoint_steps=3)
PACE = Pace(start=0.2, step=0.05, validation=0.1)

# Counts steps; ends as a worker does when the process that wrote its number first is gone.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
Path(f"{sys.argv[1]}/{index}").write_text(str(os.getpid()))
step, other = 0, Path(f"{sys.argv[1]}/{1 - index}")
while True:
    time.sleep(0.02)
    step += 1
    if index == 0:
        print(f"I1122 05:12:36.366355 1 run_log.py:89] epoch 1/1 step {step}/100 1 steps/s")
    try:
        os.kill(int(other.read_text()), 0) if other.exists() else None
    except ProcessLookupError:
        print(f"error: worker {1 - index} (127.0.0.1:1) was lost.", file=sys.stderr)
        sys.exit(75)
"""


@pytest.fixture
def stops() -> Iterator[StopRequests]:
    with StopRequests() as requests:
        yield requests


@pytest.fixture
def launch(tmp_path: Path, stops: StopRequests) -> Iterator[Callable[..., Launch]]:
    """Starts two workers that run a program; all are gone behind the test."""
    started: list[Launch] = []

    def start(program: str = PROGRAM, limit: float = 60.0) -> Launch:
        command = [sys.executable, "-I", "-S", "-u", "-c", program, str(tmp_path)]
        started.append(Launch(command, [[], []], tmp_path / "logs", stops, limit))
        return started[-1]

    yield start
    for one in started:
        one.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("worker", [0, 1])
def test_a_worker_is_killed_behind_a_step(
    launch: Callable[..., Launch], tmp_path: Path, worker: int
) -> None:
    running = launch()
    killing = Killing(running, Kill("step", 5, 0.5, worker), COURSE, PACE, tmp_path / "none")
    assert killing.wait()
    record = killing.execute(Bounds(lost_after=5.0, join_timeout=5.0))
    (survivor,) = record["survivors"]
    assert running.codes[worker] == -signal.SIGKILL
    assert survivor["worker"] == 1 - worker
    assert survivor["code"] == 75 and survivor["as_expected"] and survivor["in_time"]
    assert survivor["names_the_lost"]
    assert survivor["message"] == f"error: worker {worker} (127.0.0.1:1) was lost."
    assert 0 <= survivor["seconds"] < 35
    assert record["steps_done"] >= 5 and record["found_done"] == 0
    assert record["phase"] == f"step {record['steps_done'] + 1} of epoch 1"


def test_a_kill_comes_while_a_checkpoint_is_written(
    launch: Callable[..., Launch], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    writes = PROGRAM.replace(
        "    if index == 0:\n",
        "    if index == 0:\n        if step == 7: Path(sys.argv[1], 'checkpoints', 'part')"
        ".write_text('x')\n        time.sleep(5 * (step == 7))\n",
    )
    killing = Killing(launch(writes), Kill("checkpoint", 7, 0.5, 0), COURSE, PACE, folder)
    assert killing.wait()
    record = killing.execute(Bounds(5.0, 5.0))
    assert record["phase"] == "writing the checkpoint behind step 7 of epoch 1"
    assert record["steps_done"] == 6


def test_nobody_is_left_behind(launch: Callable[..., Launch], tmp_path: Path) -> None:
    running = launch()
    running.wait(lambda: len(running.chief.events) > 2)
    numbers = [int((tmp_path / str(index)).read_text()) for index in (0, 1)]
    assert all(map(is_alive, numbers))
    running.close()
    assert not any(map(is_alive, numbers))
    seconds = running.seconds
    time.sleep(0.05)
    assert running.seconds == seconds


def test_a_launch_has_a_limit(launch: Callable[..., Launch]) -> None:
    running = launch(limit=0.5)
    assert not running.wait(lambda: False, limit=0.1)
    with pytest.raises(SurvivalError, match="not done after"):
        running.wait(lambda: False)


def test_a_request_to_stop_ends_the_wait(
    launch: Callable[..., Launch], stops: StopRequests
) -> None:
    running = launch()
    stops.request(signal.SIGTERM)
    with pytest.raises(StoppedError, match="SIGTERM") as caught:
        running.wait(lambda: False)
    assert caught.value.signal == signal.SIGTERM


def test_a_run_that_fails_by_itself_is_not_killed(
    launch: Callable[..., Launch], tmp_path: Path
) -> None:
    killing = Killing(
        launch("raise SystemExit(3)"), Kill("start", 0, 0.9, 0), COURSE, PACE, tmp_path
    )
    with pytest.raises(SurvivalError, match="before one was killed"):
        killing.wait()


def check(work_dir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.survival", f"--work_dir={work_dir}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


def test_a_mistake_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    digits = "--config=train/configs/digits.py:clean"
    foreign = check(tmp_path, digits, f"--output={tmp_path / 'found.json'}")
    assert foreign.returncode == 2 and "holds something else" in foreign.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious"]
    assert "--kills=0" in check(tmp_path, digits, "--kills=0").stderr


@pytest.mark.slow
@pytest.mark.whole_benchmark
@pytest.mark.distributed
def test_a_run_survives(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    result = check(
        tmp_path / "work",
        "--config=train/configs/digits.py:clean",
        "--kills=2",
        "--seed=1",
        f"--output={output}",
        "--",
        "--config.epochs=2",
        "--config.train_examples=240",
        "--config.batch_size=40",
        "--config.checkpoint_steps=2",
    )
    assert output.is_file(), result.stderr
    found = json.loads(output.read_text(encoding="utf-8"))
    assert [kill["kind"] for kill in found["kills"]] in (
        ["step", "checkpoint"],
        ["checkpoint", "step"],
    )
    assert found["course"] == {"epochs": 2, "steps": 6, "checkpoint_steps": 2}
    survivors = [survivor for kill in found["kills"] for survivor in kill["survivors"]]
    assert all(one["as_expected"] and one["in_time"] and one["names_the_lost"] for one in survivors)
    assert found["comparison"]["arrays_unlike"] == 0
    assert found["comparison"]["largest_history_difference"] < 1e-6
    assert all(kill["steps_repeated"] <= 4 for kill in found["kills"])
    assert "bit for bit" in output.with_suffix(".md").read_text(encoding="utf-8")
