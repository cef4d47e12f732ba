"""Reads the evaluations that a study writes of its presets, each trained with one or more seeds."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aad_tf import configs
from aad_tf.attacks import parse_attack
from aad_tf.configs import ExperimentConfig
from aad_tf.utils.files import PathLike
from analysis import trust
from analysis.records import Results, read_object, read_whole, same_attack
from analysis.seeds import SeedDifference
from analysis.statistics import DASH, mean_over_seeds
from analysis.training_configs import differing, reduced

CLEAN = "clean"
_SMALL = "small_"
_RULE = "any_iterate"


@dataclass(frozen=True)
class TrainedPreset:
    """The accuracies of the networks that were trained by one preset.

    Attributes:
        preset: name of the preset.
        accuracies: accuracies in [0, 1], first by the attack as text (or `CLEAN` for clean
            images), then by the seed of the training.
        count: number of test images in each evaluation.
        history: what was measured after each epoch of training, first by the column of the
            training's `history.csv`, then by seed, then epoch by epoch. Columns that no training of
            the preset has are left out.
        summaries: the summaries of the evaluations, by seed.
        trainings: the records of the trainings, `run.json`, by seed, as far as there are any.
        sketch: such as `4 of 200 epochs` for a preset that begins with `small_`, in comparison with
            the one without; empty for a training that stands for no longer one.
    """

    preset: str
    accuracies: Mapping[str, Mapping[int, float]]
    count: int
    history: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)
    summaries: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    trainings: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    sketch: str = ""

    @property
    def seeds(self) -> int:
        """Number of networks that were trained, each with a seed of its own."""
        return len(self.accuracies[CLEAN])

    def cell(self, column: str) -> str:
        """The text of a table cell: the accuracy in percent, as the mean over seeds.

        Args:
            column: an attack as text, or `CLEAN`.

        Returns:
            Such as "71.2" for one seed or "71.2 (70.8 to 71.9)" for several, where the lowest
            and highest accuracy follow the mean; a dash if the attack was not run.
        """
        return _over_seeds(self.accuracies.get(column, {}))

    def last_epoch(self, column: str) -> dict[int, float]:
        """Looks up what was measured after the last epoch of training.

        Args:
            column: a column of the training's `history.csv`.

        Returns:
            The number by seed; empty if the column was not measured.
        """
        return {seed: values[-1] for seed, values in self.history.get(column, {}).items()}

    def last_epoch_cell(self, column: str) -> str:
        """The text of a table cell: a measure of the last epoch of training, as a percentage.

        Args:
            column: a column of the training's `history.csv` that holds fractions in [0, 1].

        Returns:
            A text like that of the method `cell`, of 100 times the fraction.
        """
        return _over_seeds(self.last_epoch(column))

    def mean_of_epochs_cell(self, column: str) -> str:
        """The text of a table cell: the mean of a measure over all epochs, as a percentage.

        Args:
            column: a column of the training's `history.csv` that holds fractions in [0, 1].

        Returns:
            A text like that of the method `cell`, of 100 times the mean.
        """
        by_seed = self.history.get(column, {})
        return _over_seeds({seed: sum(each) / len(each) for seed, each in by_seed.items()})

    def less(
        self, other: TrainedPreset, attack: str, statement: str, paper: float | None = None
    ) -> SeedDifference:
        """Subtracts another preset's accuracy under an attack from that of this one.

        If one of the two was trained with a single seed, the other is reduced to that seed as
        well, provided that it has it, and the statement says so.

        Args:
            other: the preset whose accuracy is subtracted.
            attack: an attack as text, or `CLEAN`.
            statement: a name for the difference, which pages print.
            paper: the same difference by the paper's numbers, in [-1, 1]; None if the paper does
                not print them.

        Returns:
            The difference, with the accuracies of both by seed.
        """
        one, two = (each.accuracies.get(attack, {}) for each in (self, other))
        if len(one) != len(two) and 1 in (len(one), len(two)) and (shared := one.keys() & two):
            one, two = ({seed: each[seed] for seed in shared} for each in (one, two))
            statement += f", seed {next(iter(shared))} alone"
        return SeedDifference(statement, one, two, paper, self.sketch, other.sketch)


def read(
    results_dir: PathLike,
    directory: str,
    presets: Mapping[str, ExperimentConfig],
    attacks: Sequence[str],
) -> dict[str, TrainedPreset]:
    """Reads the evaluations of presets from summaries in a directory.

    Args:
        results_dir: directory of results.
        directory: name of the directory within it that holds the summaries of these presets
            (`*.summary.json`) and no other summaries. The history of the training behind
            `x.summary.json` is `runs/x/history.csv` in the directory of results, if recorded.
        presets: the presets that may occur, by name.
        attacks: the attacks to read, as text. Attacks that were not run are left out.

    Returns:
        The presets that were evaluated, by name, in the order of `presets`.

    Raises:
        ValueError: a file is not a summary, or covers one shard only; its preset is not in
            `presets`, or the network was trained with other settings than the preset has, and not
            with those of exactly one other; the
            evaluation did not count an image as misclassified at any iterate; a preset was
            evaluated twice with one seed; or evaluations differ in their number of images.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    measured: dict[str, dict[str, dict[int, list[float]]]] = {}
    summaries: dict[str, dict[int, Mapping[str, Any]]] = {}
    trainings: dict[str, dict[int, Mapping[str, Any]]] = {}
    counts: dict[int, str] = {}
    root = Results(results_dir).root
    for path in sorted(root.glob(f"{directory}/*.summary.json")):
        summary = read_whole(path)
        description = summary.get("evaluated", {}).get("description", {})
        config = description.get("model", {}).get("config", {})
        name, seed = _preset_of(config, presets), int(config.get("seed", 0))
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
        summaries.setdefault(name, {})[seed] = summary
        run = root / "runs" / path.name.removesuffix(".summary.json")
        if training := read_object(run / "run.json"):
            trainings.setdefault(name, {})[seed] = training
        for column, values in _columns(run / "history.csv").items():
            measured.setdefault(name, {}).setdefault(column, {})[seed] = values
        counts.setdefault(summary["attacks"][0]["count"], path.name)
    if len(counts) > 1:
        raise ValueError(
            f"Evaluations in {directory} must be of the same images, but "
            f"{', '.join(counts.values())} have {', '.join(map(str, counts))} of them."
        )
    return {
        name: TrainedPreset(
            name,
            found[name],
            next(iter(counts)),
            measured.get(name, {}),
            summaries[name],
            trainings.get(name, {}),
            _sketch(presets, name),
        )
        for name in presets
        if name in found
    }


def _sketch(presets: Mapping[str, ExperimentConfig], name: str) -> str:
    """What a preset that begins with `small_` leaves out of the one that it stands for."""
    full = presets.get(name.removeprefix(_SMALL), presets[name])
    return reduced(configs.to_dict(presets[name]), configs.to_dict(full))


def without_small(found: Mapping[str, TrainedPreset]) -> dict[str, TrainedPreset]:
    """Leaves out presets that begin with `small_`, unless no other was evaluated.

    Args:
        found: what `read` returned.

    Returns:
        The presets that stay, by name.
    """
    return {name: one for name, one in found.items() if not name.startswith(_SMALL)} or dict(found)


def preset_or_small(found: Mapping[str, TrainedPreset], name: str) -> TrainedPreset | None:
    """Looks up a preset, or the one of that name that begins with `small_`.

    Args:
        found: what `without_small` returned.
        name: name of the preset, without `small_`.

    Returns:
        Its evaluations, or None if there are none.
    """
    return found.get(name) or found.get(f"{_SMALL}{name}")


def reading(found: Mapping[str, TrainedPreset], presets: Mapping[str, ExperimentConfig]) -> str:
    """Says what the accuracies of CIFAR-10 are of: images, threat model, seeds and training.

    Args:
        found: what `without_small` returned, with at least one preset.
        presets: the presets by name, all of which are trained on as many images and epochs.

    Returns:
        Sentences for a page.
    """
    name, one = next(iter(found.items()))
    preset = presets[name]
    images = f"{preset.train_examples:,} images" if preset.train_examples else "all images"
    return (
        f"Accuracy in percent on the first {one.count:,} test images, white box, l∞, misclassified "
        f"at any iterate, one restart unless the attack says otherwise; sizes are in [0, 1]. Means "
        f"over seeds, and from the lowest to the highest in parentheses. Trained on {images} for "
        f"{preset.epochs} epochs; the paper has 200 of all images."
    )


def evaluations(found: Mapping[str, TrainedPreset]) -> list[trust.Evaluation]:
    """The evaluations of presets, by which `trust.lines` judges their accuracies.

    Args:
        found: what `read` returned.

    Returns:
        An entry for each preset and seed.
    """
    return [
        trust.Evaluation(f"`{name}`", summary, seed)
        for name, one in found.items()
        for seed, summary in one.summaries.items()
    ]


def provenance(found: Mapping[str, TrainedPreset]) -> str:
    """Says how the networks of a page were trained: how long, how precisely, from which code.

    Args:
        found: what `read` returned.

    Returns:
        Sentences for a page; that nothing is recorded, if there is no `run.json`.
    """
    trained = [(name, run) for name, one in found.items() for run in one.trainings.values()]
    runs = [run for _, run in trained]
    begun = [(name, run["starts"][-1]) for name, run in trained if run.get("starts")]
    begun.sort(key=lambda pair: str(pair[1].get("utc", "")))
    starts = [start for _, start in begun]
    total = sum(len(one.summaries) for one in found.values())
    if not starts:
        return "How long training took is not recorded."
    hours = sum(run.get("seconds", 0.0) for run in runs) / 3600
    configs_of = (
        summary["evaluated"]["description"]["model"]["config"]
        for one in found.values()
        for summary in one.summaries.values()
    )
    precisions = sorted({config.get("precision", "float32") for config in configs_of})
    commits = list(dict.fromkeys(str(start.get("git_commit"))[:7] for start in starts))
    changed = sum(bool(start.get("git_dirty")) for start in starts)
    uncommitted = f" ({changed} of them with uncommitted changes)" if changed else ""
    return (
        f"{len(runs)} of {total} trainings are recorded in `results/runs`: {hours:.1f} hours in "
        f"all, in {' and '.join(precisions)}, at {_from_to(commits)}{uncommitted}, each by a "
        f"command such as `{starts[0]['command']}`{_renamed(*begun[0])}."
    )


def _renamed(name: str, start: Mapping[str, Any]) -> str:
    """Says what the preset in a recorded command is called now, if its name was changed since."""
    recorded = re.search(r"--config[= ]\S+\.py:(\S+)", str(start["command"]))
    unchanged = recorded is None or recorded.group(1) == name
    return "" if unchanged else f", whose preset is now called `{name}`"


def _from_to(commits: Sequence[str]) -> str:
    """Commits in the order of the trainings."""
    if len(commits) == 1:
        return f"commit {commits[0]}"
    return f"commits from {commits[0]} to {commits[-1]}"


def _over_seeds(by_seed: Mapping[int, float]) -> str:
    """Percent of a fraction: of one seed, or the mean of several with the lowest and highest."""
    found = mean_over_seeds(list(by_seed.values()))
    if found.value is None or found.interval is None:
        return DASH
    low, high = (f"{100 * bound:.1f}" for bound in found.interval)
    value = f"{100 * found.value:.1f}"
    return value if len(by_seed) == 1 else f"{value} ({low} to {high})"


def _columns(history: Path) -> dict[str, list[float]]:
    """Columns of a training's history that have a number in each row; none if there is no file."""
    if not history.is_file():
        return {}
    with history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    whole = [key for key in (rows[0] if rows else ()) if all(row[key] for row in rows)]
    return {key: [float(row[key]) for row in rows] for key in whole}


def _preset_of(config: Mapping[str, Any], presets: Mapping[str, ExperimentConfig]) -> str:
    """The preset that a network is named after, or the only one that says how it was trained."""
    name = str(config.get("name", ""))
    alike = [
        preset
        for preset, stated in presets.items()
        if config and not differing(configs.to_dict(stated), config, but=("seed",))
    ]
    # A preset may have been renamed since, and its name given to another one.
    return alike[0] if len(alike) == 1 and name not in alike else name


def _check_as_preset(
    path: Path,
    config: Mapping[str, Any],
    preset: ExperimentConfig,
    entries: Sequence[Mapping[str, Any]],
) -> None:
    """Refuses what was trained otherwise than its preset says, or judged by another rule."""
    stated = configs.to_dict(preset)
    if different := differing(stated, config, but=("seed",)):
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
