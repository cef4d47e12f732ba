"""Hand-written summaries of evaluated presets, as `analysis/trained_presets.py` reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aad_tf import configs
from aad_tf.attacks import parse_attack
from train.configs import cifar10_rounds, cifar10_weights, mnist_controls

PRESETS = {**mnist_controls.PRESETS, **cifar10_rounds.PRESETS, **cifar10_weights.PRESETS}


def write(
    directory: Path,
    preset: str,
    seed: int,
    accuracies: Mapping[str, float],
    count: int = 2000,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a summary; accuracies in percent by attack as text, clean accuracy being 99 %.

    The network was trained as its preset says, but for `changes`.
    """
    entries = [
        {
            "attack": text,
            "threat_model": parse_attack(text).threat_model(),
            "robust_accuracy": accuracy / 100,
            "clean_accuracy": 0.99,
            "count": count,
        }
        for text, accuracy in accuracies.items()
    ]
    config = {**configs.to_dict(PRESETS[preset]), "name": preset} if preset in PRESETS else {}
    config = {"name": preset, **config, "seed": seed, **(changes or {})}
    evaluated = {"description": {"model": {"config": config}}}
    path = directory / f"{preset}_seed_{seed}.summary.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"attacks": entries, "evaluated": evaluated, "warnings": []}))
    return path


def write_strict(directory: Path, preset: str, seed: int, cascade: str) -> None:
    """Writes a summary under the strongest attacks: 80 % under the cascade, 78.5 % under all."""
    path = write(directory, preset, seed, {cascade: 80.0}, 1000)
    summary = json.loads(path.read_text())
    pairs = [{"attack": "a", "broken_by_it_alone": 3}, {"attack": "b", "broken_by_it_alone": 7}]
    summary["adaptive"] = {"attacks": pairs, "worst": [{"robust_accuracy": 0.785}]}
    path.write_text(json.dumps(summary))


def write_history(results: Path, name: str, *lines: str) -> Path:
    """Writes the history of a training, heading first; returns the directory of its records."""
    run = results / "runs" / name
    run.mkdir(parents=True, exist_ok=True)
    (run / "history.csv").write_text("\n".join(lines) + "\n")
    return run
