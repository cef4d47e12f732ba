"""Benchmarks run at their smallest size and report what they promise; no time is asserted."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers, report, suite
from benchmarks.report import Finding, Section
from benchmarks.subject import SIZES, Subject, prepare
from benchmarks.timing import Timing, fastest, interleaved, ratio

TARGETS = {
    "training_step": ["at most 8"] * 2,
    "attack": ["at least 1", "at most 0.005"],
    "evaluation": ["at least 2", "at most 0.005"],
    "grad_cam": ["at least 3", "at most 1e-05"],
    "lime": ["at least 10", "at most 0.001"],
    "traces": ["at most 1"],
    "attention_study": ["at most 1.3", "at least 1"],
    "memory": ["at most 10"] * 4,
}
TIMES = {"median_seconds", "quartiles_seconds", "cpu_median_seconds", "repetitions"}
COLUMNS = {
    "attack": TIMES | {"robust_accuracy", "pixels_unlike_ours"},
    "evaluation": TIMES | {"robust_accuracy"},
    "grad_cam": TIMES | {"images_per_second"},
    "traces": {"traces"},
    "memory": {"megabytes"},
}


@pytest.fixture(scope="module")
def subject() -> Subject:
    return prepare(SIZES["small"])


@pytest.fixture(scope="module")
def outcome(subject: Subject) -> Callable[[str], dict[str, Any]]:
    """Runs a benchmark by name, each once only."""
    return functools.cache(lambda name: suite.BENCHMARKS[name](subject).as_dict())


# These take long even at the smallest size.
LONG = ("attention_study", "memory", "training_step", "traces")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in LONG else [])
        for name in suite.BENCHMARKS
    ],
)
def test_each_benchmark_reports_its_fields(
    name: str, outcome: Callable[[str], dict[str, Any]]
) -> None:
    section = outcome(name)
    assert section["title"] and section["settings"]
    findings = section["findings"]
    assert [found["target"] for found in findings if found["target"]] == TARGETS[name]
    for found in findings:
        assert math.isfinite(found["value"])
        assert (found["met"] is None) == (found["target"] is None)
    rows = list(section["measurements"].values())
    assert rows and all(row.keys() == rows[0].keys() for row in rows)
    assert COLUMNS.get(name, TIMES) <= rows[0].keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attack", "evaluation", "grad_cam", "lime"])
def test_contenders_do_the_same_work(name: str, outcome: Callable[[str], dict[str, Any]]) -> None:
    assert outcome(name)["findings"][1]["met"]


@pytest.mark.slow
def test_libraries_make_the_same_images(outcome: Callable[[str], dict[str, Any]]) -> None:
    rows = outcome("attack")["measurements"]
    assert {"aad_tf", "Foolbox", "CleverHans", "ART (NumPy)", "ART (TensorFlow)"} < set(rows)
    # Pixels whose gradient is at rounding level may step either way.
    assert all(row["pixels_unlike_ours"] < 0.01 for row in rows.values())


@pytest.mark.slow
@pytest.mark.long
def test_memory_is_sampled_to_the_end(outcome: Callable[[str], dict[str, Any]]) -> None:
    rows = outcome("memory")["measurements"]
    assert [len(row["megabytes"]) for row in rows.values()] == [10] * 4


def test_interleaved_takes_turns() -> None:
    order: list[str] = []
    contenders = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    timings = interleaved(contenders, repetitions=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert len(timings["a"].seconds) == len(timings["b"].cpu_seconds) == 2


def test_ratio_is_the_median_of_paired_ratios() -> None:
    slow = Timing((2.0, 30.0, 4.0), (1.0, 1.0, 1.0))
    quick = Timing((1.0, 10.0, 1.0), (0.5, 0.25, 0.2))
    value, spread, cpu_value = ratio(slow, quick)
    assert value == 3.0
    assert spread == (2.5, 3.5)
    assert cpu_value == 4.0
    assert fastest({"slow": slow, "quick": quick}, ["slow", "quick"]) == "quick"


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        ({"at_most": 8.0}, 8.0, True),
        ({"at_most": 8.0}, 8.1, False),
        ({"at_least": 2.0}, 2.0, True),
        ({"at_least": 2.0}, 1.9, False),
        ({}, 1.0, None),
    ],
)
def test_targets(target: dict[str, float], value: float, met: bool | None) -> None:
    assert Finding("a number", value, **target).as_dict()["met"] is met


def test_report_is_written_as_json_and_markdown(tmp_path: Path) -> None:
    section = Section(
        title="Nothing in particular",
        settings={"batch": 3},
        findings=[
            Finding("ours / theirs", 9.5, "x", (9.0, 10.0), 9.25, at_most=8.0),
            Finding("growth", 0.5, "MB", at_most=10.0),
        ],
        measurements={"ours": {"median_seconds": 0.25, "quartiles_seconds": (0.2, 0.3)}},
        notes=["A note."],
    )
    found = report.document(report.origin("small", {"foolbox": "3"}), "none", {"nothing": section})
    written = report.write(tmp_path / "latest.json", found)
    assert json.loads((tmp_path / "latest.json").read_text())["size"] == "small"
    assert sorted(path.name for path in written.parent.iterdir()) == ["latest.json", "latest.md"]
    text = written.read_text()
    assert "| nothing | ours / theirs | **9.5x** | 9 to 10 | 9.25 | at most 8 | **no** |" in text
    assert "| nothing | growth | **0.5 MB** |  |  | at most 10 | yes |" in text
    assert "| ours | 0.25 | 0.2, 0.3 |" in text


def test_missing_peers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    present = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "art" else present(name)
    )
    with pytest.raises(peers.PeersMissingError, match="adversarial-robustness-toolbox.*bench"):
        peers.versions()
