"""A worker's side while training: it hears the chief, and through it of all others."""

from __future__ import annotations

from collections.abc import Callable

from aad_tf.cluster.control import WatchingControl, closed, silenced
from aad_tf.cluster.description import Cluster
from aad_tf.cluster.messages import Link, Message, Switchboard


class MemberControl(WatchingControl):
    """One end of the star: it believes the chief, and its own ears only about the chief."""

    def __init__(
        self,
        cluster: Cluster,
        link: Link,
        board: Switchboard,
        lost_after: float,
        on_lost: Callable[[str], None] | None,
    ) -> None:
        super().__init__(cluster, board, lost_after, on_lost)
        self._link = link
        self._chief_left = False
        self._noted = False

    def _forgive(self, pause: float) -> None:
        self._link.forgive(pause)

    def _handle(self) -> bool:
        while self._link.inbox:
            self._handle_message(self._link.inbox.popleft())
        if not self._chief_left:
            self._check()
        self._link.beat(self._beat)
        return self._link.ended is None

    def _handle_message(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "noted":
            self._noted = True
        elif kind == "leave":
            self._chief_left = True
            self._link.send("noted")
        elif kind == "lost":
            self._verdict = self._verdict or str(message.get("message", "a worker was lost"))
            self._link.send("noted")

    def _check(self) -> None:
        name = self.cluster.name(0)
        if self._link.ended is not None:
            self._verdict = self._verdict or closed(name, self._link.ended)
        elif self._link.silent(self._lost_after):
            self._verdict = self._verdict or silenced(name, self._lost_after)

    def _tell_failure(self, message: str) -> None:
        self._tell_chief("fail", message=message)

    def _tell_leave(self) -> None:
        self._tell_chief("leave")
        self._stopping = True

    def _tell_chief(self, kind: str, **fields: str) -> None:
        """Sends a message and waits until the chief has it, or cannot have it any more."""
        self._noted = False
        self._link.send(kind, **fields)
        self._await(lambda: self._noted or self._link.ended is not None)

    def _news(self) -> str | None:
        return self._verdict
