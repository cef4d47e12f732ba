"""Evaluations of presets that were trained with one or several seeds, as studies write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aad_tf import configs
from aad_tf.attacks import parse_attack
from aad_tf.configs import ExperimentConfig
from aad_tf.utils.files import PathLike
from analysis.records import Results, read_whole, same_attack
from analysis.seeds import SeedDifference
from analysis.statistics import DASH, mean_over_seeds

CLEAN = "clean"
_RULE = "any_iterate"
_AS_PRESET = ("defense", "epochs", "train_examples", "batch_size", "learning_rate", "precision")


@dataclass(frozen=True)
class TrainedPreset:
    """The evaluations of one preset.

    Attributes:
        preset: its name.
        accuracies: in [0, 1], by attack as text, or `CLEAN`, and then by seed.
        count: test images of each.
    """

    preset: str
    accuracies: Mapping[str, Mapping[int, float]]
    count: int

    @property
    def seeds(self) -> int:
        """How many trainings there are."""
        return len(self.accuracies[CLEAN])

    def cell(self, column: str) -> str:
        """Accuracy in percent: its mean over seeds, and the lowest and highest where several.

        Args:
            column: an attack as text, or `CLEAN`.
        """
        by_seed = self.accuracies.get(column, {})
        found = mean_over_seeds(list(by_seed.values()))
        if found.value is None or found.interval is None:
            return DASH
        low, high = (f"{100 * bound:.1f}" for bound in found.interval)
        value = f"{100 * found.value:.1f}"
        return value if len(by_seed) == 1 else f"{value} ({low} to {high})"

    def less(
        self, other: TrainedPreset, attack: str, statement: str, paper: float | None = None
    ) -> SeedDifference:
        """Its accuracy under an attack less that of another preset.

        A single training is held against that of its own seed.

        Args:
            other: the preset that is taken away.
            attack: as text, or `CLEAN`.
            statement: what the difference is called.
            paper: the paper's difference, in [-1, 1], or None if it prints none.
        """
        one, two = (each.accuracies.get(attack, {}) for each in (self, other))
        if 1 in (len(one), len(two)) and (shared := one.keys() & two.keys()):
            one, two = ({seed: each[seed] for seed in shared} for each in (one, two))
        return SeedDifference(statement, one, two, paper)


def read(
    results_dir: PathLike,
    directory: str,
    presets: Mapping[str, ExperimentConfig],
    attacks: Sequence[str],
) -> dict[str, TrainedPreset]:
    """The presets that were evaluated, by name, in their order in `presets`.

    Args:
        results_dir: the directory of results.
        directory: the one in it that holds the summaries, and no others.
        presets: what may have been trained, by name.
        attacks: as text; those that were not run are left out.

    Raises:
        ValueError: a file that is no summary, a shard's, of another preset, trained otherwise than
            its preset says, judged by another rule, seeds that come twice, or evaluations of
            different images.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    counts: dict[int, str] = {}
    for path in sorted(Results(results_dir).root.glob(f"{directory}/*.summary.json")):
        summary = read_whole(path)
        description = summary.get("evaluated", {}).get("description", {})
        config = description.get("model", {}).get("config", {})
        name, seed = config.get("name", ""), int(config.get("seed", 0))
        if name not in presets:
            raise ValueError(
                f"{path} is of the preset {name!r}, which is none of those that belong in "
                f"{directory}: {', '.join(presets)}."
            )
        _check_as_preset(path, config, presets[name], summary["attacks"])
        one = found.setdefault(name, {})
        if seed in one.get(CLEAN, {}):
            raise ValueError(f"There are two evaluations of {name} with seed {seed}.")
        for text, accuracy in _accuracies(summary["attacks"], attacks).items():
            one.setdefault(text, {})[seed] = accuracy
        counts.setdefault(summary["attacks"][0]["count"], path.name)
    if len(counts) > 1:
        raise ValueError(
            f"Evaluations in {directory} must be of the same images, but "
            f"{', '.join(counts.values())} have {', '.join(map(str, counts))} of them."
        )
    return {
        name: TrainedPreset(name, found[name], next(iter(counts)))
        for name in presets
        if name in found
    }


def _check_as_preset(
    path: Path,
    config: Mapping[str, Any],
    preset: ExperimentConfig,
    entries: Sequence[Mapping[str, Any]],
) -> None:
    """Refuses what was trained otherwise than its preset says, or judged by another rule."""
    stated = json.loads(json.dumps(configs.to_dict(preset)))
    different = [key for key in _AS_PRESET if key in config and config[key] != stated[key]]
    if different:
        raise ValueError(
            f"{path} was trained otherwise than the preset {config['name']} says: it differs in "
            f"{', '.join(different)}."
        )
    if {entry["threat_model"].get("success", _RULE) for entry in entries} != {_RULE}:
        raise ValueError(f"{path} must be evaluated with --success={_RULE}, as the others.")


def _accuracies(entries: Sequence[Mapping[str, Any]], attacks: Sequence[str]) -> dict[str, float]:
    """Accuracy on clean images and under each of the attacks that was run."""
    found = {CLEAN: entries[0]["clean_accuracy"]}
    for text in attacks:
        model = parse_attack(text).threat_model()
        for entry in entries:
            if same_attack(entry["threat_model"], model):
                found[text] = entry["robust_accuracy"]
    return found
