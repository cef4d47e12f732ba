"""Workers on two hosts: a cable that is cut says nothing, unlike a process that dies."""

from __future__ import annotations

import ctypes
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.hosts import Cable, reason_against, two_hosts
from tests.cluster.processes import Team, Worker, tell_nothing

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(60)]


@pytest.fixture
def cable() -> Iterator[Cable]:
    without = reason_against()
    if without is not None:
        pytest.skip(f"two hosts: {without}")
    with two_hosts() as cable:
        yield cable


def joined(team: Team, cable: Cable, lost_after: float) -> list[Worker]:
    """A worker on each host."""
    addresses = [f"{host.address}:20000" for host in cable.hosts]
    workers = [
        team.start(addresses, index, host, lost_after=lost_after)
        for index, host in enumerate(cable.hosts)
    ]
    for worker in workers:
        worker.expect("joined")
    return workers


def test_a_cable_that_is_cut_is_noticed_on_both_sides(team: Team, cable: Cable) -> None:
    workers = joined(team, cable, lost_after=1.5)
    start = time.monotonic()
    cable.cut()
    told = [worker.expect("lost", 6)["message"] for worker in workers]
    assert time.monotonic() - start > 1.2
    for other, message in zip((1, 0), told, strict=True):
        where = cable.hosts[other].address
        assert message.startswith(f"worker {other} ({where}:20000) was lost: nothing was heard")
        assert "its machine or network is down" in message


def test_a_cable_that_is_mended_in_time_loses_nobody(team: Team, cable: Cable) -> None:
    workers = joined(team, cable, lost_after=10)
    cable.cut()
    assert tell_nothing(workers, 1.5)
    cable.mend()
    # What was sent meanwhile arrives late, and a worker that dies is still noticed at once.
    assert tell_nothing(workers, 2)
    workers[1].process.kill()
    assert "worker 1" in workers[0].expect("lost", 5)["message"]


def test_a_rate_is_kept(cable: Cable) -> None:
    """Bytes through the cable, each way, take no less than the rate allows."""
    cable.limit(0.1)
    count = 2_500_000
    receiver, sender = (_socket_on(host.name) for host in cable.hosts)
    with receiver, sender:
        receiver.bind((cable.hosts[0].address, 0))
        receiver.listen()
        sender.connect(receiver.getsockname())
        connection = receiver.accept()[0]
        with connection:
            for source, sink in ((sender, connection), (connection, sender)):
                start = time.monotonic()
                thread = threading.Thread(target=source.sendall, args=(bytes(count),))
                thread.start()
                received = 0
                while received < count:
                    received += len(sink.recv(2**20))
                thread.join()
                # A first burst of 128 KiB may pass at once.
                assert time.monotonic() - start > (count - 2**17) / 12.5e6 * 0.95


def _socket_on(host: str) -> socket.socket:
    """A socket that belongs to a host, whichever this process runs on."""
    made: list[socket.socket] = []

    def make() -> None:
        with open(f"/run/netns/{host}") as namespace:
            _enter(namespace.fileno())
        made.append(socket.socket())

    # A thread may move to another network, and ends there.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns failed")
