"""The committed results of a run: how it was trained, and how it fared under attack.

The training is copied from its model directory to `results/runs/<dataset>_<preset>/` (config.json,
run.json, history.csv); the evaluation writes `results/robustness/<dataset>_<preset>.jsonl.gz` and,
beside it, `.summary.json`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aad_tf import configs
from aad_tf.results import PathLike, read_records, read_summary

# What must agree for a recorded attack to be the attack of a column.
_SAME_ATTACK = (
    "norm",
    "epsilon",
    "projected",
    "steps",
    "step_size",
    "random_start",
    "restarts",
    "objective",
)
# What must agree between the committed config and that of the network that was evaluated.
_SAME_TRAINING = ("dataset", "model", "defense", "learning_rate", "batch_size", "epochs", "seed")


@dataclass(frozen=True)
class Run:
    """One trained network and its evaluation; parts that were not recorded are empty.

    Attributes:
        dataset: e.g. `mnist`.
        preset: e.g. `aad_step_ll`.
        summary: the evaluation's summary.
        config: the training's config.
        training: the training's run.json.
        records: file of the evaluation's records, or None.
    """

    dataset: str
    preset: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    records: Path | None = None

    @property
    def attacks(self) -> list[dict[str, Any]]:
        """Entries of the summary, one an attack."""
        return list(self.summary.get("attacks", []))

    @property
    def warnings(self) -> list[str]:
        """Signs of gradient masking that the evaluation found."""
        return list(self.summary.get("warnings", []))

    @property
    def part(self) -> str:
        """What was evaluated if not the whole test set, e.g. `first 500 of test`; else empty."""
        data = _evaluated_data(self.summary)
        split, limit = data.get("split", "test"), data.get("limit")
        if limit:
            return f"first {limit:,} of {split}"
        return "" if split == "test" else split

    def entry(self, threat_model: Mapping[str, Any]) -> dict[str, Any] | None:
        """The summary's entry of an attack, or None if it was not run.

        Args:
            threat_model: as `GradientSignAttack.threat_model` returns; its name does not matter.
        """
        for entry in self.attacks:
            if same_attack(entry["threat_model"], threat_model):
                return entry
        return None

    @functools.cached_property
    def robust(self) -> dict[str, dict[int, bool]]:
        """Whether each example withstood each attack, by the attack's name and its place.

        Raises:
            FileNotFoundError: the records were not kept.
        """
        if self.records is None:
            raise FileNotFoundError(f"No records of {self.dataset}_{self.preset}.")
        outcomes: dict[str, dict[int, bool]] = {}
        for record in read_records(self.records):
            outcomes.setdefault(record["attack"], {})[record["index"]] = not record["success"]
        return outcomes


def same_attack(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """True if two threat models are of one attack, whatever its name and rule of success."""
    return all(_equal(first.get(key), second.get(key)) for key in _SAME_ATTACK)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= 1e-9
    return first == second


def read_run(results_dir: PathLike, dataset: str, preset: str) -> Run | None:
    """Reads what is recorded of one preset.

    Args:
        results_dir: the directory that holds `runs` and `robustness`.
        dataset: e.g. `mnist`.
        preset: e.g. `aad_step_ll`.

    Returns:
        The run, or None if its network was not evaluated.

    Raises:
        ValueError: a file that is no record of this project, or a shard; the message names it.
    """
    name = f"{dataset}_{preset}"
    summary = Path(results_dir) / "robustness" / f"{name}.summary.json"
    if not summary.is_file():
        return None
    contents = read_whole(summary)
    evaluated_on = _evaluated_data(contents).get("name", dataset)
    if evaluated_on != dataset:
        raise ValueError(f"{summary} was evaluated on {evaluated_on}, its name says {dataset}.")
    records = summary.with_name(f"{name}.jsonl.gz")
    training = Path(results_dir) / "runs" / name
    return Run(
        dataset=dataset,
        preset=preset,
        summary=contents,
        config=_config(training / "config.json", contents),
        training=_read_object(training / "run.json"),
        records=records if records.is_file() else None,
    )


def read_whole(path: PathLike) -> dict[str, Any]:
    """Reads the summary of an evaluation under attack.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such summary, or that of a shard, whose numbers speak of a part only.
    """
    summary = read_summary(path)
    if summary.get("evaluated", {}).get("shard") is not None:
        raise ValueError(f"{path} is a shard of an evaluation; merge its shards first.")
    return summary


def read_runs(results_dir: PathLike, dataset: str, presets: Iterable[str]) -> dict[str, Run]:
    """The runs of a data set that were evaluated, by preset, in the order given."""
    runs = {preset: read_run(results_dir, dataset, preset) for preset in presets}
    return {preset: run for preset, run in runs.items() if run is not None}


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the settings that came after it was written; empty stays empty."""
    if not config:
        return {}
    # By way of JSON, so that tuples and lists compare alike.
    return json.loads(json.dumps(configs.to_dict(configs.from_dict(config))))


def _config(path: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """The training's config: what the evaluation saw, if it saw one, and its committed copy."""
    copy = _read_object(path)
    model = summary.get("evaluated", {}).get("description", {}).get("model", {})
    evaluated = model.get("config", {})
    there, seen = _with_defaults(copy), _with_defaults(evaluated)
    keys = [key for key in _SAME_TRAINING if there and seen and there[key] != seen[key]]
    if keys:
        raise ValueError(
            f"{path} is of another training than the one evaluated; it differs in: "
            f"{', '.join(keys)}. Copy it from the model directory that was evaluated."
        )
    return copy or dict(evaluated)


def _evaluated_data(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    return summary.get("evaluated", {}).get("description", {}).get("dataset", {})


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value
