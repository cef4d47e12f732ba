"""Tells which worker was lost when TensorFlow ends this worker's collective operations.

TensorFlow's coordination service runs in worker 0. It notices workers that end or send no
heartbeats, and ends the collective operations of all others with an error. That error names the
lost worker by its *task*, TensorFlow's word for a worker and its number, but its text differs with
the way in which the loss was noticed. Workers that end because of a loss would also look lost to
the rest. So the worker that notices a loss first reports it to the others through the same service,
and each worker waits a moment before it ends.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.python.eager import context

from aad_tf.distribute.cluster import Cluster

LOGGER = logging.getLogger(__name__)

# What this package reports to the other workers; TensorFlow puts more words around it.
_REPORT = "aad_tf reports: "
_THIS_PROCESS = ", which is this process, "
# In which a report has arrived at all workers, before the end of this one can be noticed.
_REPORT_SECONDS = 1.0
_TICK = 0.25
_SHORTEST_PAUSE = 1.0
_LONGEST_MESSAGE = 500
# Where in the graph an error was, and how many errors came of it.
_NO_MESSAGE = re.compile(
    r"Graph execution error|Detected at node|File |\[\[|\d+ (root|derived|successful)"
)
_UNHEALTHY = re.compile(r"tasks are unhealthy[^\n]*\n((?:\S*/task:\d+\s*\n)+)")
_TASK_OF_SERVICE = re.compile(
    r"/task:(\d+) heartbeat timeout"
    r"|already-in-error task: \S*/task:(\d+)"
    r"|Error reported from /job:worker/(?:replica:0/)?task:(\d+)"
)
_SERVICE_CALL = "/tensorflow.CoordinationService/"
# The connection to a task broke; a call that was only cancelled says nothing about its task.
_TASK_OF_CALL = re.compile(r"remote target \S*/task:(\d+) while calling[^\n]*\n(?![^\n]*CANCELLED)")
# What collectives of this worker end with that another one does not take part in any more.
_ABORTED = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_COLLECTIVE = "Collective ops is aborted by"


class WorkerLostError(RuntimeError):
    """Training cannot go on because another worker was lost or failed, or this one was cut off."""


@contextlib.contextmanager
def lost_workers_named(
    cluster: Cluster, lost_after: float, together: tuple[type[BaseException], ...] = ()
) -> Iterator[None]:
    """Turns TensorFlow's errors about lost workers into one sentence, the same on every worker.

    It does so for errors that are raised while the context is open. Any other error of this worker
    is raised unchanged, and the other workers end with its message.

    Args:
        cluster: the workers, and which of them this process is.
        lost_after: heartbeat timeout of the coordination service, in seconds.
        together: types of errors that all workers raise after the same step. They are raised
            unchanged and not reported to the other workers.

    Raises:
        WorkerLostError: another worker was lost or failed, or this worker was suspended for so
            long that the others gave it up.

    Example:
        >>> with lost_workers_named(cluster, lost_after=10.0):
        ...     model.fit(dataset)
    """
    meter = SuspensionMeter()
    try:
        with meter:
            yield
    except together:
        raise
    except (tf.errors.OpError, RuntimeError) as error:
        sentence = failure(error, cluster, lost_after, meter.seconds(within=lost_after))
        if sentence is None:
            _report_own_failure(cluster, error)
            raise
        if _REPORT not in str(error) and _THIS_PROCESS not in sentence:
            _report(sentence)
            if isinstance(error, tf.errors.DeadlineExceededError):
                # Worker 0 does not answer, which others notice by their heartbeats, a little later.
                time.sleep(lost_after / 2)
        time.sleep(_REPORT_SECONDS)
        raise WorkerLostError(f"{sentence} Start all workers again to resume.") from error
    except BaseException as error:
        _report_own_failure(cluster, error)
        raise


def failure(
    error: BaseException, cluster: Cluster, lost_after: float, suspended: float = 0.0
) -> str | None:
    """Tells in one sentence which worker an error of TensorFlow is about.

    Args:
        error: what a collective operation of this worker failed with.
        cluster: the workers, and which of them this process is.
        lost_after: heartbeat timeout, in seconds.
        suspended: for how long this process was suspended just before, in seconds.

    Returns:
        A sentence, or None if the error is not about other workers.

    Example:
        >>> failure(error, find_cluster(), lost_after=10.0)
        'worker 1 (10.0.0.2:2222) was lost: no heartbeat came for 10 seconds, so a process ...'
    """
    text = str(error)
    if reported := re.search(re.escape(_REPORT) + "([^\n]*)", text):
        return reported[1].split(" [type.googleapis.com")[0]
    lost = [
        int(task) for block in _UNHEALTHY.findall(text) for task in re.findall(r"task:(\d+)", block)
    ]
    if not lost and (task := _TASK_OF_SERVICE.search(text)):
        lost = [int(next(filter(None, task.groups())))]
    lost = [index for index in dict.fromkeys(lost) if index < cluster.size]
    if lost and cluster.index not in lost:
        return (
            f"{cluster.names(sorted(lost))} {'was' if len(lost) == 1 else 'were'} lost: no "
            f"heartbeat came for {lost_after:g} seconds, so a process hangs or has ended, or a "
            f"machine or the network is down."
        )
    call = _TASK_OF_CALL.search(text)
    aborted = isinstance(error, _ABORTED) and _COLLECTIVE in text
    if lost or (suspended > lost_after / 2 and (call or aborted or _SERVICE_CALL in text)):
        how = f"was suspended for {suspended:.0f} seconds" if suspended else "was cut off"
        return (
            f"{cluster.name(cluster.index)}{_THIS_PROCESS}{how}, and the others, which "
            f"wait {lost_after:g} seconds for a heartbeat, have given it up."
        )
    if _SERVICE_CALL in text:
        return (
            f"{cluster.name(0)} was lost: the coordination service in it does not answer, so its "
            f"process hangs or has ended, or its machine or network is down."
        )
    if call and int(call[1]) < cluster.size:
        return (
            f"{cluster.name(int(call[1]))} was lost: the connection to it broke, so its process "
            f"has ended, or its machine or network is down."
        )
    if aborted:
        return f"Another worker was lost; TensorFlow says of it only: {_message(text)}"
    return None


class SuspensionMeter:
    """Measures for how long this process did not run, by a thread that wakes up at short intervals.

    Args:
        clock: function that returns the time in seconds, which goes on while the process does not.

    Example:
        >>> with SuspensionMeter() as meter:
        ...     train()
        ...     meter.seconds(within=60.0)  # 20.1 after SIGSTOP and, 20 seconds later, SIGCONT
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_tick = clock()
        self._pause = 0.0
        self._pause_ended = -math.inf
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="suspension meter", daemon=True)

    def __enter__(self) -> SuspensionMeter:
        self.tick()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # The thread may not have run since the process went on.
        self.tick()
        self._over.set()

    def tick(self) -> None:
        """Notes that the process runs now; the measuring thread calls it every 0.25 seconds."""
        with self._lock:
            now = self._clock()
            pause, self._last_tick = now - self._last_tick, now
            if pause > _SHORTEST_PAUSE:
                self._pause, self._pause_ended = pause, now

    def seconds(self, within: float) -> float:
        """Length of the latest pause of the process, in seconds.

        Args:
            within: how long ago the pause may have ended, in seconds.

        Returns:
            The length if it was more than a second; 0 if there was no such pause, or if it ended
            longer ago than `within`.
        """
        with self._lock:
            return self._pause if self._clock() - self._pause_ended <= within else 0.0

    def _run(self) -> None:
        while not self._over.wait(_TICK):
            self.tick()


def _report_own_failure(cluster: Cluster, error: BaseException) -> None:
    """Reports to the others why this worker ends, which takes a second."""
    if cluster.size > 1:
        what = _message(str(error)) or type(error).__name__
        _report(f"{cluster.name(cluster.index)} failed: {what}")
        time.sleep(_REPORT_SECONDS)


def _report(sentence: str) -> None:
    """Ends the collectives of all workers with this sentence; there is no public way."""
    try:
        context.context().report_error_to_cluster(tf.errors.UNAVAILABLE, _REPORT + sentence)
    except tf.errors.OpError as error:
        # The service has reported an error to everybody already.
        LOGGER.debug("Not reported: %s", error)


def _message(text: str) -> str:
    """The line of an error that says what happened; errors of graphs say first where it did."""
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not _NO_MESSAGE.match(line)]
    return said[0][:_LONGEST_MESSAGE] if said else ""
