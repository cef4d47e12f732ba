"""What a worker holds while it trains: who was lost, and how to say that it failed or is done."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from aad_tf.cluster.description import Cluster
from aad_tf.cluster.messages import Switchboard, printable

LOGGER = logging.getLogger(__name__)

# How long a process that ends waits for the others to have heard why.
FAREWELL_SECONDS = 2.0

_LONGEST_TICK = 0.2
_LONGEST_BEAT = 5.0


class WorkerLostError(RuntimeError):
    """Training cannot go on because another worker was lost or failed."""


class Control:
    """A worker's link to the others while training; `aad_tf.cluster.join` makes it.

    Of a cluster of one worker it has nobody to watch and does nothing.

    Every method may be called from any thread, and again.
    """

    def __init__(self, cluster: Cluster, on_lost: Callable[[str], None] | None = None) -> None:
        self.cluster = cluster
        self._on_lost = on_lost
        # Guards everything below and the connections of the classes derived from this one.
        self._changed = threading.Condition(threading.RLock())
        # A loss may be decided a moment before it is made known in this process.
        self._verdict: str | None = None
        self._lost: str | None = None
        self._over = False

    @property
    def lost(self) -> str | None:
        """Which other worker was lost and what happened to it, or None."""
        return self._lost

    def wait_lost(self, seconds: float) -> str | None:
        """Waits until a loss is known, at most `seconds`; returns it as `lost` does.

        For a worker whose collective operation failed: who caused that is often known a moment
        later. Returns at once after this worker failed or left.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._lost is not None or self._over, seconds)
            return self._lost

    def fail(self, message: str) -> None:
        """Tells the others that this worker fails, and why; they report it with these words.

        Returns when they know, after two seconds at the latest. Does nothing when a loss is
        known already, since this failure may well follow from it. This worker reports no loss
        any more.
        """
        with self._changed:
            if self._over or self._verdict is not None:
                return
            self._over = True
            self._tell_failure(printable(message))
            self._changed.notify_all()

    def leave(self) -> None:
        """Tells the others that this worker has finished: its going is no loss to them.

        Returns when they know, after two seconds at the latest. This worker reports no loss any
        more.
        """
        with self._changed:
            if self._over:
                return
            self._over = True
            self._tell_leave()
            self._changed.notify_all()

    def close(self) -> None:
        """Closes the connections; a loss to the others unless this worker failed or left."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _tell_failure(self, message: str) -> None:
        """Passes on why this worker fails."""

    def _tell_leave(self) -> None:
        """Passes on that this worker has finished."""

    def _report(self, message: str) -> None:
        """Makes a loss known in this process, once, unless it is over for this worker."""
        with self._changed:
            if self._over or self._lost is not None:
                return
            self._lost = message
            self._changed.notify_all()
        LOGGER.error("%s", message)
        if self._on_lost is not None:
            try:
                self._on_lost(message)
            except Exception:
                LOGGER.exception("on_lost failed; the loss itself was: %s", message)


class WatchingControl(Control):
    """A control with connections, and a thread that reads them."""

    def __init__(
        self,
        cluster: Cluster,
        board: Switchboard,
        lost_after: float,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(cluster, on_lost)
        self._board = board
        self._lost_after = lost_after
        self._beat = beat_interval(lost_after)
        self._stopping = False
        self._last_step = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="aad_tf control", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def close(self) -> None:
        super().close()
        with self._changed:
            self._stopping = True
        if self._thread is not threading.current_thread():
            self._thread.join(FAREWELL_SECONDS)

    def _run(self) -> None:
        try:
            while self._step():
                self._board.read(min(_LONGEST_TICK, self._beat))
        except Exception as error:
            LOGGER.exception("The thread that watches the other workers stopped")
            name = self.cluster.name(self.cluster.index)
            self._report(f"{name} cannot watch the other workers any more: {error!r}")
        finally:
            with self._changed:
                self._stopping = True
                self._board.close()
                self._changed.notify_all()

    def _await(self, condition: Callable[[], bool]) -> None:
        """Waits, not for long, for what the watching thread brings about."""
        if self._thread is not threading.current_thread():
            self._changed.wait_for(lambda: self._stopping or condition(), FAREWELL_SECONDS)

    def _step(self) -> bool:
        """Handles what has come; False when there is nothing more to watch."""
        with self._changed:
            now = time.monotonic()
            pause, self._last_step = now - self._last_step, now
            if pause > 10 * min(_LONGEST_TICK, self._beat):
                self._forgive(pause)
            going_on = not self._stopping and self._handle()
            self._changed.notify_all()
        message = self._news()
        if message is not None:
            self._report(message)
        return going_on

    def _forgive(self, pause: float) -> None:
        """Takes back the silence during which this process was itself stopped."""
        raise NotImplementedError

    def _handle(self) -> bool:
        """Handles inboxes, beats and silence; False when there is nothing more to watch."""
        raise NotImplementedError

    def _news(self) -> str | None:
        """A loss to be made known in this process."""
        raise NotImplementedError


def beat_interval(lost_after: float) -> float:
    """How often a worker says that it is alive, in seconds."""
    return min(_LONGEST_BEAT, lost_after / 10)


def closed(name: str, reason: str) -> str:
    """The loss of a worker whose connection ended."""
    return f"{name} was lost: {reason}."


def silenced(name: str, seconds: float) -> str:
    """The loss of a worker that says nothing any more."""
    return (
        f"{name} was lost: nothing was heard of it for {seconds:g} seconds, so its process hangs "
        f"or its machine or network is down."
    )


def failed(name: str, message: str) -> str:
    """The loss of a worker that said why."""
    return f"{name} failed: {message}"
