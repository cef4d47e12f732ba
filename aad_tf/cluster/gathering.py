"""The chief's side of joining: waits for every worker and compares what they show."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from aad_tf.cluster.cards import differences
from aad_tf.cluster.control import FAREWELL_SECONDS, beat_interval
from aad_tf.cluster.description import AbsentWorkerError, Cluster, ClusterError
from aad_tf.cluster.door import Door
from aad_tf.cluster.messages import Link, Message, Switchboard, greeting

LOGGER = logging.getLogger(__name__)

# Once two workers differ the run cannot start; the rest may come to hear it, but not for long.
_DISAGREEMENT_SECONDS = 20.0
_PROGRESS_SECONDS = 30.0
_MOST_REMARKS = 3
_TICK = 0.1


@dataclass
class _Arrival:
    """A worker that has greeted."""

    index: int
    link: Link
    token: str
    card: dict[str, str]


class Gathering:
    """The chief while it waits for the others.

    Args:
        cluster: who is to come.
        card: the chief's own card, full.
        advice: what to do about a field that differs.
        lost_after: seconds of silence after which a worker is gone again.
    """

    def __init__(
        self,
        cluster: Cluster,
        card: dict[str, str],
        advice: Mapping[str, str],
        board: Switchboard,
        door: Door,
        lost_after: float,
    ) -> None:
        self._cluster = cluster
        self._card = card
        self._advice = advice
        self._board = board
        self._door = door
        self._lost_after = lost_after
        self._present: dict[int, _Arrival] = {}
        self._rivals: list[_Arrival] = []
        self._remarks: list[str] = []
        self._differ = ""
        self._differ_since = 0.0

    def gather(self, seconds: float) -> dict[int, Link]:
        """The connections to all other workers, once they are there and agree.

        Raises:
            ClusterError: workers are absent after `seconds`, or do not agree; those who are
                there have been told the same.
        """
        start = told = time.monotonic()
        while self._absent():
            now = time.monotonic()
            hopeless = self._differ and now - self._differ_since > _DISAGREEMENT_SECONDS
            if hopeless or now - start > seconds:
                break
            if now - told > _PROGRESS_SECONDS:
                told = now
                LOGGER.info("Waiting for %s", self._cluster.names(self._absent()))
            self._step()
        self._refuse_if_wrong(seconds)
        for rival in self._rivals:
            self._send_away(rival.link, self._twice(rival.index))
        for arrival in self._present.values():
            arrival.link.send("ready")
        return {index: arrival.link for index, arrival in self._present.items()}

    def _absent(self) -> list[int]:
        return [index for index in range(1, self._cluster.size) if index not in self._present]

    def _compare(self) -> None:
        cards = {index: arrival.card for index, arrival in self._present.items()}
        differ = differences(self._cluster, {0: self._card, **cards}, self._advice)
        if differ and not self._differ:
            self._differ_since = time.monotonic()
        self._differ = differ

    def _refuse_if_wrong(self, seconds: float) -> None:
        absent, problems = self._absent(), []
        if self._differ:
            problems.append(f"The workers of this run do not agree. {self._differ}")
        elif absent:
            problems.append(
                f"{self._cluster.names(absent)} did not join within {seconds:g} seconds. Was it "
                f"started, and can it reach {self._cluster.name(0)}? Its own output may say more."
            )
        if problems:
            message = " ".join(problems + self._remarks)
            only_absent = not self._differ
            links = [arrival.link for arrival in self._present.values()]
            self._refuse(links, message, only_absent)
            raise AbsentWorkerError(message) if only_absent else ClusterError(message)

    def _refuse(self, links: list[Link], message: str, absent: bool = False) -> None:
        """Tells workers that the run cannot start, and sees that they have heard it."""
        for link in links:
            link.send("refused", message=message, absent=absent)
        deadline = time.monotonic() + FAREWELL_SECONDS
        while any(not _has_noted(link) for link in links) and time.monotonic() < deadline:
            self._board.read(_TICK)
            for link in links:
                link.flush()

    def _step(self) -> None:
        self._board.read(_TICK)
        present = dict(self._present)
        for arrival in present.values():
            arrival.link.inbox.clear()
            if arrival.link.ended is not None or arrival.link.silent(self._lost_after):
                # It may come again: a supervisor restarts what failed before training.
                self._board.drop(arrival.link)
                del self._present[arrival.index]
        rivals, self._rivals = self._rivals, []
        for arrival in rivals:
            self._place(arrival)
        for link, hello in self._door.arrivals():
            self._welcome(link, hello)
        for arrival in (*self._present.values(), *self._rivals):
            arrival.link.beat(beat_interval(self._lost_after))
        if self._present != present:
            self._compare()

    def _welcome(self, link: Link, hello: Message) -> None:
        index = hello["index"]
        link.send("welcome", **greeting(), lost_after=self._lost_after)
        if 1 <= index < self._cluster.size:
            self._place(_Arrival(index, link, hello["token"], hello["card"]))
            return
        self._send_away(
            link,
            f"A process joined as worker {index}, but {self._cluster.name(0)} knows "
            f"{self._cluster.size} workers, of which it is worker 0. Every worker must be given "
            f"the same list of workers and its own index.",
        )

    def _place(self, arrival: _Arrival) -> None:
        """Gives a worker its place, unless another process has it and is alive."""
        if arrival.link.ended is not None:
            return
        holder = self._present.get(arrival.index)
        if holder is None or holder.token == arrival.token:
            if holder is not None:
                self._board.drop(holder.link)
            self._present[arrival.index] = arrival
        elif holder.link.heard <= arrival.link.opened:
            # The holder may be what a broken connection left of this very worker.
            self._rivals.append(arrival)
        else:
            self._send_away(arrival.link, self._twice(arrival.index))

    def _twice(self, index: int) -> str:
        return (
            f"Two processes joined as {self._cluster.name(index)}. Every worker needs its own "
            f"index, and is started once."
        )

    def _send_away(self, link: Link, message: str) -> None:
        """Turns a worker away for good; the others wait on, and hear of it should they fail."""
        LOGGER.warning("%s", message)
        self._door.send_away(link, message, for_good=True)
        if message not in self._remarks and len(self._remarks) < _MOST_REMARKS:
            self._remarks.append(message)


def _has_noted(link: Link) -> bool:
    return link.ended is not None or any(m["kind"] == "noted" for m in link.inbox)
