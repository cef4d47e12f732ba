"""Workers come together, agree or say where they differ, and name who is absent."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from aad_tf.cluster import Cluster, ClusterError, join
from tests.cluster.processes import Team, addresses, free_port, tell_nothing, wait_until

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(60)]

CARD = {"config": "abc", "tensorflow": "2.21.0"}


def control_port(where: list[str]) -> int:
    return int(where[0].rpartition(":")[2]) + 1000


def test_workers_with_the_same_card_join_in_any_order(team: Team) -> None:
    where = addresses(3)
    workers = [team.start(where, index, card=CARD) for index in (2, 1)]
    time.sleep(0.3)
    workers.append(team.start(where, 0, card=CARD))
    for worker in workers:
        assert worker.expect("joined")["tensorflow"] is False
    assert tell_nothing(workers, 0.2)


def test_a_differing_card_is_named_alike_by_all(team: Team) -> None:
    where = addresses(3)
    advice = {"tensorflow": "Install the same version everywhere."}
    workers = [team.start(where, index, card=CARD, advice=advice) for index in (0, 1)]
    other = {**CARD, "tensorflow": "2.20.0"}
    workers.append(team.start(where, 2, card=other, advice=advice))
    messages = [worker.expect("refused")["message"] for worker in workers]
    assert messages == 3 * [
        f"The workers of this run do not agree. worker 2 ({where[2]}) has tensorflow 2.20.0, "
        f"worker 0 ({where[0]}) has 2.21.0. Install the same version everywhere."
    ]
    assert [worker.process.wait(10) for worker in workers] == [2, 2, 2]


def test_workers_with_different_lists_of_workers_do_not_agree(team: Team) -> None:
    where = addresses(2)
    workers = [team.start(where, 0), team.start([where[0], "127.0.0.1:9"], 1)]
    for worker in workers:
        refused = worker.expect("refused")
        message = refused["message"]
        assert not refused["absent"]
        assert f"worker 1 ({where[1]}) has address of worker 1 127.0.0.1:9" in message
        assert "Every worker must be given the same list of workers" in message


def test_absent_workers_are_named(team: Team) -> None:
    where = addresses(4)
    workers = [team.start(where, index, join_timeout=1.2) for index in (2, 0)]
    for worker in workers:
        refused = worker.expect("refused")
        message = refused["message"]
        assert refused["absent"]
        assert (
            f"worker 1 ({where[1]}), worker 3 ({where[3]}) did not join within 1.2 sec" in message
        )
        assert "worker 2" not in message


def test_an_absent_chief_is_named(team: Team) -> None:
    where = addresses(2)
    start = time.monotonic()
    refused = team.start(where, 1, join_timeout=1.0).expect("refused")
    message = refused["message"]
    assert refused["absent"]
    assert time.monotonic() - start < 10
    assert f"worker 1 ({where[1]}) could not join worker 0 ({where[0]})" in message
    assert f"control port {control_port(where)} within 1 seconds: Connection refused" in message
    assert "AAD_TF_CONTROL_PORT" in message


def test_something_else_at_the_control_port_is_not_the_chief(team: Team) -> None:
    where = addresses(2)
    with socket.create_server(("127.0.0.1", control_port(where))) as server:
        server.settimeout(20)
        worker = team.start(where, 1, join_timeout=1.0)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            message = worker.expect("refused")["message"]
    assert "could not join worker 0" in message


def test_a_second_process_with_an_index_is_refused_and_the_first_goes_on(team: Team) -> None:
    where = addresses(3)
    chief, first = (team.start(where, index, lost_after=5) for index in (0, 1))
    time.sleep(0.5)
    second = team.start(where, 1)
    message = second.expect("refused")["message"]
    assert f"Two processes joined as worker 1 ({where[1]})" in message
    last = team.start(where, 2)
    for worker in (chief, first, last):
        worker.expect("joined")


def test_a_second_process_with_an_index_cannot_join_a_run_that_trains(team: Team) -> None:
    where = addresses(2)
    workers = [team.start(where, index) for index in range(2)]
    for worker in workers:
        worker.expect("joined")
    late = team.start(where, 1, join_timeout=1.0)
    message = late.expect("refused")["message"]
    assert f"worker 0 ({where[0]}) trains with a worker 1 already" in message
    assert not any(worker.has_told() for worker in workers)


def test_an_index_that_the_chief_does_not_know_is_refused(team: Team) -> None:
    where = addresses(3)
    foreign = team.start(where, 2)
    chief = team.start(where[:2], 0, join_timeout=1.2)
    for worker in (foreign, chief):
        message = worker.expect("refused")["message"]
        assert f"joined as worker 2, but worker 0 ({where[0]}) knows 2 workers" in message


def test_a_worker_that_dies_before_all_are_there_may_come_again(team: Team) -> None:
    where = addresses(3)
    chief, member = (team.start(where, index) for index in (0, 1))
    time.sleep(0.5)
    member.process.kill()
    workers = [chief, *(team.start(where, index) for index in (1, 2))]
    for worker in workers:
        worker.expect("joined")


def test_a_restarted_chief_has_its_port_at_once(team: Team) -> None:
    where = addresses(2)
    for _ in range(2):
        workers = [team.start(where, index) for index in range(2)]
        for worker in workers:
            worker.expect("joined")
        for worker in workers:
            worker.process.kill()
            worker.process.wait(10)


def test_a_taken_port_is_named_with_its_remedy() -> None:
    where = addresses(2)
    port = control_port(where)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ClusterError) as error:
        join(Cluster(tuple(where), 0, "the test"), {})
    assert f"cannot listen on the control port {port}: Address already in use" in str(error.value)
    assert "Set AAD_TF_CONTROL_PORT to a free port" in str(error.value)


def test_the_control_port_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("AAD_TF_CONTROL_PORT", str(port))
    cluster = Cluster(("127.0.0.1:2222", "127.0.0.1:2223"), 0, "the test")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ClusterError, match=f" {port}:"):
        join(cluster, {})


STRANGERS = {
    "a web browser": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "binary": b"\x16\x03\x01\x02\x00\x01\xfc\xff\n" + bytes(range(256)),
    "an endless line": b"x" * 300_000,
    "deep JSON": b"[" * 60_000 + b"\n",
    "another protocol": b'{"kind": "hello", "protocol": "other", "index": 1}\n',
    "a wrong index": json.dumps(
        {
            "kind": "hello",
            "protocol": "aad_tf cluster control",
            "index": "1",
            "token": "",
            "card": {},
        }
    ).encode()
    + b"\n",
    "a number": b"12\n",
    "nothing": b"",
}


def call(port: int, content: bytes) -> socket.socket:
    """A stranger's connection, after it has sent what the chief takes of it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    # The chief may turn it away in the middle.
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(content)
    return connection


def test_strangers_are_turned_away_and_hold_up_nobody(team: Team) -> None:
    where = addresses(2)
    chief = team.start(where, 0)
    wait_until(lambda: is_open(control_port(where)))
    calls = {name: call(control_port(where), content) for name, content in STRANGERS.items()}
    member = team.start(where, 1)
    for worker in (chief, member):
        worker.expect("joined")
    calls.update({f"late {name}": call(control_port(where), STRANGERS[name]) for name in STRANGERS})
    for name, connection in calls.items():
        with connection:
            connection.settimeout(5)
            if not name.endswith("nothing"):
                assert was_turned_away(connection), name
    assert tell_nothing([chief, member], 0.2)
    member.process.kill()
    assert "worker 1" in chief.expect("lost")["message"]


def is_open(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def was_turned_away(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_single_worker_needs_nobody() -> None:
    control = join(Cluster(("127.0.0.1:2222",), 0, "the test"), {"config": "abc"})
    assert control.lost is None
    assert control.wait_lost(0.01) is None
    control.fail("nobody hears this")
    control.leave()
    control.close()
    assert control.lost is None


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["join_timeout", "lost_after"])
def test_times_must_be_positive(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a positive number"):
        join(Cluster(("127.0.0.1:2222",), 0, "the test"), {}, **{name: seconds})


def test_a_card_is_flat_text_of_some_length() -> None:
    cluster = Cluster(("127.0.0.1:2222",), 0, "the test")
    with pytest.raises(TypeError, match="A card maps names to text, got 'seed': 1"):
        join(cluster, {"seed": 1})  # type: ignore[dict-item]
    with pytest.raises(ClusterError, match="too long"):
        join(cluster, {"config": "x" * 70_000})
