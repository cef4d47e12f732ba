"""Trainings by presets of AAD under the strongest attacks, one network at a time.

The records are results/<directory>/<network>_strict.summary.json, of which `controls_strict`,
`rounds_strict` and `weights_strict` are made by the studies `aad_controls_mnist`, `aad_table_6` and
`aad_figure_7`. `analysis/controls.py`, `table_6.py` and `figure_7.py` show them on their pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aad_tf.utils.files import PathLike
from analysis import trust
from analysis.records import Results, read_whole
from analysis.tables import Table
from analysis.trained_presets import CLEAN

READING = (
    "On the first test images: `quick_cascade`, APGD on the cross-entropy and on the "
    "targeted DLR loss, which is weaker than AutoAttack; and what survives it, PGD and APGD of 20 "
    "steps, and the same on AAD's own loss, on that loss with its attention terms turned around, "
    "and with A3's term in both directions. *Adaptive alone*: the most images that one of the "
    "attacks on attention breaks and its plain twin does not."
)


@dataclass(frozen=True)
class Strict:
    """One network under the strongest attacks that were run on it.

    Attributes:
        preset: name of its preset.
        seed: seed of its training.
        epsilon: the budget of the attacks, l∞, of images in [0, 1].
        count: number of test images.
        clean: accuracy on them, in [0, 1].
        cascade: accuracy under the cascade, in [0, 1].
        worst: fraction of images that survive all attacks within the budget, the cascade, plain
            attacks and those on AAD's own loss.
        only_adaptive: by name of each attack on AAD's own loss, how many images it breaks that the
            otherwise equal plain attack does not.
        summary: the summary of the evaluation.
    """

    preset: str
    seed: int
    epsilon: float
    count: int
    clean: float
    cascade: float
    worst: float
    only_adaptive: Mapping[str, int]
    summary: Mapping[str, Any]


def read(results_dir: PathLike, directory: str, names: Sequence[str]) -> list[Strict]:
    """Reads the evaluations of presets under the strongest attacks.

    Args:
        results_dir: directory of results.
        directory: name of the directory within it that may hold such evaluations, and no others.
        names: the presets that may occur, in the order of the table.

    Returns:
        An entry for each network, in the order of `names` and by seed.

    Raises:
        ValueError: a file that is no such evaluation of one of the presets.
    """
    found = []
    for path in sorted(Results(results_dir).root.glob(f"{directory}/*.summary.json")):
        summary = read_whole(path)
        config = summary.get("evaluated", {}).get("description", {}).get("model", {}).get("config")
        attacks, adaptive = summary["attacks"], summary.get("adaptive")
        if not config or config.get("name") not in names or not adaptive:
            raise ValueError(
                f"{path} is no evaluation of a preset (one of {', '.join(names)}) under a cascade "
                f"and adaptive attacks."
            )
        found.append(
            Strict(
                config["name"],
                int(config.get("seed", 0)),
                attacks[0]["threat_model"]["epsilon"],
                attacks[0]["count"],
                attacks[0]["clean_accuracy"],
                attacks[0]["robust_accuracy"],
                adaptive["worst"][-1]["robust_accuracy"],
                {one["attack"]: one["broken_by_it_alone"] for one in adaptive["attacks"]},
                summary,
            )
        )
    return sorted(found, key=lambda one: (names.index(one.preset), one.seed))


def table(found: Sequence[Strict], names: Mapping[str, str]) -> Table:
    """Accuracies in percent under the strongest attacks.

    Args:
        found: what `read` returned.
        names: what each preset is, in words; others keep their own names.

    Returns:
        A row for each network.
    """
    rows = [
        (
            names.get(one.preset, one.preset),
            str(one.seed),
            f"{one.epsilon:.4g}",
            f"{one.count:,}",
            *(f"{100 * value:.1f}" for value in (one.clean, one.cascade, one.worst)),
            str(max(one.only_adaptive.values(), default=0)),
        )
        for one in found
    ]
    heads = ("trained with", "seed", "ε", "n", CLEAN, "cascade", "all attacks", "adaptive alone")
    return Table(heads, rows)


def evaluations(found: Sequence[Strict]) -> list[trust.Evaluation]:
    """The evaluations under the strongest attacks, by which `trust.lines` judges them.

    Args:
        found: what `read` returned.

    Returns:
        An entry for each network.
    """
    return [
        trust.Evaluation(f"`{one.preset}` under the strongest attacks", one.summary, one.seed)
        for one in found
    ]


def section(found: Sequence[Strict], names: Mapping[str, str]) -> list[str]:
    """The part of a page on the strongest attacks.

    Args:
        found: what `read` returned.
        names: what each preset is, in words; others keep their own names.

    Returns:
        Paragraphs in Markdown: a heading, how to read the table, and the table. None if nothing was
        evaluated so.
    """
    if not found:
        return []
    return ["## Under the strongest attacks", READING, table(found, names).markdown()]
