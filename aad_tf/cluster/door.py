"""The chief's control port: where it is, and who is let in."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import time
from collections.abc import Mapping

from aad_tf.cluster.description import HIGHEST_PORT, Cluster, ClusterError, split_address
from aad_tf.cluster.messages import PROTOCOL, Link, Message, Switchboard

LOGGER = logging.getLogger(__name__)
PORT_VARIABLE = "AAD_TF_CONTROL_PORT"
PORT_OFFSET = 1000

_GREETING_SECONDS = 10.0
_MOST_NEWCOMERS = 256


def control_port(cluster: Cluster, environment: Mapping[str, str] = os.environ) -> int:
    """Where the chief listens: AAD_TF_CONTROL_PORT, else its own port + 1000.

    Raises:
        ClusterError: that is no port, or one that a worker's TensorFlow server takes.
    """
    host, port = split_address(cluster.addresses[0], cluster.source)
    text = environment.get(PORT_VARIABLE, "").strip()
    remedy = f"Set {PORT_VARIABLE} to a free port in [1, {HIGHEST_PORT}], the same on every worker."
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST_PORT):
        raise ClusterError(f"{PORT_VARIABLE} is {text!r}. {remedy}")
    control = int(text) if text else port + PORT_OFFSET
    if control > HIGHEST_PORT:
        raise ClusterError(
            f"The control port would be {control}: {cluster.name(0)}'s port + {PORT_OFFSET}. "
            f"{remedy}"
        )
    for index, address in enumerate(cluster.addresses):
        if split_address(address, cluster.source) == (host, control):
            raise ClusterError(
                f"The control port {control} is that of {cluster.name(index)} too. {remedy}"
            )
    return control


def open_port(cluster: Cluster) -> socket.socket:
    """The control port on the chief, listening on every interface unless its host is a loopback.

    Raises:
        ClusterError: the port is taken or may not be used.
    """
    host, _ = split_address(cluster.addresses[0], cluster.source)
    port = control_port(cluster)
    family, interface = _interface(host)
    try:
        return socket.create_server((interface, port), family=family, backlog=1024)
    except OSError as error:
        raise ClusterError(
            f"{cluster.name(0)} cannot listen on the control port {port}: "
            f"{os.strerror(error.errno) if error.errno else error}. Is another run, or an "
            f"earlier copy of this one, still there? Set {PORT_VARIABLE} to a free port, the same "
            f"on every worker, or choose another port for worker 0."
        ) from error


def _interface(host: str) -> tuple[socket.AddressFamily, str]:
    """Address family and interface to listen on; the empty one stands for all.

    A host's own name may lead to a loopback in its own tables, so only a host that is written as
    a loopback is one.
    """
    try:
        found = {info[0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()  # A name that only the others can resolve; the interface needs none.
    only_ipv6 = socket.AF_INET6 in found and socket.AF_INET not in found
    family = socket.AF_INET6 if only_ipv6 else socket.AF_INET
    if host == "localhost":
        return family, "::1" if only_ipv6 else "127.0.0.1"
    try:
        return family, host if ipaddress.ip_address(host).is_loopback else ""
    except ValueError:
        return family, ""


class Door:
    """Lets connections in and tells workers from strangers.

    A stranger, such as a port scanner, is turned away when it says something that is no hello,
    or nothing for ten seconds.
    """

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._newcomers: list[Link] = []
        self._complaint = ""
        # The port is asked at every turn rather than waited for: a call that cannot be accepted,
        # for want of file descriptors, would wake a waiting thread without end.

    def arrivals(self) -> list[tuple[Link, Message]]:
        """Those who have greeted as workers since the last call, with their hello."""
        self._accept()
        greeted, waiting = [], []
        for link in self._newcomers:
            if link.inbox and is_hello(link.inbox[0]):
                greeted.append((link, link.inbox.popleft()))
            elif link.inbox or link.ended or time.monotonic() - link.opened > _GREETING_SECONDS:
                self._board.drop(link)
            else:
                waiting.append(link)
        for link in waiting[:-_MOST_NEWCOMERS]:
            self._board.drop(link)
        self._newcomers = waiting[-_MOST_NEWCOMERS:]
        return greeted

    def send_away(self, link: Link, message: str, *, for_good: bool) -> None:
        """Tells a worker that it cannot join, never or not now, and waits for no answer."""
        link.send("refused" if for_good else "busy", message=message)
        link.finish()
        link.inbox.clear()
        self._newcomers.append(link)

    def _accept(self) -> None:
        while self._board.listener is not None:
            try:
                connection, _ = self._board.listener.accept()
                link = Link(connection)
            except BlockingIOError:
                return
            except OSError as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    LOGGER.warning("A connection to the control port was not accepted: %s", error)
                return
            self._board.add(link)
            self._newcomers.append(link)


def is_hello(message: Message) -> bool:
    """Whether a first message is that of a worker, of whatever version."""
    card = message.get("card")
    return (
        message["kind"] == "hello"
        and message.get("protocol") == PROTOCOL
        and type(message.get("index")) is int
        and isinstance(message.get("token"), str)
        and isinstance(card, dict)
        and all(isinstance(value, str) for value in card.values())
    )
