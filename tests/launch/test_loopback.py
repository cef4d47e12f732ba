"""A cluster on one machine: what each worker is told."""

from __future__ import annotations

import json
import os
import socket
import sys

import pytest

from train.launch.loopback import cluster, core_shares, free_ports
from train.launch.output import Printer
from train.launch.processes import run_together
from train.launch.stopping import StopRequests

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
linux = pytest.mark.skipif(not CORES, reason="needs sched_getaffinity")


def test_free_ports_are_different_and_free():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    sockets = [socket.create_server(("127.0.0.1", port)) for port in ports]
    assert not set(free_ports(20)) & set(ports)
    for opened in sockets:
        opened.close()


def test_workers_are_told_of_each_other():
    programs = cluster(["program", "--flag"], [[]] * 3)
    configs = [json.loads(program.environment["TF_CONFIG"]) for program in programs]
    assert [program.name for program in programs] == ["worker 0", "worker 1", "worker 2"]
    assert [config["task"] for config in configs] == [
        {"type": "worker", "index": index} for index in range(3)
    ]
    addresses = configs[0]["cluster"]["worker"]
    assert all(config["cluster"] == {"worker": addresses} for config in configs)
    (control,) = {program.environment["AAD_TF_CONTROL_PORT"] for program in programs}
    ports = {address.removeprefix("127.0.0.1:") for address in addresses} | {control}
    assert len(ports) == 4 and all(port.isdigit() for port in ports)
    again = json.loads(cluster(["program"], [[]] * 3)[0].environment["TF_CONFIG"])
    assert again["cluster"]["worker"] != addresses


def test_threads_are_limited_only_where_cores_are_shared_out(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (free,) = cluster(["program"], [[]])
    (pinned,) = cluster(["program"], [[4, 5, 6]])
    assert "OMP_NUM_THREADS" not in free.environment
    assert pinned.environment["OMP_NUM_THREADS"] == "3"
    assert pinned.environment["TF_NUM_INTRAOP_THREADS"] == "3"


@linux
def test_core_shares_cover_the_usable_cores_once(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3, 5, 7, 11})
    assert core_shares(2) == [[2, 3], [5, 7, 11]]
    assert core_shares(5) == [[2], [3], [5], [7], [11]]
    assert core_shares(2, pin=False) == [[], []]
    with pytest.raises(ValueError, match="each of the 6 workers, and there are 5"):
        core_shares(6)


def test_core_shares_say_where_they_do_not_work(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with pytest.raises(ValueError, match="Linux only"):
        core_shares(2)
    assert core_shares(2, pin=False) == [[], []]


@linux
def test_workers_run_on_their_cores(capfd):
    source = "import os; print(sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"
    shares = core_shares(min(2, len(CORES)))
    with StopRequests() as stops:
        programs = cluster([sys.executable, "-c", source], shares)
        assert set(run_together(programs, stops, Printer()).codes) == {0}
    expected = [f"[worker {i}] {share} {len(share)}" for i, share in enumerate(shares)]
    assert sorted(capfd.readouterr().out.splitlines()) == expected
