"""Workers wait for each other and name those that do not start."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from aad_tf.distribute import AbsentWorkerError, Cluster, ClusterError, wait_for_workers
from aad_tf.distribute.probe import unreachable
from train.launch.local import free_ports


def addresses(count: int) -> tuple[str, ...]:
    return tuple(f"127.0.0.1:{port}" for port in free_ports(count))


def test_workers_that_start_one_after_the_other_all_go_on() -> None:
    where, failures = addresses(3), []

    def wait(index: int) -> None:
        try:
            wait_for_workers(Cluster(where, index, "a test"), 20.0)
            # TensorFlow's server listens at the same port from now on.
            server = socket.create_server(("127.0.0.1", int(where[index].rpartition(":")[2])))
            over.wait(20.0)
            server.close()
        except Exception as error:
            failures.append(error)
            over.set()

    over = threading.Event()
    threads = [threading.Thread(target=wait, args=(index,)) for index in (2, 0, 1)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    while not over.is_set() and unreachable(list(where)):
        time.sleep(0.02)
    time.sleep(0.3)
    over.set()
    for thread in threads:
        thread.join(20.0)
    assert failures == []


def test_workers_that_do_not_start_are_named() -> None:
    where = addresses(3)
    with socket.create_server(("127.0.0.1", int(where[0].rpartition(":")[2]))):
        began = time.monotonic()
        with pytest.raises(AbsentWorkerError) as raised:
            wait_for_workers(Cluster(where, 1, "a test"), 0.5)
    assert 0.5 <= time.monotonic() - began < 5.0
    assert str(raised.value).startswith(f"worker 2 ({where[2]}) did not start within 0.5 seconds.")


def test_a_port_that_is_taken_is_named() -> None:
    (where,) = addresses(1)
    port = int(where.rpartition(":")[2])
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(ClusterError, match=f"Port {port} of worker 0 .*another port"),
    ):
        wait_for_workers(Cluster((where,), 0, "a test"), 1.0)
    wait_for_workers(Cluster((where,), 0, "a test"), 1.0)


def test_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds must be positive, got 0"):
        wait_for_workers(Cluster(("127.0.0.1:1",), 0, "a test"), 0)


def test_a_worker_that_waits_heeds_any_number_of_connections_of_either_kind() -> None:
    where = addresses(2)
    port = int(where[0].rpartition(":")[2])
    hosts = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
    waiting = Cluster(where, 0, "a test")
    thread = threading.Thread(
        target=lambda: pytest.raises(AbsentWorkerError, wait_for_workers, waiting, 4.0)
    )
    thread.start()
    while unreachable([where[0]]):
        time.sleep(0.02)
    # More than may wait to be accepted at one time.
    for _ in range(5):
        for host in hosts * 10:
            socket.create_connection((host, port), timeout=2.0).close()
        time.sleep(0.3)
    thread.join()
