"""Benchmarks run at their smallest size and report what they promise; no time is asserted."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from aad_tf import models
from benchmarks import peers, report, suite
from benchmarks.auto_attack import cases, translation
from benchmarks.report import Finding, Section
from benchmarks.subject import SIZES, Subject, prepare
from benchmarks.timing import Timing, fastest, interleaved, ratio

TARGETS = {
    "training_step": ["at most 8"] * 2,
    "attack": ["at least 1", "at most 0.005"],
    "evaluation": ["at least 2", "at most 0.005"],
    "grad_cam": ["at least 3", "at most 1e-05"],
    "lime": ["at least 10", "at most 0.001"],
    "robust_accuracy": ["at least 1", "at least 0"] * 5,
    "traces": ["at most 1"],
    "attention_study": ["at most 1.3", "at least 1"],
    "memory": ["at most 10"] * 5,
}
TIMES = {"median_seconds", "quartiles_seconds", "cpu_median_seconds", "repetitions"}
COLUMNS = {
    "attack": TIMES | {"robust_accuracy", "pixels_unlike_ours"},
    "evaluation": TIMES | {"robust_accuracy"},
    "grad_cam": TIMES | {"images_per_second"},
    "robust_accuracy": {"robust_accuracy", "largest_distance", "seconds", "cpu_seconds"},
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
LONG = ("attention_study", "memory", "robust_accuracy", "training_step", "traces")


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
    assert [len(row["megabytes"]) for row in rows.values()] == [10] * 5


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


def test_networks_are_translated_layer_by_layer() -> None:
    found = translation.operations(models.build("cifarnet", (32, 32, 3), 10))
    kinds = [operation["kind"] for operation in found]
    norm, pooling = "LocalResponseNormalization", "MaxPooling2D"
    assert kinds == [
        *("Rescaling", "Conv2D", pooling, norm, "Conv2D", norm, pooling, "Flatten"),
        *("Dense", "Dense", "Dense"),
    ]
    assert [operation["relu"] for operation in found if "relu" in operation] == [True] * 4 + [False]
    assert found[1]["weight_0"].shape == (5, 5, 3, 64) and found[2]["size"] == 2


def test_what_cannot_be_translated_is_refused() -> None:
    layers = keras.layers
    for layer, match in (
        (layers.BatchNormalization(), "is a BatchNormalization"),
        (layers.Conv2D(2, 3), "padding must be same, got valid"),
        (layers.MaxPooling2D(3, 2), "strides must be"),
        (layers.Conv2D(2, 3, padding="same", activation="gelu"), "ReLU or no activation"),
    ):
        network = keras.Sequential([keras.Input((8, 8, 1)), layer])
        with pytest.raises(ValueError, match=match):
            translation.operations(network)


def test_a_problem_holds_the_network_and_its_logits(tmp_path: Path) -> None:
    network = models.build("lenet", (8, 8, 1), 10)
    images, labels = np.ones((3, 8, 8, 1), np.float32), np.arange(3)
    cases.write_problem(tmp_path / "problem.npz", network, images, labels, 0.1)
    with np.load(tmp_path / "problem.npz") as file:
        operations = json.loads(str(file["operations"]))
        np.testing.assert_array_equal(file["layer_0_weight_0"], network.get_weights()[0])
        np.testing.assert_allclose(file["logits"], network(images), atol=1e-5)
    assert not any(name.startswith("weight_") for one in operations for name in one)


def test_stages_are_counted_and_compared() -> None:
    broken_by = ["clean", "apgd-ce", "apgd-ce", "square", None]
    after = {"clean": 80.0, "apgd-ce": 40.0, "apgd-t": 40.0, "fab-t": 40.0, "square": 20.0}
    assert cases.accuracies(broken_by) == after
    found = {
        "weights": "of the network",
        "measured": {"utc": "2026-11-30T12:00", "git_commit": "a1", "cpu": "X", "cpu_cores": 1},
        cases.OURS: {
            "broken_by": broken_by,
            "times": {"whole": _times(2.0)},
            "held_by_seed": [2, 3, 2],
        },
        cases.ORIGINAL: {
            "broken_by": ["clean", "apgd-ce", "fab-t", None, None],
            "times": {"apgd-ce": _times(5.0), "fab-t": _times(3.0)},
            "held_by_seed": [3, 3, 3],
            "versions": {"torch": "2"},
        },
        cases.ADV_LIB: {
            "broken_by": ["clean", "apgd-ce", "apgd-ce", None, None],
            "times": {"apgd-ce": _times(1.0), "apgd-t": _times(1.0)},
            "held_by_seed": [2, 0, 2],
        },
    }
    section = cases.section(cases.Case("mnist_clean", 0.1, 3.0), found)
    assert section.settings["measured"] == "2026-11-30 at commit a1 on 1 cores of X, torch 2"
    points, second, *seeds, faster = (finding.as_dict() for finding in section.findings)
    # After all stages 20 % hold here and 40 % there.
    assert (points["value"], points["met"]) == (20.0, False)
    assert (second["value"], second["met"]) == (0.0, True)
    assert [found["value"] for found in seeds] == [20.0, 0.0, 40.0]
    assert (faster["value"], faster["cpu_value"], faster["met"]) == (4.0, 4.0, True)


def _times(seconds: float) -> dict[str, float]:
    return {"seconds": seconds, "cpu_seconds": seconds}


def test_a_missing_interpreter_is_said(tmp_path: Path) -> None:
    with pytest.raises(cases.OriginalFailedError, match="--python must name"):
        cases.run_original(sys.executable, tmp_path / "none.npz", "adv-lib")
