"""train.main on several workers that are killed and stopped: who is named, when, with which code.

What a run resumes to afterwards is the matter of test_survival.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from aad_tf.distribute import create_strategy, find_cluster
from aad_tf.distribute.probe import unreachable
from tests.binaries.clusters import HEARTBEATS, Cluster, assert_all_name
from tests.forked import SECONDS, Forked
from train.launch.local import worker_environments

# The first test may wait for some of the others.
pytestmark = [pytest.mark.distributed, pytest.mark.timeout(4 * SECONDS)]
ENDLESS = [
    "--config=train/configs/digits.py:clean",
    "--config.epochs=4000",
    "--config.batch_size=48",
    "--config.image_size=8",
    "--config.checkpoint_steps=10",
    "--config.validation_examples=0",
]
Scenario = Callable[[Path], None]
SCENARIOS: dict[str, Scenario] = {}
AT_ONCE = 3


def beside_others(scenario: Scenario) -> Callable[[Mapping[str, Future[None]]], None]:
    """Makes the test of a scenario that runs while other scenarios wait."""
    name = scenario.__name__
    SCENARIOS[name] = scenario

    def test(scenarios: Mapping[str, Future[None]]) -> None:
        scenarios[name].result()

    test.__name__, test.__doc__ = name, scenario.__doc__
    return test


@pytest.fixture(scope="module")
def scenarios(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    """The scenarios that are asked for, each in a thread; most of their time they wait."""
    asked = [item.name for item in request.session.items if item.parent is request.node]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield {
            name: threads.submit(SCENARIOS[name], tmp_path_factory.mktemp(f"scenario{number}"))
            for number, name in enumerate(asked)
        }


@beside_others
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


@beside_others
def test_a_killed_worker_is_named_rather_than_those_that_end_because_of_it(tmp_path: Path) -> None:
    with Cluster(tmp_path / "run", 3, *ENDLESS) as cluster:
        cluster.wait_for_checkpoint()
        cluster.workers[1].signal(signal.SIGKILL)
        assert_all_name(cluster.workers[::2], "worker 1", time.monotonic())


@beside_others
def test_a_chief_stopped_for_good_is_named_after_the_time_given(tmp_path: Path) -> None:
    with Cluster(tmp_path / "run", 2, *ENDLESS, "--lost_after=4") as cluster:
        cluster.wait_for_checkpoint()
        cluster.workers[0].signal(signal.SIGSTOP)
        assert_all_name(cluster.workers[1:], "worker 0", time.monotonic(), 4 + 4 / 2)


@beside_others
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


@beside_others
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


@beside_others
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


@beside_others
def test_a_worker_that_dies_while_they_connect_is_named(tmp_path: Path) -> None:
    """TensorFlow would wait for it, and hold Python's lock meanwhile."""
    environment = worker_environments([[], []])[0]
    began = time.monotonic()
    alone = Forked(connect_within_3_seconds, (), environment, tmp_path / "log")
    code, output = alone.end()
    assert time.monotonic() - began < 3 + 5 + 60
    assert code == 75 and "Traceback" not in output, output
    assert re.search(
        r"^error: worker 1 \(\S+\) was lost while the workers connected", output, re.MULTILINE
    ), output
