"""The networks whose attention was studied: how they were trained, and how accurate they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aad_tf.metrics import wilson_interval
from aad_tf.results import PathLike
from analysis.attention.files import find_networks
from analysis.attention.intervals import DASH
from analysis.runs import read_whole
from analysis.tables import TextTable

STEM = "attention_networks"


@dataclass(frozen=True)
class StudiedNetwork:
    """A network of the study with its robustness evaluation.

    Attributes:
        name: `<data set>_<network>`.
        summary: of `eval.robustness`.
        config: of its training.
        run: record of its training.
    """

    name: str
    summary: dict[str, Any]
    config: dict[str, Any]
    run: dict[str, Any]


def read(results_dir: PathLike) -> list[StudiedNetwork]:
    """The studied networks whose training and robustness are on record too.

    Args:
        results_dir: the directory that holds `attention`, `robustness` and `runs`.

    Raises:
        ValueError: a file that is no record, or that of a shard.
    """
    results, found = Path(results_dir), []
    for network in find_networks(results):
        records = results / "robustness" / f"{network.name}.summary.json"
        training = results / "runs" / network.name
        if records.is_file() and (training / "run.json").is_file():
            config, run = (
                json.loads((training / f"{part}.json").read_text(encoding="utf-8"))
                for part in ("config", "run")
            )
            found.append(StudiedNetwork(network.name, read_whole(records), config, run))
    return found


def accuracies(networks: Sequence[StudiedNetwork]) -> TextTable:
    """Accuracy as they are and under each attack, in percent with Wilson's 95 % interval."""
    attacks = _attack_names(networks)
    rows = []
    for network in networks:
        entries = {entry["attack"]: entry for entry in network.summary["attacks"]}
        first = next(iter(entries.values()))
        clean = round(first["clean_accuracy"] * first["count"])
        cells = [_percent(clean, first["count"])]
        for attack in attacks:
            entry = entries.get(attack)
            cells.append(DASH if entry is None else _percent(entry["robust"], entry["count"]))
        rows.append((network.name, f"{first['count']:,}", *cells))
    return TextTable(("network", "n", "clean", *attacks), tuple(rows))


def threat_models(networks: Sequence[StudiedNetwork]) -> TextTable:
    """What each column speaks of."""
    models = {
        entry["attack"]: entry["threat_model"]
        for network in networks
        for entry in network.summary["attacks"]
    }
    rows = tuple(
        (
            name,
            "l∞",
            f"{model['epsilon']:.4g}",
            f"{model['epsilon_255']:.4g}/255",
            f"{model['steps']} × {255 * model['step_size']:.4g}/255",
            str(model["restarts"]) if model["random_start"] else "no random start",
            model["objective"].replace("_", " "),
            model["success"].replace("_", " "),
        )
        for name, model in models.items()
    )
    heads = ("attack", "norm", "ε in [0, 1]", "ε", "steps", "restarts", "loss", "fooled at")
    return TextTable(heads, rows, left=2)


def training(networks: Sequence[StudiedNetwork]) -> TextTable:
    """How the networks were trained."""
    rows = tuple(
        (
            network.name,
            network.config["model"],
            network.config["defense"]["attack"] or "none",
            network.config["defense"]["kind"],
            network.config["initial_weights"] or DASH,
            str(network.config["epochs"]),
            str(network.config["seed"]),
            f"{network.run['seconds'] / 60:.0f}",
        )
        for network in networks
    )
    heads = ("network", "model", "attack in training", "defence", "started from", "epochs", "seed")
    return TextTable((*heads, "minutes"), rows, left=5)


def page(networks: Sequence[StudiedNetwork]) -> str:
    """All of it as Markdown."""
    sources = sorted({network.run["dataset"]["source"] for network in networks})
    parts = [
        "# Networks of the attention study",
        "Made by `python -m analysis.report` from `results/robustness` and `results/runs`.",
        f"Accuracy in percent on the test split of {', '.join(sources)}, white box, with Wilson's "
        "95 % interval over images. One training run each; minutes are those of a machine that did "
        "other work too.",
        accuracies(networks).markdown(),
        "## Threat models",
        threat_models(networks).markdown(),
        "## Training",
        training(networks).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def _attack_names(networks: Sequence[StudiedNetwork]) -> list[str]:
    names = [entry["attack"] for network in networks for entry in network.summary["attacks"]]
    return list(dict.fromkeys(names))


def _percent(hits: int, count: int) -> str:
    low, high = wilson_interval(hits, count)
    return f"{100 * hits / count:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
