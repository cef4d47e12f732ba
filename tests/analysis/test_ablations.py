"""The ablation page, on hand-written summaries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis import ablations


def write(directory: Path, name: str, weights: list[float], robust: float, attack: str) -> None:
    entry = {
        "attack": attack,
        "robust_accuracy": robust,
        "clean_accuracy": 0.9,
        "count": 2000,
        "interval": {"low": robust - 0.01, "high": robust + 0.01},
    }
    config = {"defense": {"weights": weights, "losses": "balanced"}, "epochs": 2}
    summary: dict[str, Any] = {
        "attacks": [entry],
        "evaluated": {"description": {"model": {"config": config}}},
        "warnings": [],
    }
    (directory / f"{name}.summary.json").write_text(json.dumps(summary))


def test_a_row_a_run_with_its_weights_and_interval(tmp_path: Path) -> None:
    directory = tmp_path / "ablations"
    directory.mkdir()
    write(directory, "a", [8.0, 0.0, 0.0], 0.5, "fgsm(epsilon=0.15)")
    write(directory, "b", [8.0, 4.0, 1.0], 0.625, "fgsm(epsilon=0.15)")
    table = ablations.build(tmp_path)
    assert table is not None
    assert table.rows == (
        ("8 : 0 : 0", "balanced", "2", "2,000", "90.0", "50.0 [49.0, 51.0]"),
        ("8 : 4 : 1", "balanced", "2", "2,000", "90.0", "62.5 [61.5, 63.5]"),
    )
    assert "| 8 : 4 : 1 |" in ablations.page(table)


def test_different_attacks_do_not_share_a_table(tmp_path: Path) -> None:
    directory = tmp_path / "ablations"
    directory.mkdir()
    write(directory, "a", [8.0, 0.0, 0.0], 0.5, "fgsm(epsilon=0.15)")
    write(directory, "b", [8.0, 4.0, 1.0], 0.6, "fgsm(epsilon=0.1)")
    with pytest.raises(ValueError, match="must share their attacks"):
        ablations.build(tmp_path)


def test_a_shard_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "ablations"
    directory.mkdir()
    write(directory, "a", [8.0, 0.0, 0.0], 0.5, "fgsm(epsilon=0.15)")
    path = directory / "a.summary.json"
    summary = json.loads(path.read_text())
    summary["evaluated"]["shard"] = [1, 2]
    path.write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=r"a\.summary\.json is a shard of an evaluation; merge"):
        ablations.build(tmp_path)


def test_nothing_run_is_no_table(tmp_path: Path) -> None:
    assert ablations.build(tmp_path) is None
