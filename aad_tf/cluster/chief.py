"""The chief's side while training: it hears every worker and tells all who was lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from aad_tf.cluster.control import WatchingControl, closed, failed, silenced
from aad_tf.cluster.description import Cluster
from aad_tf.cluster.door import Door
from aad_tf.cluster.messages import Link, Message, Switchboard, printable

# How long the chief holds back a loss it has told the others, so that it does not end, and close
# their connections, before they have read it.
_SPREAD_SECONDS = 1.0


class ChiefControl(WatchingControl):
    """The centre of the star.

    The first loss is the verdict, the same for every survivor; what follows from it, as others
    stop too, is none.
    """

    def __init__(
        self,
        cluster: Cluster,
        links: dict[int, Link],
        board: Switchboard,
        door: Door,
        lost_after: float,
        on_lost: Callable[[str], None] | None,
    ) -> None:
        super().__init__(cluster, board, lost_after, on_lost)
        self._links = links
        self._door = door
        self._left: set[int] = set()
        self._told_at = 0.0
        self._unaware: set[int] = set()

    def _forgive(self, pause: float) -> None:
        for link in self._links.values():
            link.forgive(pause)

    def _handle(self) -> bool:
        self._turn_away_latecomers()
        for index, link in self._links.items():
            while link.inbox:
                self._handle_message(index, link, link.inbox.popleft())
            if index not in self._left:
                self._check(index, link)
            link.beat(self._beat)
        self._unaware = {i for i in self._unaware if self._links[i].ended is None}
        # After its own leaving the chief still carries news between those who train on.
        return not self._over or any(link.ended is None for link in self._links.values())

    def _handle_message(self, index: int, link: Link, message: Message) -> None:
        kind, words = message["kind"], printable(str(message.get("message", "")))
        if kind == "noted":
            self._unaware.discard(index)
        elif kind == "leave":
            self._left.add(index)
            link.send("noted")
        elif kind == "fail":
            self._decide(failed(self.cluster.name(index), words))
            link.send("noted")

    def _check(self, index: int, link: Link) -> None:
        name = self.cluster.name(index)
        if link.ended is not None:
            self._decide(closed(name, link.ended))
        elif link.silent(self._lost_after):
            self._decide(silenced(name, self._lost_after))

    def _decide(self, verdict: str) -> None:
        """Tells everybody the first loss."""
        if self._verdict is None:
            self._verdict = verdict
            self._tell_all("lost", message=verdict)

    def _tell_all(self, kind: str, **fields: str) -> None:
        """Sends a message to everybody who is still there, and waits for no one."""
        self._told_at = time.monotonic()
        present = {i for i, link in self._links.items() if link.ended is None} - self._left
        for index in present:
            self._links[index].send(kind, **fields)
        # One who is silent will not answer.
        self._unaware = {i for i in present if not self._links[i].silent(self._lost_after)}

    def _tell_failure(self, message: str) -> None:
        self._decide(failed(self.cluster.name(0), message))
        self._await(lambda: not self._unaware)

    def _tell_leave(self) -> None:
        if self._verdict is None:
            self._tell_all("leave")
            self._await(lambda: not self._unaware)

    def _news(self) -> str | None:
        waited = time.monotonic() - self._told_at > _SPREAD_SECONDS
        return self._verdict if waited or not self._unaware else None

    def _turn_away_latecomers(self) -> None:
        for link, hello in self._door.arrivals():
            self._door.send_away(
                link,
                f"{self.cluster.name(0)} trains with a worker {hello['index']} already. Was one "
                f"started twice, or is an earlier run still ending?",
                for_good=False,
            )
