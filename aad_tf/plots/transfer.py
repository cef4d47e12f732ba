"""Plots of transfer evaluations: sources against targets, and accuracy against attack strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from aad_tf.utils.checks import check_choice, name_of_call, near_names
from aad_tf.utils.norms import NORM_SIGNS, budget_of, norm_of

_AXES = ("epsilon", "steps")
# Width of a letter of a network's name in the default font, on the safe side.
_LETTER_INCHES = 0.095


def transfer_matrix(summary: Mapping[str, Any], attack: str) -> Figure:
    """Draws the accuracy of each target on the images of each source, under one attack.

    Rows are the networks that images were made on, columns those that judge them; the first row is
    the accuracy on clean images. White boxes, where both are the same network, are framed.

    Args:
        summary: the summary of a report of `aad_tf.evaluate_transfer`, or what
            `aad_tf.records.read_summary(path, "transfer")` read from a file.
        attack: name of the attack. The part before its parameters, `fgsm` of `fgsm(epsilon=0.1)`,
            is enough if no other attack has the same.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: no attack of that name, or several.

    Example:
        >>> report = evaluate_transfer(networks, (images, labels), fgsm(0.05))
        >>> save_png(transfer_matrix(report.summary, "fgsm"), "transfer.png")
    """
    attack = name_of_call(attack, summary["threat_models"])
    entries = [entry for entry in summary["transfer"] if entry["attack"] == attack]
    sources, targets = (_names(entries, key) for key in ("source", "target"))
    clean = {each["network"]: each["clean_accuracy"] for each in summary["networks"]}
    found = {(entry["source"], entry["target"]): entry["accuracy"] for entry in entries}
    rows = [[clean[target] for target in targets]]
    rows += [[found[source, target] for target in targets] for source in sources]
    values = 100 * np.array(rows)
    about = f"{summary['count']:,} images"
    about += "; framed: white box" if set(sources) & set(targets) else ""
    title = f"{_described(summary['threat_models'][attack])}\n{about}"
    return _matrix(values, sources, targets, title)


def _matrix(values: np.ndarray, sources: list[str], targets: list[str], title: str) -> Figure:
    rows, columns = ["clean images", *sources], max(0.9, _LETTER_INCHES * max(map(len, targets)))
    width = 1.8 + _LETTER_INCHES * max(map(len, rows)) + columns * len(targets)
    size = (max(5.0, width), 1.8 + 0.6 * len(values))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if value > 55 else "white"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
        if row and sources[row - 1] == targets[column]:
            corner = (column - 0.47, row - 0.45)
            axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor="red", linewidth=1.5))
    axes.axhline(0.5, color="white", linewidth=4)
    axes.set_xticks(range(len(targets)), targets)
    axes.set_yticks(range(len(values)), rows)
    axes.set(xlabel="judged by (target)", ylabel="made on (source)")
    axes.tick_params(length=0)
    figure.colorbar(shown, label="accuracy (%)")
    figure.suptitle(title, fontsize=10)
    return figure


def transfer_curves(summary: Mapping[str, Any], attack: str, against: str = "epsilon") -> Figure:
    """Draws the accuracy of each target against the strength of an attack, a panel per source.

    There is one panel per source, the network that images were made on, and one line per target,
    the network that judges them. The accuracy on clean images is drawn at strength 0. Bands are 95%
    intervals. The line of the white box, where both are the same network, is dashed.

    Args:
        summary: the summary of a report of `aad_tf.evaluate_transfer`, or what
            `aad_tf.records.read_summary(path, "transfer")` read from a file.
        attack: name of the attacks without parameters: `"fgsm"` draws all attacks named `fgsm` or
            `fgsm(...)`.
        against: the axis of strength: `"epsilon"`, the largest perturbation that an attack can
            reach, or `"steps"`, its number of iterations.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: no attack of that name, another axis, several attacks of equal strength, or
            attacks in different norms.

    Example:
        >>> report = evaluate_transfer(networks, (images, labels), [fgsm(0.05), fgsm(0.1)])
        >>> save_png(transfer_curves(report.summary, "fgsm"), "curves.png")

    [Agrawal Figs. 2 to 7]
    """
    check_choice(against, _AXES, "axis")
    models = summary["threat_models"]
    strengths = {
        name: budget_of(model) if against == "epsilon" else model[against]
        for name, model in models.items()
        if name.split("(")[0] == attack
    }
    if not strengths:
        raise ValueError(f"No attack is named {attack!r}." + near_names(attack, models))
    if len({norm_of(models[name]) for name in strengths}) > 1:
        raise ValueError(
            f"{', '.join(strengths)} are attacks in different norms, whose budgets cannot be "
            f"compared: evaluate them apart."
        )
    if len(set(strengths.values())) < len(strengths):
        (other,) = set(_AXES) - {against}
        raise ValueError(
            f"Several of {', '.join(strengths)} have the same {against}: evaluate attacks that "
            f"differ in it, or draw them against {other!r}."
        )
    entries = [entry for entry in summary["transfer"] if entry["attack"] in strengths]
    sources, targets = (_names(entries, key) for key in ("source", "target"))
    clean = {each["network"]: (each["clean_accuracy"], each) for each in summary["networks"]}
    figure = Figure(figsize=(2.6 + 3.1 * len(sources), 3.6))
    figure.set_layout_engine("constrained", wspace=0.06)
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    for axes, source in zip(panels, sources, strict=True):
        for number, target in enumerate(targets):
            points = [(0.0, *clean[target])]
            points += [
                (strengths[entry["attack"]], entry["accuracy"], entry)
                for entry in entries
                if (entry["source"], entry["target"]) == (source, target)
            ]
            points.sort(key=lambda point: point[0])
            xs, accuracies, found = zip(*points, strict=True)
            lows, highs = (
                [100 * each["interval"][bound] for each in found] for bound in ("low", "high")
            )
            # Accuracies of 0 and 100 % lie on the frame.
            style = {"color": f"C{number}", "marker": "o", "markersize": 4, "clip_on": False}
            dashes = "--" if source == target else "-"
            axes.plot(xs, [100 * each for each in accuracies], dashes, **style)
            axes.fill_between(xs, lows, highs, color=f"C{number}", alpha=0.2, linewidth=0)
        axes.set_title(f"made on {source}", fontsize=10)
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    lines = [Line2D([], [], color=f"C{n}", label=name) for n, name in enumerate(targets)]
    if set(sources) & set(targets):
        lines.append(Line2D([], [], color="gray", linestyle="--", label="white box"))
    figure.legend(handles=lines, title="judged by", loc="outside right upper", fontsize=9)
    figure.supxlabel(_strength(attack, against, [models[name] for name in strengths]), fontsize=10)
    panels[0].set_ylabel("accuracy (%)")
    return figure


def _strength(attack: str, against: str, models: list[Mapping[str, Any]]) -> str:
    """The label of the axis, with what the threat models say of the other axis."""
    bounds = models[0].get("bounds")
    unit = f", of images in [{bounds[0]:g}, {bounds[1]:g}]" if bounds else ""
    norm = NORM_SIGNS[norm_of(models[0])]
    if against == "epsilon":
        steps = _range([model["steps"] for model in models])
        return f"{attack}: total ε ({norm}{unit}); iterations: {steps}"
    totals = _range([budget_of(model) for model in models])
    return f"{attack}: iterations; total ε {totals} ({norm}{unit})"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def _names(entries: list[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(entry[key] for entry in entries))


def _described(model: Mapping[str, Any]) -> str:
    """An attack and its threat model in a few words."""
    steps = f"{model['steps']} step{'s' if model['steps'] > 1 else ''}"
    total = "no budget"
    if model["epsilon"] is not None:
        total = f"total ε {model['epsilon']:.4g} = {model['epsilon_255']:.4g}/255"
    return f"{model['attack'].split('(')[0]}, {NORM_SIGNS[norm_of(model)]}, {total}, {steps}"
