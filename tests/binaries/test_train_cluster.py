"""train.main on several workers that are killed and stopped: who is named, when, with which code.

What a run resumes to afterwards is the matter of test_survival.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from aad_tf.distribute import create_strategy, find_cluster
from aad_tf.distribute.probe import unreachable
from tests.binaries.clusters import Cluster, Worker
from tests.forked import SECONDS, Forked
from train.launch.local import worker_environments

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(2 * SECONDS)]
ENDLESS = [
    "--config=train/configs/digits.py:clean",
    "--config.epochs=4000",
    "--config.batch_size=48",
    "--config.checkpoint_steps=10",
    "--config.validation_examples=0",
]
HEARTBEATS = 10.0
"""Seconds without a heartbeat after which a worker is lost, by default."""
MARGIN = 15.0
"""For a busy machine; and a second in which workers tell each other."""


def assert_all_name(
    survivors: Sequence[Worker], lost: str, since: float, within: float = HEARTBEATS
) -> None:
    """Every survivor ends in time, with code 75 and one sentence, the same, about one worker."""
    for worker in survivors:
        code, output = worker.end()
        assert code == 75, output
        assert re.match(rf"{lost} \(127\.0\.0\.1:\d+\) was lost: ", worker.error), output
        assert worker.error.endswith("Start all workers again to resume.")
    print(f"{lost} was named after {time.monotonic() - since:.1f} s: {survivors[0].error}")
    assert time.monotonic() - since < within + MARGIN


def test_a_killed_worker_is_named_rather_than_those_that_end_because_of_it(tmp_path: Path) -> None:
    with Cluster(tmp_path / "run", 3, *ENDLESS) as cluster:
        cluster.wait_for_checkpoint()
        cluster.workers[1].signal(signal.SIGKILL)
        assert_all_name(cluster.workers[::2], "worker 1", time.monotonic())


def test_a_killed_chief_is_named(tmp_path: Path) -> None:
    with Cluster(tmp_path / "run", 2, *ENDLESS) as cluster:
        cluster.wait_for_checkpoint()
        cluster.workers[0].signal(signal.SIGKILL)
        assert_all_name(cluster.workers[1:], "worker 0", time.monotonic())


def test_a_worker_stopped_for_20_seconds_is_named_and_says_itself_that_it_was_cut_off(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path / "run", 2, *ENDLESS) as cluster:
        chief, victim = cluster.workers
        cluster.wait_for_checkpoint()
        victim.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        assert_all_name([chief], "worker 1", stopped)
        # The last of its heartbeats, which come twice per timeout, was sent up to 5 s before.
        assert time.monotonic() - stopped > HEARTBEATS / 2 - 0.5
        time.sleep(max(0.0, stopped + 20.0 - time.monotonic()))
        victim.signal(signal.SIGCONT)
        code, output = victim.end()
        assert code == 75, output
        found = re.match(
            r"worker 1 \(\S+\), which is this process, was suspended for (\d+) seconds, and the "
            r"others",
            victim.error,
        )
        assert found and int(found[1]) >= 19, output


def test_a_chief_stopped_for_good_is_named_after_the_time_given(tmp_path: Path) -> None:
    with Cluster(tmp_path / "run", 2, *ENDLESS, "--lost_after=4") as cluster:
        cluster.wait_for_checkpoint()
        cluster.workers[0].signal(signal.SIGSTOP)
        assert_all_name(cluster.workers[1:], "worker 0", time.monotonic(), 4 + 4 / 2)


def test_workers_of_different_configs_refuse_to_train(tmp_path: Path) -> None:
    each = [[], ["--config.learning_rate=0.5"]]
    with Cluster(tmp_path / "run", 2, *ENDLESS, each=each) as cluster:
        for worker in cluster.workers:
            code, output = worker.end()
            assert code == 2, output
            assert re.search(
                r"do not agree\. worker 1 \(\S+\) has config\.learning_rate 0\.5, worker 0 "
                r"\(\S+\) has 0\.001\.",
                worker.error,
            ), output
    assert not cluster.directory.exists()


def test_a_directory_that_is_not_shared_is_named(tmp_path: Path) -> None:
    each = [[], [f"--model_dir={tmp_path / 'other'}"]]
    flags = [*ENDLESS, "--join_timeout=8", "--lost_after=20"]
    with Cluster(tmp_path / "run", 2, *flags, each=each) as cluster:
        chief, worker = cluster.workers
        code, output = worker.end()
        assert code == 2 and "does not see what worker 0" in worker.error, output
        assert "Every worker needs the same --model_dir" in worker.error
        code, output = chief.end()
        assert code == 75, output
        assert re.match(r"worker 1 \(\S+\) failed: worker 1 .* does not see", chief.error), output


def test_a_worker_that_was_never_started_is_named_and_sigterm_ends_the_wait(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path / "one", 2, *ENDLESS, "--join_timeout=2", each=[[]]) as impatient,
        Cluster(tmp_path / "other", 2, *ENDLESS, each=[[]]) as patient,
    ):
        (chief,) = impatient.workers
        code, output = chief.end()
        assert code == 75, output
        assert re.match(r"worker 1 \(\S+\) did not start within 2 seconds", chief.error), output
        (chief,) = patient.workers
        patient.wait_for(lambda: not unreachable(list(patient.addresses[:1])))
        chief.signal(signal.SIGTERM)
        code, output = chief.end()
        assert code == 128 + signal.SIGTERM and "asked to end" in output, output


def connect_within_3_seconds() -> None:
    create_strategy("multi_worker", find_cluster(), connect_timeout=3.0)


def test_a_worker_that_dies_while_they_connect_is_named(tmp_path: Path) -> None:
    """TensorFlow would wait for it, and hold Python's lock meanwhile."""
    environment = worker_environments([[], []])[0]
    began = time.monotonic()
    alone = Forked(connect_within_3_seconds, (), environment, tmp_path / "log")
    code, output = alone.end()
    assert time.monotonic() - began < 3 + 5 + 60
    assert code == 1 and "Traceback" not in output, output
    assert re.search(
        r"^error: worker 1 \(\S+\) was lost while the workers connected", output, re.MULTILINE
    ), output
