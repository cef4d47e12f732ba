"""No worker leaves the cluster while another one still works."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from aad_tf.distribute import Cluster, create_strategy, find_cluster, leaving_together
from tests.forked import Forked
from train.launch.local import worker_environments

DELAY = 1.5
"""Seconds for which one worker works longer than the other."""


def _work(directory: Path) -> None:
    """Leaves two contexts, the second by an error of all workers, and writes when it did."""
    cluster = find_cluster()
    create_strategy("multi_worker", cluster)
    times = []
    for slow, error in ((0, None), (1, KeyError("of all"))):
        try:
            with leaving_together(cluster, together=(KeyError,)):
                if cluster.index == slow:
                    time.sleep(DELAY)
                times.append(time.time())
                if error:
                    raise error
        except KeyError:
            times.append(-1.0)
        times.append(time.time())
    (directory / f"{cluster.index}.json").write_text(json.dumps(times))


@pytest.mark.distributed
def test_workers_leave_together_whichever_is_slower_and_however(tmp_path: Path) -> None:
    workers = [
        Forked(_work, (tmp_path,), environment, tmp_path / f"log.{index}")
        for index, environment in enumerate(worker_environments([[], []]))
    ]
    for worker in workers:
        code, output = worker.end()
        assert code == 0, output
    ready, left, ready_again, raised, left_again = zip(
        *(json.loads((tmp_path / f"{index}.json").read_text()) for index in range(2)), strict=True
    )
    # One clock serves both processes.
    assert min(left) >= max(ready)
    assert raised == (-1.0, -1.0)
    assert min(left_again) >= max(ready_again)
    assert abs(ready[1] - ready[0]) > 0.5 and abs(ready_again[1] - ready_again[0]) > 0.5


def _be_killed(_: Path) -> None:
    """The slow worker dies in the context while the other one waits for it."""
    cluster = find_cluster()
    create_strategy("multi_worker", cluster, lost_after=2.0)
    with leaving_together(cluster, seconds=1.5):
        if cluster.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    print("left")
    # TensorFlow's own end waits for the worker that is gone.
    sys.stdout.flush()
    os._exit(0)


@pytest.mark.distributed
def test_what_is_done_stays_done_when_another_worker_dies_at_the_end(tmp_path: Path) -> None:
    first, second = (
        Forked(_be_killed, (tmp_path,), environment, tmp_path / f"log.{index}")
        for index, environment in enumerate(worker_environments([[], []]))
    )
    assert second.end()[0] == -signal.SIGKILL
    code, output = first.end()
    assert code == 0 and "left" in output, output
    assert "This worker leaves without the others" in output


def test_an_error_of_one_worker_does_not_wait() -> None:
    # Nothing is connected: waiting would fail.
    cluster = Cluster(("10.0.0.0:1", "10.0.0.1:1"), 1, "a test")
    with pytest.raises(KeyError, match="alone"), leaving_together(cluster, together=(ValueError,)):
        raise KeyError("alone")


def test_a_single_worker_waits_for_nobody() -> None:
    with leaving_together(Cluster(("10.0.0.0:1",), 0, "a test")):
        pass
