"""The scaling benchmark: its model by hand, and a small run with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.hosts import reason_against
from benchmarks.scaling import crew, measuring, model, reading
from benchmarks.scaling.cable_section import cable_section
from benchmarks.scaling.model import Network

ROOT = Path(__file__).resolve().parents[1]
needs_two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores to pin processes to",
)


def whole_benchmark(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test of real processes from end to end."""
    for name in ("slow", "whole_benchmark", "distributed"):
        test = getattr(pytest.mark, name)(test)
    return needs_two_cores(test)


@pytest.mark.parametrize(
    ("size", "workers", "expected"),
    [
        # One worker has nobody to send to.
        (1000.0, 1, 0.0),
        # Two rounds of half the bytes at 100 a second, and half a second each.
        (1000.0, 2, 10.0 + 1.0),
        # Six rounds of a quarter.
        (1000.0, 4, 15.0 + 3.0),
        (0.0, 50, 49.0),
    ],
)
def test_ring_all_reduce_by_hand(size: float, workers: int, expected: float) -> None:
    network = Network(bandwidth=100.0, latency=0.5)
    assert model.all_reduce_seconds(size, workers, network) == pytest.approx(expected)


def test_step_and_efficiency_by_hand() -> None:
    network = Network(bandwidth=100.0, latency=0.5)
    assert model.step_seconds(4.0, [1000.0, 100.0], 2, network) == pytest.approx(4 + 11 + 2)
    assert model.efficiency(4.0, [1000.0, 100.0], 2, network) == pytest.approx(4 / 17)
    assert model.efficiency(4.0, [1000.0], 1, network) == 1.0


@pytest.mark.parametrize("workers", [2, 5])
@pytest.mark.parametrize("latency", [0.0, 3e-4])
def test_fit_finds_the_network_that_made_the_times(workers: int, latency: float) -> None:
    truth = Network(bandwidth=8e8, latency=latency)
    sizes = [4.0, 1e4, 1e6, 6.4e7]
    times = [model.all_reduce_seconds(size, workers, truth) for size in sizes]
    found = model.fit_network(sizes, times, workers)
    assert found.bandwidth == pytest.approx(truth.bandwidth, rel=1e-6)
    assert found.latency == pytest.approx(truth.latency, rel=1e-6, abs=1e-9)


def test_fit_refuses_times_that_do_not_grow() -> None:
    with pytest.raises(ValueError, match="measure again"):
        model.fit_network([1e6, 2e6], [2.0, 0.5])


def test_compute_is_a_line_over_the_batch() -> None:
    assert model.fit_compute([1, 2, 4], [3.0, 5.0, 9.0]) == pytest.approx((1.0, 2.0))
    paper = {
        "batch_size": 32,
        "steps": [{"batch_size": b, "seconds": [1 + 2 * b, 99.0, 0.0]} for b in (1, 2, 4)],
    }
    assert reading.paper_compute(paper) == pytest.approx(65.0)


def test_steps_count_while_all_are_at_work() -> None:
    early = ([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 1.0, 1.5])
    late = ([0.5, 2.0, 3.5, 5.0], [0.0, 1.0, 2.0, 3.0])
    times = measuring.step_times([early, late])
    # From 0.5, when both had begun, to 3.0, when the first was done.
    assert times == {"seconds": [1.0, 1.0, 1.5], "cpu_seconds": [0.5, 0.5, 1.0]}
    assert measuring.step_times([early])["seconds"] == [1.0, 1.0, 1.0]


def test_messages_are_the_long_ones_and_short_ones() -> None:
    entry = {"gradient_bytes": 1000, "statistics_bytes": 100}
    assert reading.messages(entry, 5) == [1000, 100, 8, 8, 8]
    assert reading.messages({**entry, "statistics_bytes": 0}, 4) == [1000, 8, 8, 8]


def test_shares_of_exchange_by_hand() -> None:
    rounds = turns(
        **{
            measuring.ALONE: 7.0,
            measuring.PAIR: 10.0,
            measuring.APART: 8.0,
            measuring.EXCHANGE: 1.5,
            measuring.BOOKKEEPING: 0.5,
        }
    )
    alone, added = reading.exchange_shares({"rounds": rounds})
    np.testing.assert_allclose(alone, [0.1, 0.1])
    np.testing.assert_allclose(added, [0.2, 0.2])


def turns(**seconds: float) -> dict[str, Any]:
    """Two turns of three equal steps in each mode."""
    return {
        mode: [{"seconds": [value] * 3, "cpu_seconds": [value] * 3}] * 2
        for mode, value in seconds.items()
    }


def test_a_cable_adds_to_the_time_of_each_byte_by_hand() -> None:
    measured = Network(bandwidth=250e6, latency=1e-3)
    assert reading.cable_network(measured, None) == measured
    # 4 ns of the core and 8 ns of the cable.
    wired = reading.cable_network(measured, 1.0)
    assert wired.bandwidth == pytest.approx(1e9 / 12)
    cable = {"rounds": turns(**{measuring.APART: 2.0, measuring.BOOKKEEPING: 0.5})}
    case = {"gradient_bytes": 1e9, "statistics_bytes": 0, "collectives": {"training": 3}}
    # Two rounds of half a gigabyte; two more messages of 8 bytes; a millisecond a hop.
    added = 12.0 + 2 * 8 * 12e-9 + 3 * 2 * 1e-3
    found = reading.predicted_over_cable(cable, case, wired)
    assert found == pytest.approx((2.0 + added, 0.5 + added))


def test_the_report_sets_cables_beside_the_model() -> None:
    sent = {"gradient_bytes": 1e9, "statistics_bytes": 0, "collectives": {"training": 1}}
    cable = {
        "case": "lenet",
        "gigabits": {"1 Gbit/s": 1.0},
        "carried_bytes_a_second": {"1 Gbit/s": 120e6},
        "rounds": turns(**{measuring.APART: 2.0, measuring.BOOKKEEPING: 0.0}),
        "rates": {"1 Gbit/s": {"rounds": turns(**{measuring.PAIR: 8.0, measuring.EXCHANGE: 6.0})}},
    }
    section = cable_section(cable, sent, Network(bandwidth=250e6, latency=0.0)).as_dict()
    values = {finding["what"]: finding["value"] for finding in section["findings"]}
    assert values == pytest.approx(
        {
            "1 Gbit/s: efficiency, two workers apart / two workers": 2 / 8,
            "1 Gbit/s: predicted / measured, step": (2 + 12) / 8,
            "1 Gbit/s: predicted / measured, exchange": 12 / 6,
        }
    )


@needs_two_cores
@pytest.mark.distributed
def test_a_worker_that_fails_is_named_with_its_last_words() -> None:
    words = "(?s)worker 0 alone on core.*no_such_order"
    with (
        crew.crew(measuring.worker_cores()[:1], False, 60.0) as workers,
        pytest.raises(crew.WorkerFailedError, match=words),
    ):
        crew.ask(workers, "no_such_order")


@needs_two_cores
@pytest.mark.distributed
def test_a_silent_worker_is_given_up_and_killed() -> None:
    with crew.crew(measuring.worker_cores()[:1], False, 0.2) as workers:
        process = workers[0].process_id
        with pytest.raises(crew.WorkerFailedError, match=r"was silent for 0\.2 s"):
            crew.ask(workers, "collectives")
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def benchmark(directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.scaling", "--size=small", *flags]
    command += [f"--output={directory / 'scaling.json'}", f"--figure={directory / 'scaling.png'}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A small run of everything."""
    directory = tmp_path_factory.mktemp("scaling")
    result = benchmark(directory)
    assert result.returncode == 0, result.stderr
    return directory, json.loads((directory / "scaling.json").read_text())


@whole_benchmark
def test_small_run_measures_everything(outcome: tuple[Path, dict[str, Any]]) -> None:
    directory, found = outcome
    assert sorted(path.name for path in directory.iterdir()) == [
        "scaling.json",
        "scaling.md",
        "scaling.png",
    ]
    assert found["seed"] == 0
    assert {"command", "versions", "cpu", "utc"} <= found["provenance"].keys()
    (case,) = found["raw"]["cases"].values()
    assert case["gradient_bytes"] == 4 * case["parameters"]
    # The step that only exchanges makes as many all-reduces as the one that trains.
    assert case["collectives"]["training"] == case["collectives"]["exchange"] >= 3
    for each in case["rounds"].values():
        assert len(each) == 2
        assert all(min(turn["seconds"]) > 0 for turn in each)
    sections = found["benchmarks"]
    expected = {"weak_scaling", "all_reduce", "messages", "model", "cable", "many_workers"}
    left_out = set(found["raw"]["left_out"])
    assert left_out == ({"cable"} if reason_against() else set())
    assert set(sections) == expected - left_out
    first, *_ = sections["weak_scaling"]["findings"]
    pairs = zip(case["rounds"]["one worker"], case["rounds"]["two workers"], strict=True)
    ratios = [np.median(one["seconds"]) / np.median(two["seconds"]) for one, two in pairs]
    assert first["value"] == pytest.approx(np.median(ratios))
    assert first["target"] == "at least 0.9"


@whole_benchmark
def test_report_is_made_anew_from_the_measurements(outcome: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = outcome
    text = (directory / "scaling.md").read_text()
    assert "](scaling.png)" in text
    assert "Modelled; no more than two workers were run." in text
    for name in ("scaling.md", "scaling.png"):
        (directory / name).unlink()
    assert benchmark(directory, "--redraw").returncode == 0
    assert (directory / "scaling.md").read_text() == text
    assert (directory / "scaling.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("--only=mesages", "messages"), ("--redraw", "scaling.json"), ("--size=large", "--size=")],
)
def test_mistakes_are_named(tmp_path: Path, flag: str, expected: str) -> None:
    result = benchmark(tmp_path, flag)
    assert result.returncode != 0
    assert expected in result.stderr + result.stdout
    assert "Traceback" not in result.stderr
