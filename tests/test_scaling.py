"""The scaling benchmark: its model by hand, and a small run with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling import model, workers
from benchmarks.scaling.model import Network
from tests.binaries.many_runs import run_many

ROOT = Path(__file__).resolve().parents[1]
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores to pin processes to")


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        # One worker has nobody to send to.
        (1000.0, 1, 0.0),
        # Two transfers of half the bytes at 100 per second, and half a second each.
        (1000.0, 2, 10.0 + 1.0),
        # Six transfers of a quarter.
        (1000.0, 4, 15.0 + 3.0),
        (0.0, 50, 49.0),
    ],
)
def test_ring_all_reduce_by_hand(size: float, count: int, expected: float) -> None:
    network = Network(bandwidth=100.0, latency=0.5)
    assert model.all_reduce_seconds(size, count, network) == pytest.approx(expected)


def test_step_and_efficiency_by_hand() -> None:
    network = Network(bandwidth=100.0, latency=0.5)
    assert model.step_seconds(4.0, [1000.0, 100.0], 2, network) == pytest.approx(4 + 11 + 2)
    assert model.efficiency(4.0, [1000.0, 100.0], 2, network) == pytest.approx(4 / 17)
    assert model.efficiency(4.0, [1000.0], 1, network) == 1.0


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("latency", [0.0, 3e-4])
def test_fit_finds_the_network_that_made_the_times(count: int, latency: float) -> None:
    truth = Network(bandwidth=8e8, latency=latency)
    sizes = [4.0, 1e4, 1e6, 6.4e7]
    times = [model.all_reduce_seconds(size, count, truth) for size in sizes]
    found = model.fit_network(sizes, times, count)
    assert found.bandwidth == pytest.approx(truth.bandwidth, rel=1e-6)
    assert found.latency == pytest.approx(truth.latency, rel=1e-6, abs=1e-9)


def test_fit_refuses_times_that_do_not_grow() -> None:
    with pytest.raises(ValueError, match="measure again"):
        model.fit_network([1e6, 2e6], [2.0, 0.5])


def test_the_number_of_messages_is_that_of_compiled_steps() -> None:
    """Counted in the graphs of the networks of results/benchmarks/scaling.md, with 8 MB."""
    assert len(model.messages(87.4e6, 137.7e3, 2**23)) == 14
    assert len(model.messages(5.114e6, 25.02e3, 2**23)) == 5
    assert sum(model.messages(87.4e6, 137.7e3, 2**23)) == pytest.approx(87.4e6 + 137.7e3 + 24)
    assert len(model.messages(1e6, 0.0, 2**23)) == 4


def test_steps_count_while_all_are_at_work() -> None:
    early = ([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 1.0, 1.5])
    late = ([0.5, 2.0, 3.5, 5.0], [0.0, 1.0, 2.0, 3.0])
    # From 0.5, when both had begun, to 3.0, when the first was done.
    assert workers.step_times([early, late]) == ([1.0, 1.0, 1.5], [0.5, 0.5, 1.0])
    assert workers.step_times([early])[0] == [1.0, 1.0, 1.0]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@needs_two_cores
@pytest.mark.slow
@pytest.mark.distributed
def test_a_worker_that_fails_is_reported_and_none_is_left() -> None:
    with workers.Workers(CORES[:1], False, 120.0) as alone:
        (pid,) = alone.process_ids
        with pytest.raises(workers.WorkerFailedError, match="(?s)a worker failed.*no_such_order"):
            alone.ask("no_such_order")
        os.kill(pid, 9)
        with pytest.raises(workers.WorkerFailedError, match="a worker ended during prepare"):
            alone.ask("prepare")
    assert not is_there(pid)
    with (
        workers.Workers(CORES[:1], False, 0.0) as silent,
        pytest.raises(workers.WorkerFailedError, match="no answer in 0 s to prepare"),
    ):
        silent.ask("prepare")


def benchmark(output: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.scaling", "--size=small", f"--output={output}"]
    return subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=280)


@needs_two_cores
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.distributed
def test_small_run_measures_everything(tmp_path: Path) -> None:
    result = benchmark(tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert {"command", "versions", "cpu", "utc"} <= found["provenance"].keys()
    sections = found["benchmarks"]
    assert set(sections) == {"weak_scaling", "messages", "many_workers"}
    first = sections["weak_scaling"]["findings"][0]
    assert first["what"] == "lenet_aad: one worker / two workers"
    assert first["value"] > 0 and first["target"] == "at least 0.9"
    assert len(sections["weak_scaling"]["measurements"]) == 3
    assert len(sections["messages"]["measurements"]) == 3
    for row in sections["many_workers"]["measurements"].values():
        assert list(row) == [f"{count}_workers" for count in (2, 4, 8, 16, 32, 50)]
        assert all(0 < value <= 1 for value in row.values())
        assert sorted(row.values(), reverse=True) == list(row.values())
    assert "Modelled; no more than two workers were run." in (tmp_path / "found.md").read_text()


def test_mistakes_are_named() -> None:
    (result,) = run_many("benchmarks.scaling", [["--size=small", "--output=benchmarks"]])
    assert result.code == 2
    assert "benchmarks is a directory" in result.errors.splitlines()[-1]
    assert "Traceback" not in result.errors
