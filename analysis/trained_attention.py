"""What training did to attention, beside robustness: of trainings with several presets and seeds.

The numbers are columns of the trainings' `history.csv`, which presets with `monitor_examples` log.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from aad_tf.configs import ExperimentConfig
from analysis import plots
from analysis.tables import Table
from analysis.trained_presets import TrainedPreset

_IOU = "val_attention_iou"
# Columns of the trainings' histories, and what they are: after the last epoch, and over all.
_MEASURES = {
    _IOU: "IoU of clean and attacked areas",
    f"{_IOU}_empty": "left out: no area",
    f"{_IOU}_zero_clean": "zero maps, clean",
    f"{_IOU}_zero_attacked": "zero maps, attacked",
}
_SHARES = {
    "gradient_share_classification": "gradient of L_c",
    "gradient_share_rectification": "of L_r",
    "gradient_share_preservation": "of L_p",
}


def measures(found: Mapping[str, TrainedPreset], names: Mapping[str, str]) -> Table:
    """What training did to attention, and how much of the gradient each loss had.

    Args:
        found: what `trained_presets.read` returned.
        names: what each preset is called, by preset; others keep their own names.

    Returns:
        A row for each preset whose training was measured, in percent: means over seeds, and the
        range of several seeds.
    """
    rows = [
        (
            names.get(name, name),
            str(len(one.last_epoch(_IOU))),
            *map(one.last_epoch_cell, _MEASURES),
            *map(one.mean_of_epochs_cell, _SHARES),
        )
        for name, one in found.items()
        if one.last_epoch(_IOU)
    ]
    return Table(("trained with", "seeds", *_MEASURES.values(), *_SHARES.values()), rows)


def picture(
    found: Mapping[str, TrainedPreset],
    presets: Mapping[str, ExperimentConfig],
    attack: str,
) -> Figure:
    """Plots how alike attention is, clean and attacked, against accuracy under attack.

    Args:
        found: what `trained_presets.read` returned.
        presets: the presets by name.
        attack: the attack as text.

    Returns:
        A point for each training: the mean IoU of clean and attacked attention areas after its last
        epoch, and accuracy under the attack. Points are filled where attention losses were on, and
        one of each preset carries its name.
    """
    figure = plots.empty_figure(8.0, 5.5)
    axes = figure.subplots()
    heights: list[float] = []
    for number, (name, one) in enumerate(found.items()):
        robust, same = one.accuracies.get(attack, {}), one.last_epoch(_IOU)
        empty = one.last_epoch(f"{_IOU}_empty")
        # Of a network without any area, IoU is not known.
        seeds = [seed for seed in sorted(robust.keys() & same.keys()) if empty.get(seed, 0.0) < 1.0]
        if not seeds:
            continue
        places = [(100 * same[seed], 100 * robust[seed]) for seed in seeds]
        color, marker = plots.POINTS[number % len(plots.POINTS)]
        heights += [height for _, height in places]
        inside = color if _has_attention_losses(presets[name]) else "none"
        axes.plot(*zip(*places, strict=True), marker, color=color, markerfacecolor=inside)
        axes.annotate(name, places[0], fontsize=7, xytext=(5, 3), textcoords="offset points")
    axes.set_xlim(0, 100)
    if heights:
        axes.set_ylim(plots.span(heights))
    axes.set_xlabel("mean IoU of clean and attacked attention areas, %")
    axes.set_ylabel(f"accuracy, %, under\n{attack}", fontsize=9)
    axes.set_title("Filled: trained with attention losses", fontsize=10)
    axes.grid(alpha=0.3)
    return figure


def _has_attention_losses(preset: ExperimentConfig) -> bool:
    defense = preset.defense
    losses = {"aad": defense.weights[1:], "pairing": defense.pairing[1:]}
    return any(losses.get(defense.kind, ()))


def section(
    found: Mapping[str, TrainedPreset],
    presets: Mapping[str, ExperimentConfig],
    names: Mapping[str, str],
    image: str,
) -> list[str]:
    """Makes the part of a page on attention: how to read it, `measures` and a link to `picture`.

    Args:
        found: what `trained_presets.read` returned.
        presets: the presets by name; those of a page are measured alike.
        names: what each preset is called, by preset.
        image: name of the picture's file in `results/figures`.

    Returns:
        Paragraphs in Markdown; none if no training was measured.
    """
    table = measures(found, names)
    if not table.rows:
        return []
    preset = presets[next(name for name, one in found.items() if one.last_epoch(_IOU))]
    return [
        "## Attention",
        f"On {preset.monitor_examples} validation images, attacked by {preset.monitor_attack}, "
        "after the last epoch, in percent: mean IoU of the attention areas of an image and its "
        "attacked version; pairs without any area, which that mean leaves out; Grad-CAM maps "
        "that are zero everywhere, which an attention loss cannot change.",
        f"Of AAD also the share of each weighted loss in the gradient, by norms, in training "
        f"mode and under the attack of training, on {preset.batch_size} validation images: the "
        "mean over epochs, each at its end. A loss with hardly any share had hardly any effect "
        "on the weights then, whatever its own weight.",
        table.markdown(),
        f"![Attention under attack and accuracy](../figures/{image})",
    ]
