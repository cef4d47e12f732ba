"""The ablation page, on hand-written summaries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import ablations


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a summary of a run with some weights into `ablations`."""
    directory = tmp_path / "ablations"
    directory.mkdir()

    def write_summary(
        name: str, weights: list[float], robust: float, attack: str = "fgsm(epsilon=0.15)"
    ) -> Path:
        entry = {
            "attack": attack,
            "robust_accuracy": robust,
            "clean_accuracy": 0.9,
            "count": 2000,
            "interval": {"low": robust - 0.01, "high": robust + 0.01},
        }
        config = {"defense": {"weights": weights, "losses": "balanced"}, "epochs": 2}
        evaluated = {"description": {"model": {"config": config}}}
        path = directory / f"{name}.summary.json"
        summary = {"attacks": [entry], "evaluated": evaluated, "warnings": []}
        path.write_text(json.dumps(summary))
        return path

    return write_summary


def test_a_row_per_run_with_its_weights_and_interval(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    assert ablations.build(tmp_path) is None
    write("a", [8.0, 0.0, 0.0], 0.5)
    write("b", [8.0, 4.0, 1.0], 0.625)
    table = ablations.build(tmp_path)
    assert table is not None
    assert table.rows == (
        ("8 : 0 : 0", "balanced", "2", "2,000", "90.0", "50.0 [49.0, 51.0]"),
        ("8 : 4 : 1", "balanced", "2", "2,000", "90.0", "62.5 [61.5, 63.5]"),
    )
    assert "| 8 : 4 : 1 |" in ablations.page(table)


def test_different_attacks_and_shards_are_refused(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    path = write("a", [8.0, 0.0, 0.0], 0.5)
    write("b", [8.0, 4.0, 1.0], 0.6, "fgsm(epsilon=0.1)")
    with pytest.raises(ValueError, match="must share their attacks"):
        ablations.build(tmp_path)
    summary = json.loads(path.read_text())
    summary["evaluated"]["shard"] = [1, 2]
    path.write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=r"a\.summary\.json is a shard of an evaluation; merge"):
        ablations.build(tmp_path)
