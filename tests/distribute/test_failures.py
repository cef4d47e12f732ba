"""Messages of TensorFlow's, as they were seen, become one sentence that names the lost worker."""

from __future__ import annotations

import time

import pytest
import tensorflow as tf

from aad_tf.distribute import Cluster, WorkerLostError, lost_workers_named
from aad_tf.distribute.failures import SuspensionMeter, failure

CLUSTER = Cluster(tuple(f"10.0.0.{i}:2222" for i in range(3)), 2, "a test")
START = (
    "Graph execution error:\n\nDetected at node CollectiveReduceV2 defined at (most recent call "
    'last):\n  File "train.py", line 20, in <module>\n\nCollective ops is aborted by: '
)
END = (
    "\nThe error could be from a previous operation. Restart your program to reset.\n"
    "\t [[{{node CollectiveReduceV2}}]] [Op:__inference_f_33]"
)
UNHEALTHY = (
    "Error reported from /job:worker/task:%d: The following tasks are unhealthy (stopped sending "
    "heartbeats):\n%s\nThe tasks have crashed. Check the task logs for an earlier error, or "
    "scheduler events (e.g. preemption, eviction) to debug further."
)
BROKEN = (
    "recvmsg:Connection reset by peer\nAdditional GRPC error information from remote target "
    "/job:worker/replica:0/task:%d while calling /tensorflow.WorkerService/RecvBuf:\n"
    ':UNKNOWN:Error received from peer  {grpc_message:"recvmsg:Connection reset by peer"}'
)
SILENT = "Deadline Exceeded\n\nRPC: /tensorflow.CoordinationService/Heartbeat"
IN_ERROR = (
    "Unexpected heartbeat request from an already-in-error task: /job:worker/replica:0/task:2 with "
    "existing error: UNAVAILABLE: Task /job:worker/replica:0/task:2 heartbeat timeout. This "
    "indicates that the remote task has failed.\n\nRPC: /tensorflow.CoordinationService/Heartbeat"
)
REPORTED = (
    "Error reported from /job:worker/task:0: aad_tf reports: worker 1 (10.0.0.1:2222) was lost: "
    "the connection broke."
)


def error_of(text: str, kind: type[tf.errors.OpError] = tf.errors.UnavailableError) -> Exception:
    return kind(None, None, START + text + END)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            UNHEALTHY % (1, "/job:worker/replica:0/task:1"),
            "worker 1 (10.0.0.1:2222) was lost: no heartbeat came for 10 seconds",
        ),
        (
            UNHEALTHY % (1, "/job:worker/replica:0/task:1\n/job:worker/replica:0/task:0"),
            "worker 0 (10.0.0.0:2222), worker 1 (10.0.0.1:2222) were lost: no heartbeat",
        ),
        (
            "Task /job:worker/replica:0/task:0 heartbeat timeout.",
            "worker 0 (10.0.0.0:2222) was lost: no heartbeat",
        ),
        (BROKEN % 1, "worker 1 (10.0.0.1:2222) was lost: the connection to it broke"),
        (SILENT, "worker 0 (10.0.0.0:2222) was lost: the coordination service in it does not"),
        (REPORTED, "worker 1 (10.0.0.1:2222) was lost: the connection broke."),
        (
            BROKEN.replace("recvmsg:Connection reset by peer", "CANCELLED") % 1,
            "Another worker was lost; TensorFlow says of it only: Collective ops is aborted by",
        ),
        (
            IN_ERROR,
            "worker 2 (10.0.0.2:2222), which is this process, was cut off, and the others",
        ),
    ],
)
def test_the_worker_that_was_lost_is_named(text: str, expected: str) -> None:
    sentence = failure(error_of(text), CLUSTER, 10.0)
    assert sentence is not None
    assert sentence.startswith(expected)


def test_a_worker_that_was_suspended_blames_itself_unless_the_service_blames_another() -> None:
    for text in (BROKEN % 0, SILENT, IN_ERROR):
        sentence = failure(error_of(text), CLUSTER, 10.0, suspended=20.2)
        assert sentence is not None
        assert sentence.startswith(
            "worker 2 (10.0.0.2:2222), which is this process, was suspended for 20 seconds, and"
        )
        # Too short for a heartbeat timeout.
        sentence = failure(error_of(BROKEN % 0), CLUSTER, 10.0, suspended=4.0)
        assert sentence is not None and sentence.startswith("worker 0 (10.0.0.0:2222) was lost")
    other = UNHEALTHY % (1, "/job:worker/replica:0/task:1")
    sentence = failure(error_of(other), CLUSTER, 10.0, suspended=20.2)
    assert sentence is not None and sentence.startswith("worker 1 (10.0.0.1:2222) was lost")


def test_errors_of_this_worker_are_nobody_elses() -> None:
    for error in (
        error_of("assertion failed", tf.errors.InvalidArgumentError),
        RuntimeError("the disk is gone"),
    ):
        assert failure(error, CLUSTER, 10.0) is None
        assert failure(error, CLUSTER, 10.0, suspended=20.0) is None


def test_other_errors_go_on_as_they_are() -> None:
    alone = Cluster(("10.0.0.0:2222",), 0, "a test")
    for kind in (ValueError, KeyboardInterrupt, RuntimeError):
        with pytest.raises(kind, match="as it is"), lost_workers_named(alone, 10.0):
            raise kind("as it is")
    with (
        pytest.raises(OSError, match="of all"),
        lost_workers_named(CLUSTER, 10.0, together=(OSError,)),
    ):
        raise OSError("of all")


def test_an_error_about_another_worker_says_what_to_do() -> None:
    with pytest.raises(WorkerLostError) as raised, lost_workers_named(CLUSTER, 10.0):
        raise error_of(REPORTED)
    assert str(raised.value) == (
        "worker 1 (10.0.0.1:2222) was lost: the connection broke. "
        "Start all workers again to resume."
    )


def test_the_longest_time_without_a_tick_is_measured() -> None:
    times = iter((100.0, 100.3, 100.6, 120.8, 121.1, 121.2, 131.0))
    meter = SuspensionMeter(clock=lambda: next(times))
    for _ in range(4):
        meter.tick()
    assert meter.seconds(within=10.0) == pytest.approx(20.2)
    assert meter.seconds(within=10.0) == 0.0


def test_the_meter_ticks_by_itself() -> None:
    with SuspensionMeter() as meter:
        time.sleep(1.2)
        meter.tick()
        assert meter.seconds(within=60.0) == 0.0
