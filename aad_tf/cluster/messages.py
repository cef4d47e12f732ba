"""The control protocol: one JSON object a line, over connections that are read together.

The first line of a worker is its hello, which carries the name and version of the protocol; the
chief's first answer does so too. Whatever else arrives is not a worker and is turned away. Lines
have a limit, nothing but JSON is ever decoded, and no peer can make another wait.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections import deque
from typing import Any

PROTOCOL = "aad_tf cluster control"
VERSION = 1
LINE_LIMIT = 64 * 1024
MESSAGE_LIMIT = 8000

Message = dict[str, Any]


def greeting() -> Message:
    """What the first message in each direction carries."""
    return {"protocol": PROTOCOL, "version": VERSION}


def encode(kind: str, **fields: Any) -> bytes:
    """A message as it goes over the line."""
    return json.dumps({"kind": kind, **fields}).encode("ascii") + b"\n"


def decode(line: bytes) -> Message | None:
    """The message in a line, or None if there is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        return None
    return message


def printable(message: str) -> str:
    """A worker's words, of a length that fits a line and in characters that can be shown."""
    cut = message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "..."
    return cut.encode("utf-8", "replace").decode("utf-8")


class Link:
    """A connection to another process, which never blocks.

    Attributes:
        ended: why nothing more will come, in words; None while the connection is open.
        heard: when something was last heard, by `time.monotonic`.
        inbox: messages that came and were not handled yet.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.ended: str | None = None
        self.heard = self.opened = time.monotonic()
        self.inbox: deque[Message] = deque()
        self._sent = self.heard
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._can_send = True

    def send(self, kind: str, **fields: Any) -> None:
        """Sends a message, or as much of it as fits; `flush` sends the rest."""
        self._sent = time.monotonic()
        if self._can_send:
            self._outgoing += encode(kind, **fields)
            self.flush()

    def flush(self) -> None:
        """Sends what is left of earlier messages, as far as the connection takes it."""
        try:
            while self._can_send and self._outgoing:
                del self._outgoing[: self.connection.send(self._outgoing)]
        except BlockingIOError:
            return
        except OSError:
            # The peer is gone, yet its last words may wait to be read; reading tells the end.
            self._can_send = False
            self._outgoing.clear()

    def beat(self, interval: float) -> None:
        """Says that this process is alive if nothing was sent for `interval` seconds."""
        if time.monotonic() - self._sent >= interval:
            self.send("beat")
        self.flush()

    def receive(self) -> None:
        """Puts what has come into the inbox."""
        try:
            data = self.connection.recv(LINE_LIMIT)
        except BlockingIOError:
            return
        except OSError as error:
            self.ended = f"its connection broke ({error.strerror or error})"
            return
        if not data:
            self.ended = "its connection closed, so its process has ended or was killed"
            return
        self._incoming += data
        *lines, rest = self._incoming.split(b"\n")
        self._incoming = rest
        messages = [decode(bytes(line)) if len(line) <= LINE_LIMIT else None for line in lines]
        if len(rest) > LINE_LIMIT or None in messages:
            self.ended = "it sent something that is not a message of this protocol"
        self.inbox.extend(message for message in messages if message is not None)
        self.heard = time.monotonic() if messages else self.heard

    def silent(self, seconds: float) -> bool:
        """Whether nothing was heard for that long."""
        return time.monotonic() - self.heard > seconds

    def forgive(self, pause: float) -> None:
        """Takes back a silence that this process slept through itself."""
        self.heard = min(time.monotonic(), self.heard + pause)

    def finish(self) -> None:
        """Lets the peer read to the end of what was sent; nothing more follows."""
        self.flush()
        self._can_send = False
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.ended = self.ended or str(error)


class Switchboard:
    """The connections of one process, read together, and the port, if any, for new ones."""

    def __init__(self, listener: socket.socket | None = None) -> None:
        if listener is not None:
            listener.setblocking(False)
        self.listener = listener
        self._selector = selectors.DefaultSelector()
        self._links: set[Link] = set()

    def add(self, link: Link) -> None:
        """Reads this connection from now on."""
        self._links.add(link)
        self._selector.register(link.connection, selectors.EVENT_READ, link)

    def drop(self, link: Link) -> None:
        """Closes a connection; harmless if it is closed."""
        if link in self._links:
            self._links.discard(link)
            self._selector.unregister(link.connection)
        link.connection.close()

    def read(self, seconds: float) -> None:
        """Waits at most that long, then fills the inboxes with what has come."""
        for key, _ in self._selector.select(seconds):
            link: Link = key.data
            link.receive()
            if link.ended is not None:
                self.drop(link)

    def close(self) -> None:
        """Closes every connection, and the port for new ones."""
        for link in list(self._links):
            self.drop(link)
        self._selector.close()
        if self.listener is not None:
            self.listener.close()
