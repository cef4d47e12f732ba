"""[AAD Fig. 7]: accuracy under attack by the weights of AAD's losses, a panel for each weight.

The numbers come from `results/weights/<network>.summary.json`, evaluations of the presets in
`train/configs/cifar10_weights.py`. `train.study --study=aad_figure_7` trains and evaluates them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from aad_tf.utils.files import PathLike
from analysis import plots, strict_controls, trained_attention, trained_presets, trust
from analysis.records import Results
from analysis.seeds import READING, SeedDifference
from analysis.strict_controls import Strict
from analysis.tables import Table
from analysis.trained_presets import CLEAN, TrainedPreset
from train.configs import cifar10_rounds, cifar10_weights
from train.configs.cifar10_weights import ATTACKS, PANELS, PAPER, name_of, weights_of

STEM = "aad_figure_7"
_COLUMNS = (CLEAN, *ATTACKS)
_SAYS = (
    "The paper prints curves without values; its text says that the curves decline consistently "
    "and significantly where a weight is 0, and that the best is generally had at 8 : 4 : 1. By "
    "Table 6, AAD on a single round lies below plain StepLL training, so that this can hold for "
    "two rounds only."
)


def read(results_dir: PathLike) -> dict[str, TrainedPreset]:
    """Reads the evaluations of the presets by weight.

    Args:
        results_dir: directory of results, which holds the directory `weights`.

    Returns:
        The presets that were evaluated, by name. Presets that begin with `small_` are included
        only if no other was evaluated.

    Raises:
        ValueError: a file is not a summary of one of these presets as they are defined, or its
            evaluation differs from the others in the rule of success or the number of images.
    """
    found = trained_presets.read(results_dir, "weights", cifar10_weights.PRESETS, ATTACKS)
    return trained_presets.without_small(found)


def _of(found: Mapping[str, TrainedPreset], panel: str, value: int) -> TrainedPreset | None:
    return trained_presets.preset_or_small(found, name_of(panel, value))


def table(found: Mapping[str, TrainedPreset]) -> Table:
    """Makes the table of accuracies by panel and weight.

    Args:
        found: what `read` returned.

    Returns:
        A row for each evaluated preset of each panel, with a column for clean images and one for
        each attack.
    """
    rows = []
    for panel, values in PANELS.items():
        for value in values:
            one = _of(found, panel, value)
            if one is not None:
                weights = " : ".join(map(str, weights_of(panel, value)))
                rows.append((panel, weights, str(one.seeds), *map(one.cell, _COLUMNS)))
    return Table(("panel", "α : β : γ", "seeds", *_COLUMNS), rows, left=2)


def differences(found: Mapping[str, TrainedPreset]) -> list[SeedDifference]:
    """Subtracts the accuracy with one weight 0 from that with the paper's weights 8 : 4 : 1.

    Args:
        found: what `read` returned.

    Returns:
        Differences for each of the three weights on clean images and under each attack; those of
        a weight are left out unless both presets were evaluated.
    """
    compared = []
    for panel, weight in zip(PANELS, PAPER, strict=True):
        one, without = _of(found, panel, weight), _of(found, panel, 0)
        if one and without:
            compared += [
                one.less(without, column, f"{panel} {weight} instead of 0, {column}")
                for column in _COLUMNS
            ]
    return compared


def picture(found: Mapping[str, TrainedPreset]) -> Figure:
    """Draws accuracy by weight: a panel for each weight, a curve for each attack.

    Args:
        found: what `read` returned.

    Returns:
        The figure. Curves are means over seeds, points are single seeds; a dotted vertical line
        marks the weight of the paper.
    """
    figure = plots.empty_figure(12.0, 4.2)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (panel, values), weight in zip(panels, PANELS.items(), PAPER, strict=True):
        trained = [(value, _of(found, panel, value)) for value in values]
        for column in _COLUMNS:
            by_weight = {
                value: list(one.accuracies[column].values())
                for value, one in trained
                if one is not None and one.accuracies.get(column)
            }
            means = [100 * sum(several) / len(several) for several in by_weight.values()]
            (line,) = axes.plot(list(by_weight), means, "-", label=column)
            for value, several in by_weight.items():
                points = [100 * one for one in several]
                axes.plot([value] * len(points), points, "o", ms=4, color=line.get_color())
        axes.axvline(weight, color="0.6", lw=0.8, ls=":")
        axes.set_xticks(values)
        axes.set_xlabel(f"{panel}, the others of 8 : 4 : 1")
        axes.set_ylim(0, 100)
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("accuracy in percent")
    panels[-1].legend(fontsize=7)
    return figure


def page(found: Mapping[str, TrainedPreset], strict: Sequence[Strict] = ()) -> str:
    """Makes the Markdown page with the figure, its table and the differences.

    Args:
        found: what `read` returned, with at least one preset.
        strict: what `strict_controls.read` returned.

    Returns:
        The text of the page.
    """
    parts = [
        "# AAD Fig. 7: CIFAR-10 by the weights of the losses",
        "Made by `python -m analysis.report` from `results/weights`.",
        f"![Accuracy by weight](../figures/{STEM}.png)",
        f"{trained_presets.reading(found, cifar10_weights.PRESETS)} {_SAYS}",
        trained_presets.provenance(found),
        table(found).markdown(),
        *trust.section([*trained_presets.evaluations(found), *strict_controls.evaluations(strict)]),
        "## Differences",
        READING,
        "\n".join(f"- {one.line()}" for one in differences(found)) or "None can be taken yet.",
        *strict_controls.section(strict, {}),
        *trained_attention.section(found, cifar10_weights.PRESETS, {}, f"{STEM}_attention.png"),
    ]
    return "\n\n".join(parts) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of page, CSV and picture by path in the results directory; empty without records."""
    found = read(results.root)
    if not found:
        return {}
    strict = strict_controls.read(results.root, "weights_strict", [*cifar10_weights.PRESETS])
    made: dict[str, str | bytes] = {
        f"tables/{STEM}.md": page(found, strict),
        f"tables/{STEM}.csv": table(found).csv(),
        f"figures/{STEM}.png": plots.png(picture(found)),
    }
    if trained_attention.measures(found, {}).rows:
        drawn = trained_attention.picture(found, cifar10_weights.PRESETS, cifar10_rounds.PRIMARY)
        made[f"figures/{STEM}_attention.png"] = plots.png(drawn)
    return made


def readme(results: Results) -> str:
    """An empty text: the README describes this page in hand-written text."""
    return ""
