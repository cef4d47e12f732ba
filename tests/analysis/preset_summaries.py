"""Hand-written summaries of evaluated presets, as `analysis/trained_presets.py` reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from aad_tf.attacks import parse_attack


def write(
    directory: Path, preset: str, seed: int, accuracies: Mapping[str, float], count: int = 2000
) -> Path:
    """Writes a summary; accuracies in percent by attack as text, clean accuracy being 99 %."""
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
    evaluated = {"description": {"model": {"config": {"name": preset, "seed": seed}}}}
    path = directory / f"{preset}_seed_{seed}.summary.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"attacks": entries, "evaluated": evaluated, "warnings": []}))
    return path
