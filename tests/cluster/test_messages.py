"""Lines arrive whole, in order and before the end of a connection; too long ones end it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from aad_tf.cluster import Cluster, ClusterError
from aad_tf.cluster.door import control_port
from aad_tf.cluster.messages import LINE_LIMIT, Link, encode

Pair = tuple[Link, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A link, and the socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = socket.create_connection(server.getsockname())
        connection, _ = server.accept()
    with other, connection:
        yield Link(connection), other


def receive(link: Link, times: int = 20) -> None:
    link.connection.settimeout(5)
    for _ in range(times):
        if link.ended is None:
            link.receive()


def test_lines_in_pieces_are_put_together(pair: Pair) -> None:
    link, other = pair
    lines = encode("first", message="\u00e9") + encode("second")
    for byte in lines:
        other.sendall(bytes([byte]))
    other.close()
    receive(link, len(lines) + 1)
    assert list(link.inbox) == [{"kind": "first", "message": "\u00e9"}, {"kind": "second"}]
    assert link.ended is not None and "closed" in link.ended


def test_last_words_are_read_although_sending_fails(pair: Pair) -> None:
    link, other = pair
    link.send("unread")
    other.sendall(encode("lost", message="worker 2 was lost"))
    other.close()
    for _ in range(5):
        link.send("beat")
    receive(link)
    assert [message["kind"] for message in link.inbox] == ["lost"]
    assert link.ended is not None


@pytest.mark.parametrize("content", [b"x" * (LINE_LIMIT + 1), b"x" * LINE_LIMIT * 2 + b"\n"])
def test_a_line_has_a_limit(pair: Pair, content: bytes) -> None:
    link, other = pair
    other.sendall(encode("first") + content)
    receive(link)
    assert link.ended == "it sent something that is not a message of this protocol"
    assert list(link.inbox) == [{"kind": "first"}]


def test_sending_to_one_who_does_not_read_does_not_wait(pair: Pair) -> None:
    link, other = pair
    for _ in range(300):
        link.send("long", message="x" * 60_000)
    other.settimeout(5)
    received = 0
    while received < 300 * len(encode("long", message="x" * 60_000)):
        received += len(other.recv(1 << 20))
        link.flush()
    assert link.ended is None


LOOPBACK = Cluster(("127.0.0.1:2222", "127.0.0.1:3333"), 0, "the test")


def test_the_control_port_follows_from_the_chief() -> None:
    assert control_port(LOOPBACK, {}) == 3222
    assert control_port(LOOPBACK, {"AAD_TF_CONTROL_PORT": "4000"}) == 4000


@pytest.mark.parametrize("port", ["x", "0", "70000", "-1", "3333", "2222"])
def test_a_wrong_control_port_is_refused(port: str) -> None:
    with pytest.raises(ClusterError, match="Set AAD_TF_CONTROL_PORT to a free port"):
        control_port(LOOPBACK, {"AAD_TF_CONTROL_PORT": port})


def test_a_chief_whose_port_is_too_high_needs_the_variable() -> None:
    high = Cluster(("127.0.0.1:65000", "127.0.0.1:2222"), 0, "the test")
    with pytest.raises(ClusterError, match=r"would be 66000: .*Set AAD_TF_CONTROL_PORT"):
        control_port(high, {})
