"""Workers on two hosts: a cable that is cut says nothing, unlike a process that dies."""

from __future__ import annotations

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
    """No more bytes a second than the rate allows: a busy machine may carry fewer."""
    count, burst = 2_500_000, 2**17
    cable.limit(0.1)
    assert cable.carried(count) * (count - burst) / count < 12.5e6 * 1.05
