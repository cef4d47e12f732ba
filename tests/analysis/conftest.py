"""Records and summaries of evaluations written by hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aad_tf.attacks import parse_attack


def write_run(
    results: Path,
    name: str,
    outcomes: Mapping[str, str],
    *,
    success: str = "last_iterate",
    warnings: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    weights: str = "0",
) -> None:
    """Writes a run; a letter per example: + correct, x misclassified under attack, ! when clean."""
    robustness = results / "robustness"
    robustness.mkdir(parents=True, exist_ok=True)
    entries, lines = [], []
    for text, spelled in outcomes.items():
        attack = parse_attack(text)
        entries.append(
            {
                "attack": attack.name,
                "count": len(spelled),
                "robust": spelled.count("+"),
                "fooled": spelled.count("x"),
                "clean_mistakes": spelled.count("!"),
                "threat_model": {**attack.threat_model(), "success": success},
            }
        )
        for index, outcome in enumerate(spelled):
            record = {
                "index": index,
                "label": 0,
                "attack": attack.name,
                "clean_prediction": int(outcome == "!"),
                "adversarial_prediction": int(outcome != "+"),
                "success": outcome != "+",
                "clean_mistake": outcome == "!",
                "steps": attack.threat_model()["steps"],
                "restart": 0,
                "linf": attack.total_epsilon,
            }
            lines.append(json.dumps(record))
    summary = {
        "attacks": entries,
        "warnings": list(warnings),
        "evaluated": {
            "weights": weights,
            "description": {"dataset": data or {}, "model": {"config": config} if config else {}},
        },
    }
    (robustness / f"{name}.summary.json").write_text(json.dumps(summary))
    with gzip.open(robustness / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    if training:
        directory = results / "runs" / name
        directory.mkdir(parents=True)
        for file, contents in training.items():
            (directory / file).write_text(json.dumps(contents))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty directory of results."""
    return tmp_path / "results"


@pytest.fixture
def change(results: Path) -> Callable[[str], AbstractContextManager[dict[str, Any]]]:
    """Opens the summary of a written run, to change it."""

    @contextmanager
    def opened(name: str) -> Iterator[dict[str, Any]]:
        path = results / "robustness" / f"{name}.summary.json"
        contents = json.loads(path.read_text(encoding="utf-8"))
        yield contents
        path.write_text(json.dumps(contents))

    return opened


@pytest.fixture
def record(results: Path) -> Callable[..., None]:
    """`write_run` into the directory of results."""

    def write(name: str, outcomes: Mapping[str, str], **options: Any) -> None:
        write_run(results, name, outcomes, **options)

    return write
