"""Do the attention losses of AAD add robustness? Controls on MNIST, compared over seeds.

Read from results/controls/<network>.summary.json, evaluations of the presets of
`train/configs/mnist_controls.py`; `train.study --study=aad_controls_mnist` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from aad_tf import configs
from aad_tf.attacks import parse_attack
from aad_tf.utils.files import PathLike
from analysis import plots
from analysis.records import Results, read_whole, same_attack
from analysis.seeds import READING, SeedDifference
from analysis.statistics import DASH, mean_over_seeds
from analysis.tables import Table
from train.configs import mnist_controls

CLEAN = "clean"
_RULE = "any_iterate"
_AS_PRESET = ("defense", "epochs", "train_examples", "batch_size", "learning_rate", "precision")
PRIMARY, PRIMARY_OF_HALF = mnist_controls.ATTACKS[:2]
# What each preset is, in the order of the table.
NAMES = {
    "aad": "AAD, two rounds, 8 : 4 : 1, losses balanced",
    "aad_8_0_0": "the same, 8 : 0 : 0",
    "paper": "AAD, two rounds, 8 : 4 : 1, losses as printed",
    "paper_8_0_0": "the same, 8 : 0 : 0",
    "reference_code": "AAD, two rounds, 8 : 4 : 1, losses of the authors' code",
    "reference_code_8_0_0": "the same, 8 : 0 : 0",
    "aad_8_4_0": "AAD, two rounds, 8 : 4 : 0",
    "aad_8_0_1": "AAD, two rounds, 8 : 0 : 1",
    "shared_dropout": "AAD, two rounds, 8 : 4 : 1, dropout masks shared between passes",
    "no_dropout": "AAD, two rounds, 8 : 4 : 1, attention losses without dropout",
    "kept_target": "AAD, two rounds, 8 : 4 : 1, target kept",
    "kept_target_8_0_0": "the same, 8 : 0 : 0",
    "one_round": "AAD, one round, 8 : 4 : 1",
    "one_round_8_0_0": "the same, 8 : 0 : 0",
    "half_size": "AAD, two rounds of half the size, 8 : 4 : 1",
    "half_size_8_0_0": "the same, 8 : 0 : 0",
    "step_ll": "StepLL training",
    "step_ll_double_size": "StepLL training, ε 0.3",
    "step_ll_5_epochs": "StepLL training, 5 epochs",
    "aad_pgd": "AAD with PGD, 8 : 4 : 1",
    "aad_pgd_8_0_0": "the same, 8 : 0 : 0",
    "fgsm": "FGSM training",
    "rs_fgsm": "RS-FGSM, trained for ε 0.3",
    "nfgsm": "N-FGSM, trained for ε 0.3",
    "trades": "TRADES, trained for ε 0.3",
    "pairing": "logit and attention pairing, trained for ε 0.3",
    "pgd": "PGD training, ε 0.3",
}
# (question, preset, preset it is compared with, the attack that decides).
QUESTIONS = (
    ("Do the attention losses add anything, losses balanced?", "aad", "aad_8_0_0", PRIMARY),
    ("... losses as printed?", "paper", "paper_8_0_0", PRIMARY),
    ("... losses of the authors' code?", "reference_code", "reference_code_8_0_0", PRIMARY),
    ("... with one round?", "one_round", "one_round_8_0_0", PRIMARY),
    ("... with the target kept?", "kept_target", "kept_target_8_0_0", PRIMARY),
    ("... with PGD?", "aad_pgd", "aad_pgd_8_0_0", PRIMARY),
    (
        "... at half the size, attacked within half?",
        "half_size",
        "half_size_8_0_0",
        PRIMARY_OF_HALF,
    ),
    ("Rectification alone?", "aad_8_4_0", "aad_8_0_0", PRIMARY),
    ("Preservation alone?", "aad_8_0_1", "aad_8_0_0", PRIMARY),
    ("Is dropout's noise in the attention losses what counts?", "shared_dropout", "aad", PRIMARY),
    ("... left out altogether?", "no_dropout", "aad", PRIMARY),
    ("Does the second round add anything?", "aad_8_0_0", "one_round_8_0_0", PRIMARY),
    (
        "... more than one round of both sizes together?",
        "aad_8_0_0",
        "step_ll_double_size",
        PRIMARY,
    ),
    ("Does all of AAD add to StepLL training?", "aad", "step_ll", PRIMARY),
    ("... that takes as long?", "aad", "step_ll_5_epochs", PRIMARY),
    ("... to FGSM training?", "aad", "fgsm", PRIMARY),
)


@dataclass(frozen=True)
class Control:
    """The evaluations of one preset.

    Attributes:
        preset: of `train/configs/mnist_controls.py`.
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


def read(results_dir: PathLike) -> dict[str, Control]:
    """The controls that were evaluated, by preset, in the order of `NAMES`.

    Args:
        results_dir: the directory that holds `controls`.

    Raises:
        ValueError: a file that is no summary, a shard's, of another preset, seeds that come twice,
            or evaluations of different images.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    counts: dict[int, str] = {}
    for path in sorted(Results(results_dir).root.glob("controls/*.summary.json")):
        summary = read_whole(path)
        description = summary.get("evaluated", {}).get("description", {})
        config = description.get("model", {}).get("config", {})
        preset, seed = config.get("name", ""), int(config.get("seed", 0))
        if preset not in NAMES:
            raise ValueError(
                f"{path} is of the preset {preset!r}, which is none of "
                f"train/configs/mnist_controls.py."
            )
        _check_as_preset(path, config, summary["attacks"])
        control = found.setdefault(preset, {})
        if seed in control.get(CLEAN, {}):
            raise ValueError(f"There are two evaluations of {preset} with seed {seed}.")
        for text, accuracy in _accuracies(summary["attacks"]).items():
            control.setdefault(text, {})[seed] = accuracy
        counts.setdefault(summary["attacks"][0]["count"], path.name)
    if len(counts) > 1:
        raise ValueError(
            f"Controls must be evaluated on the same images, but {', '.join(counts.values())} have "
            f"{', '.join(map(str, counts))} of them."
        )
    return {name: Control(name, found[name], next(iter(counts))) for name in NAMES if name in found}


def _check_as_preset(
    path: Path, config: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> None:
    """Refuses what was trained otherwise than its preset says, or judged by another rule."""
    stated = json.loads(json.dumps(configs.to_dict(mnist_controls.PRESETS[config["name"]])))
    different = [key for key in _AS_PRESET if key in config and config[key] != stated[key]]
    if different:
        raise ValueError(
            f"{path} was trained otherwise than the preset {config['name']} says: it differs in "
            f"{', '.join(different)}."
        )
    if {entry["threat_model"].get("success", _RULE) for entry in entries} != {_RULE}:
        raise ValueError(f"{path} must be evaluated with --success={_RULE}, as the others.")


def _accuracies(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy on clean images and under each attack of the table that was run."""
    found = {CLEAN: entries[0]["clean_accuracy"]}
    for text in mnist_controls.ATTACKS:
        model = parse_attack(text).threat_model()
        for entry in entries:
            if same_attack(entry["threat_model"], model):
                found[text] = entry["robust_accuracy"]
    return found


def table(controls: Mapping[str, Control]) -> Table:
    """A row for each control: means over seeds, and the range where there are several."""
    columns = (CLEAN, *mnist_controls.ATTACKS)
    rows = [
        (
            NAMES[name],
            str(control.seeds),
            *(_cell(control.accuracies.get(column, {})) for column in columns),
        )
        for name, control in controls.items()
    ]
    return Table(("trained with", "seeds", *columns), rows)


def _cell(by_seed: Mapping[int, float]) -> str:
    found = mean_over_seeds(list(by_seed.values()))
    if found.value is None or found.interval is None:
        return DASH
    low, high = (f"{100 * bound:.1f}" for bound in found.interval)
    value = f"{100 * found.value:.1f}"
    return value if len(by_seed) == 1 else f"{value} ({low} to {high})"


def answers(controls: Mapping[str, Control]) -> list[SeedDifference]:
    """The questions that records can speak to, each with its difference over seeds."""
    found = []
    for question, preset, other, attack in QUESTIONS:
        if preset in controls and other in controls:
            one, two = (controls[name].accuracies.get(attack, {}) for name in (preset, other))
            if 1 in (len(one), len(two)) and (shared := one.keys() & two.keys()):
                # One training is held against that of its own seed.
                one, two = ({seed: each[seed] for seed in shared} for each in (one, two))
            statement = f"{question} `{preset}` less `{other}`"
            found.append(SeedDifference(statement, one, two))
    return found


def picture(controls: Mapping[str, Control]) -> Figure:
    """A point for each training under the attack that decides, a line at the mean of its seeds."""
    shown = [one for one in controls.values() if one.accuracies.get(PRIMARY)]
    figure = plots.empty_figure(9.0, 1.4 + 0.3 * len(shown))
    axes = figure.subplots()
    for place, control in enumerate(shown):
        values = [100 * value for value in control.accuracies[PRIMARY].values()]
        axes.plot(values, [place] * len(values), "o", color="#0072B2", alpha=0.6)
        axes.plot([sum(values) / len(values)], [place], "|", color="#D55E00", ms=16, mew=2)
    axes.set_yticks(range(len(shown)), [NAMES[one.preset] for one in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"accuracy under {PRIMARY}, %: each seed, and their mean")
    axes.grid(axis="x", alpha=0.3)
    return figure


def page(controls: Mapping[str, Control]) -> str:
    """The controls as a Markdown page."""
    count = next(iter(controls.values())).count
    parts = [
        "# Do the attention losses of AAD add robustness? MNIST, controls",
        "Made by `python -m analysis.report` from `results/controls`.",
        f"Trained for {mnist_controls.PRESETS['aad'].epochs} epochs, where the paper has 5, unless "
        "the name says otherwise; RS-FGSM and N-FGSM for half of their 10. "
        f"Accuracy in percent on the first {count:,} test images, white box, l∞, "
        f"misclassified at any iterate, one restart; sizes are in [0, 1]. Means over seeds, and "
        "from the lowest to the highest in parentheses. "
        f"What decides, fixed beforehand: {PRIMARY}; at half the size {PRIMARY_OF_HALF}.",
        table(controls).markdown(),
        "![Accuracy of each training](../figures/controls_mnist.png)",
        "## Answers",
        READING,
        "\n".join(f"- {answer.line()}" for answer in answers(controls)),
    ]
    return "\n\n".join(parts) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """The page and its picture, if any control is on record, by path in the results directory."""
    controls = read(results.root)
    if not controls:
        return {}
    return {
        "tables/controls_mnist.md": page(controls),
        "tables/controls_mnist.csv": table(controls).csv(),
        "figures/controls_mnist.png": plots.png(picture(controls)),
    }


def readme(results: Results) -> str:
    """Nothing: the README speaks of the page in its own words."""
    return ""
