"""A worker's side of joining: calls the chief until it answers, and waits for its word."""

from __future__ import annotations

import logging
import socket
import time
import uuid

from aad_tf.cluster.control import beat_interval
from aad_tf.cluster.description import AbsentWorkerError, Cluster, ClusterError, split_address
from aad_tf.cluster.door import PORT_OFFSET, PORT_VARIABLE, control_port
from aad_tf.cluster.messages import PROTOCOL, Link, Message, Switchboard, greeting

LOGGER = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
_WELCOME_SECONDS = 10.0
_PROGRESS_SECONDS = 30.0
_PAUSE = 0.2
_TICK = 0.1


class Call:
    """One worker's attempts to join.

    Attributes:
        lost_after: seconds of silence that count as a loss, as the chief has it.
    """

    def __init__(
        self,
        cluster: Cluster,
        card: dict[str, str],
        board: Switchboard,
        lost_after: float,
    ) -> None:
        self._cluster = cluster
        self._host = split_address(cluster.addresses[0], cluster.source)[0]
        self._port = control_port(cluster)
        self._board = board
        self.lost_after = lost_after
        # The token tells a second attempt of this process from a second process.
        self._hello = {
            **greeting(),
            "index": cluster.index,
            "token": uuid.uuid4().hex,
            "card": card,
        }
        self._problem = "it does not answer"

    def join(self, seconds: float) -> Link:
        """The connection to the chief, once it says that all workers are there and agree.

        Raises:
            AbsentWorkerError: the chief cannot be reached within `seconds`, or misses others.
            ClusterError: it refuses.
        """
        start = told = time.monotonic()
        while time.monotonic() - start < seconds:
            link = self._connect(start + seconds)
            if link is not None and self._is_ready(link, start + seconds):
                return link
            if time.monotonic() - told > _PROGRESS_SECONDS:
                told = time.monotonic()
                LOGGER.info("Waiting for %s: %s", self._cluster.name(0), self._problem)
            time.sleep(_PAUSE)
        raise AbsentWorkerError(
            f"{self._cluster.name(self._cluster.index)} could not join {self._cluster.name(0)} "
            f"at its control port {self._port} within {seconds:g} seconds: {self._problem}. Is "
            f"worker 0 started, is its address right, and is the port open between the machines? "
            f"It is worker 0's port + {PORT_OFFSET} unless {PORT_VARIABLE}, the same on every "
            f"worker, names another."
        )

    def _connect(self, deadline: float) -> Link | None:
        patience = max(_PAUSE, min(_CONNECT_SECONDS, deadline - time.monotonic()))
        try:
            connection = socket.create_connection((self._host, self._port), timeout=patience)
            if connection.getsockname() == connection.getpeername():
                # Calling a closed port of one's own machine may, by chance, reach oneself.
                connection.close()
                raise ConnectionRefusedError("nobody listens there")
            link = Link(connection)
        except OSError as error:
            self._problem = str(error.strerror or error)
            return None
        link.send("hello", **self._hello)
        self._board.add(link)
        return link

    def _is_ready(self, link: Link, deadline: float) -> bool:
        """Waits for the chief's word; False, with the problem noted, if it must be called again."""
        welcomed = False
        while link.ended is None or link.inbox:
            if not link.inbox:
                self._board.read(_TICK)
            while link.inbox:
                message = link.inbox.popleft()
                welcomed = self._heed(link, message) or welcomed
                if welcomed and message["kind"] == "ready":
                    return True
            link.beat(beat_interval(self.lost_after))
            if link.silent(self.lost_after if welcomed else _WELCOME_SECONDS):
                link.ended = "it does not answer"
            elif not welcomed and time.monotonic() > deadline:
                # An attempt cut short says less than the one before it.
                link.ended = link.ended or self._problem
        self._board.drop(link)
        self._problem = link.ended or self._problem
        return False

    def _heed(self, link: Link, message: Message) -> bool:
        """Whether this is the chief's welcome."""
        text = str(message.get("message", ""))
        if message["kind"] == "refused":
            link.send("noted")
            link.finish()
            raise AbsentWorkerError(text) if message.get("absent") else ClusterError(text)
        if message["kind"] == "busy":
            link.ended = text
        if message["kind"] == "welcome" and message.get("protocol") == PROTOCOL:
            lost_after = message.get("lost_after")
            self.lost_after = lost_after if isinstance(lost_after, float) else self.lost_after
            return True
        return False
