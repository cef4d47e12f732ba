"""[AAD Fig. 7]: accuracy under attack by the weights of AAD's losses, a panel for each weight.

Read from results/weights/<network>.summary.json, evaluations of the presets of
`train/configs/cifar10_weights.py`; `train.study --study=aad_figure_7` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from aad_tf.utils.files import PathLike
from analysis import plots, trained_presets
from analysis.records import Results
from analysis.seeds import READING, SeedDifference
from analysis.tables import Table
from analysis.trained_presets import CLEAN, TrainedPreset
from train.configs import cifar10_weights
from train.configs.cifar10_weights import ATTACKS, PANELS, PAPER, name_of, weights_of

STEM = "aad_figure_7"
_SMALL = "small_"
_COLUMNS = (CLEAN, *ATTACKS)
_SAYS = (
    "The paper prints curves without values; its text says that the curves decline consistently "
    "and significantly where a weight is 0, and that the best is generally had at 8 : 4 : 1."
)


def read(results_dir: PathLike) -> dict[str, TrainedPreset]:
    """The presets that were evaluated, by name: those of all epochs if any was, or the small ones.

    Args:
        results_dir: the directory that holds `weights`.

    Raises:
        ValueError: what `trained_presets.read` refuses.
    """
    found = trained_presets.read(results_dir, "weights", cifar10_weights.PRESETS, ATTACKS)
    return {name: one for name, one in found.items() if not name.startswith(_SMALL)} or found


def _of(found: Mapping[str, TrainedPreset], panel: str, value: int) -> TrainedPreset | None:
    name = name_of(panel, value)
    return found.get(name) or found.get(f"{_SMALL}{name}")


def table(found: Mapping[str, TrainedPreset]) -> Table:
    """A row for each weight of each panel that was trained, a column for each attack."""
    rows = []
    for panel, values in PANELS.items():
        for value in values:
            one = _of(found, panel, value)
            if one is not None:
                weights = " : ".join(map(str, weights_of(panel, value)))
                rows.append((panel, weights, str(one.seeds), *map(one.cell, _COLUMNS)))
    return Table(("panel", "α : β : γ", "seeds", *_COLUMNS), rows, left=2)


def differences(found: Mapping[str, TrainedPreset]) -> list[SeedDifference]:
    """What each weight of the paper adds to the same network trained with that weight 0."""
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
    """Three panels, a curve for each attack: means over seeds, and each seed as a point."""
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


def page(found: Mapping[str, TrainedPreset]) -> str:
    """The figure with its numbers as a Markdown page."""
    count = next(iter(found.values())).count
    preset = cifar10_weights.PRESETS[next(iter(found))]
    images = f"{preset.train_examples:,} images" if preset.train_examples else "all images"
    parts = [
        "# AAD Fig. 7: CIFAR-10 by the weights of the losses",
        "Made by `python -m analysis.report` from `results/weights`.",
        f"![Accuracy by weight](../figures/{STEM}.png)",
        f"Accuracy in percent on the first {count:,} test images, white box, l∞, misclassified at "
        "any iterate, one restart; sizes are in [0, 1]. Means over seeds, and from the lowest to "
        f"the highest in parentheses. Trained on {images} for {preset.epochs} epochs; the paper "
        f"has 200 of all images. {_SAYS}",
        table(found).markdown(),
        "## Differences",
        READING,
        "\n".join(f"- {one.line()}" for one in differences(found)) or "None can be taken yet.",
    ]
    return "\n\n".join(parts) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """The page and the figure, if any preset is on record, by path in the results directory."""
    found = read(results.root)
    if not found:
        return {}
    return {
        f"tables/{STEM}.md": page(found),
        f"tables/{STEM}.csv": table(found).csv(),
        f"figures/{STEM}.png": plots.png(picture(found)),
    }


def readme(results: Results) -> str:
    """Nothing: the README speaks of the page in its own words."""
    return ""
