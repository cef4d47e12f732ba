"""A run of two workers that is hurt again and again ends as the run that was left alone.

Progress is read from checkpoints, never from what workers print.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import model_directory

ROOT = Path(__file__).resolve().parents[2]
SEED = 0
SECONDS = 240
"""Longest wait for one thing, on a machine with other things to do."""
EPOCHS, STEPS, EVERY = 4, 20, 4
FLAGS = [
    "--config=train/configs/digits.py:clean",
    f"--config.epochs={EPOCHS}",
    f"--config.train_examples={50 * STEPS}",
    "--config.batch_size=50",
    f"--config.checkpoint_steps={EVERY}",
    "--config.validation_examples=31",
]
DAMAGED = "worker killed and newest checkpoint damaged"
WAYS = {
    "worker killed": (1, signal.SIGKILL),
    "chief killed": (0, signal.SIGKILL),
    "worker stopped": (1, signal.SIGSTOP),
    DAMAGED: (1, signal.SIGKILL),
}
"""What is done to the run, with the worker that gets a signal for it."""


class LocalCluster:
    """train.local_cluster on two workers; ended with the context."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory, self._log = directory, directory.with_suffix(".log")
        self.began = time.time_ns()
        command = [sys.executable, "-m", "train.local_cluster", "--workers=2", *flags, "--"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *FLAGS, f"--model_dir={directory}"], cwd=ROOT, stdout=log, stderr=log
            )

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()  # Workers die with it.
        self._process.wait()

    def signal(self, worker: int, number: signal.Signals) -> None:
        """Sends a signal to a worker."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        os.kill(int(path.read_text().split()[worker]), number)

    def wait(self) -> int:
        """Exit code of the launcher at its end."""
        return self._process.wait(SECONDS)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition, which must come true before the run ends."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert self._process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.02)

    @property
    def output(self) -> str:
        """What the workers have printed."""
        return self._log.read_text(errors="replace")


def checkpoints(directory: Path, since: int = 0) -> list[tuple[str, int]]:
    """Paths of checkpoints saved after a time (ns), oldest first, with the steps done by then."""
    state = tf.train.get_checkpoint_state(os.fspath(directory / model_directory.CHECKPOINTS))
    found = []
    for path in state.all_model_checkpoint_paths if state else ():
        try:
            if os.stat(f"{path}.index").st_mtime_ns > since:
                reader = tf.train.load_checkpoint(path)
                epoch, step = (
                    int(reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE"))
                    for name in ("epoch", "step")
                )
                found.append((path, epoch * STEPS + step))
        except (OSError, tf.errors.OpError):  # Deleted or replaced since it was listed.
            continue
    return found


def truncate_newest(directory: Path) -> None:
    """Cuts the newest checkpoint's values to half."""
    data = Path(f"{checkpoints(directory)[-1][0]}.data-00000-of-00001")
    os.truncate(data, data.stat().st_size // 2)


def hurt(directory: Path, how: str, generator: random.Random, resumes_at: int) -> int:
    """Starts the workers, hurts one at a random moment, and waits until all have ended.

    Args:
        directory: model directory.
        how: one of WAYS.
        generator: draws the moment.
        resumes_at: steps that the newest readable checkpoint holds.

    Returns:
        Steps that the newest readable checkpoint holds now.
    """
    worker, number = WAYS[how]
    # One that is stopped cannot end by itself.
    flags = ["--grace_seconds=5"] if number == signal.SIGSTOP else []
    with LocalCluster(directory, *flags) as cluster:

        def saved() -> list[int]:
            return [steps for _, steps in checkpoints(directory, cluster.began)]

        cluster.wait_for(lambda: bool(saved()))
        # It has gone on from where it was. An epoch's end is saved before and after validation.
        at_end = resumes_at > 0 and resumes_at % STEPS == 0
        assert saved()[0] >= resumes_at + (not at_end), cluster.output
        step = saved()[0] + generator.choice((0, EVERY))
        seconds = generator.uniform(0.0, 0.3)
        print(f"{how}: {seconds:.3f} s after the checkpoint of step {step}")
        cluster.wait_for(lambda: max(saved()) >= step)
        time.sleep(seconds)
        cluster.signal(worker, number)
        assert cluster.wait() == 1, cluster.output
    if how == DAMAGED:
        truncate_newest(directory)
        return checkpoints(directory)[-2][1]
    return checkpoints(directory)[-1][1]


def run_to_the_end(directory: Path) -> None:
    with LocalCluster(directory) as cluster:
        assert cluster.wait() == 0, cluster.output


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(8 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in Linux's /proc")
def test_a_run_survives_kills_stops_and_damage_bit_for_bit(tmp_path: Path) -> None:
    alone, hurt_often = tmp_path / "alone", tmp_path / "hurt"
    run_to_the_end(alone)
    generator = random.Random(SEED)
    print(f"seed {SEED}")
    steps = 0
    for how in generator.sample(list(WAYS), len(WAYS)):
        steps = hurt(hurt_often, how, generator, steps)
    assert 0 < steps < EPOCHS * STEPS
    run_to_the_end(hurt_often)
    weights, expected = (
        model_directory.load_network(path).get_weights() for path in (hurt_often, alone)
    )
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    histories = [
        np.genfromtxt(path / model_directory.HISTORY, delimiter=",", names=True)
        for path in (hurt_often, alone)
    ]
    assert histories[0].dtype.names == histories[1].dtype.names
    # Means over an epoch that was interrupted are rounded once more: workers' parts are added up.
    for column in histories[1].dtype.names:
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=1e-6)
