"""Plots of attention records, drawn without a display and readable at half a page."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aad_tf.metrics import wilson_interval
from aad_tf.records.columns import AttentionRecords
from analysis.attention.caption import TOP_CELLS, gradient_method, main_cells, method_name
from analysis.attention.chance_baselines import drift_chance
from analysis.attention.matched import comparable
from analysis.attention.scatter import SHIFT, change
from analysis.attention.table_9 import ROUNDS, Aligned, Variant
from analysis.plots import empty_figure
from analysis.statistics import Estimate, mean

Style = dict[str, Any]
# Vermilion, blue, green, black of Okabe and Ito; shapes and dashes tell them apart in gray.
_SUCCEEDED = {"color": "#D55E00", "marker": "s", "ls": "-"}
_FAILED = {"color": "#0072B2", "marker": "o", "ls": "--"}
_GREEN = {"color": "#009E73", "marker": "^", "ls": "-."}
_BLACK = {"color": "#000000", "marker": "D", "ls": ":"}
_NAMES = ("attack succeeded", "attack failed")
_THIRDS = ("low", "middle", "high")
# More different values than this are drawn in bins.
_MOST_VALUES = 25


def iou_distributions(run: AttentionRecords) -> Figure:
    """Plots distributions of IoU with the box and of IoU of clean and attacked areas.

    They are drawn apart for attacks whose first iteration succeeded and failed, with means.

    Returns:
        The figure.
    """
    figure, panels = _figure(2)
    columns = (run.iou_box()[:, 0], run.iou_clean(size=TOP_CELLS)[:, 0])
    titles = ("clean attention and box", f"attention before and after, {TOP_CELLS} cells")
    for panel, values, title in zip(panels, columns, titles, strict=True):
        for group, style, name in _groups(run, 1):
            known = values[group & ~np.isnan(values)]
            if len(known):
                _distribution(panel, known, values, style, name)
        _label(panel, title, "IoU", "share of images, %")
        panel.set_xlim(0, 1)
        panel.set_ylim(bottom=0)
    return _with_legends(figure, panels)


def iou_rounds(run: AttentionRecords) -> Figure:
    """Plots the IoU of clean and attacked areas over attack iterations by success, and chance."""
    figure, panels = _figure(1)
    iou = run.iou_clean(size=TOP_CELLS)
    rounds = np.arange(1, run.rounds + 1)
    for group in range(2):
        chosen = [_groups(run, int(k))[group] for k in rounds]
        estimates = [
            mean(iou[c[0], k - 1], skip_nan=True) for k, c in zip(rounds, chosen, strict=True)
        ]
        _line(panels[0], rounds + 0.04 * (2 * group - 1), estimates, chosen[0][1], _NAMES[group])
    chance = drift_chance(run)
    others = [np.nan if e.value is None else e.value for e in chance.rounds]
    panels[0].plot(rounds, others, ":", color="0.3", label="chance: other images' maps")
    panels[0].axhline(
        chance.random_cells, ls=(0, (1, 4)), color="0.3", label="chance: random cells"
    )
    _label(panels[0], "", "round of the attack", f"IoU with the clean map, {TOP_CELLS} cells")
    panels[0].set_xticks(rounds)
    panels[0].set_ylim(0, 1)
    return _with_legends(figure, panels)


def success_by_iou(run: AttentionRecords) -> Figure:
    """Plots the success of the first attack iteration by decile of IoU with the box.

    There is a line for all images, and one for each third of the clean confidence.

    Returns:
        The figure.
    """
    figure, panels = _figure(2)
    usable = np.flatnonzero(comparable(run))
    iou, success = run.iou_box()[:, 0], run.succeeded(1)
    _deciles(panels[0], usable, iou, success, _BLACK, "all images")
    order = usable[np.argsort(run.confidence[usable, 0], kind="stable")]
    styles = (_SUCCEEDED, _FAILED, _GREEN)
    for name, style, third in zip(_THIRDS, styles, np.array_split(order, 3), strict=True):
        if len(third):
            low, high = run.confidence[third[[0, -1]], 0]
            label = f"{name} confidence, {low:.2f}–{high:.2f}"
            _deciles(panels[1], third, iou, success, style, label)
    for panel, title in zip(panels, ("all images", "confidence held fixed"), strict=True):
        _label(panel, title, "IoU with the box, deciles", "attacks that succeed, %")
        panel.set_ylim(0, 100)
    return _with_legends(figure, panels)


def scatter_over_rounds(run: AttentionRecords) -> Figure:
    """Plots how entropy and centroid of attention maps change over iterations, by success."""
    figure, panels = _figure(2)
    rounds = np.arange(1, run.rounds + 1)
    labels = ("change of entropy since clean", "shift of the centroid, fractions")
    for panel, measure, label in zip(panels, ("entropy", SHIFT), labels, strict=True):
        for group, style in enumerate((_SUCCEEDED, _FAILED)):
            estimates = [
                mean(change(run, measure, int(k))[_groups(run, int(k))[group][0]], skip_nan=True)
                for k in rounds
            ]
            _line(panel, rounds + 0.04 * (2 * group - 1), estimates, style, _NAMES[group])
        panel.axhline(0, color="0.6", lw=0.8)
        _label(panel, measure, "round of the attack", label)
        panel.set_xticks(rounds)
    return _with_legends(figure, panels)


def augmented(found: Aligned) -> Figure:
    """Plots accuracy against IoU of clean and attacked areas, by iteration, with and without A3.

    Args:
        found: the attacks on the same images; each has a panel.

    Returns:
        The figure.
    """
    figure, panels = _figure(len(found.variants))
    for panel, (name, group) in zip(panels, found.variants.items(), strict=True):
        for variant, style in zip(group, (_BLACK, _SUCCEEDED, _FAILED), strict=True):
            if variant is not None:
                _path_of_rounds(panel, variant, style)
        x_label = f"mean IoU with the clean map, {main_cells(found.first)} cells"
        _label(panel, f"{name}; numbers: round", x_label, "still classified right, %")
    # The same on all panels, and no wider than the points need: they lie close together.
    right, top = (max(getattr(panel.dataLim, side) for panel in panels) for side in ("x1", "y1"))
    for panel in panels:
        panel.set_xlim(0, min(1.0, right + 0.05))
        panel.set_ylim(0, min(100.0, top + 5))
    return _with_legends(figure, panels)


def faithfulness_curves(run: AttentionRecords) -> Figure:
    """Plots the probability of the class as pixels are removed and inserted, clean and attacked.

    Args:
        run: records with measures of faithfulness; each method has a row of panels, which also
            show random maps.

    Returns:
        The figure.
    """
    figure, grid = _figure(2, len(run.methods))
    titles = {"deletion": "pixels removed", "insertion": "pixels inserted"}
    for number, method in enumerate(run.methods):
        panels = grid[2 * number : 2 * number + 2]
        for panel, (measure, title) in zip(panels, titles.items(), strict=True):
            for name, width in ((method, 1.8), ("random", 0.9)):
                levels = run.faithfulness(name, f"{measure}_curve") / 255
                shown = "random maps" if name == "random" else method_name(name)
                for stage, state, style in ((0, "clean", _FAILED), (-1, "attacked", _SUCCEEDED)):
                    marks = {"color": style["color"], "lw": width, "ls": style["ls"]}
                    if name == "random":
                        marks["ls"] = ":"
                    _curve(panel, levels[:, stage], marks, f"{shown}, {state}")
            _label(panel, method_name(method), f"{title}, %", "mean probability of the class")
            panel.set_xlim(0, 100)
            panel.set_ylim(0, 1)
    return _with_legends(figure, grid)


def _curve(panel: Axes, levels: np.ndarray, style: Style, name: str) -> None:
    """The mean over images `[images, steps]`, with its 95 % interval as a band."""
    x = np.linspace(0, 100, levels.shape[1])
    middle = levels.mean(axis=0)
    panel.plot(x, middle, **style, label=name)
    if len(levels) > 1:
        reach = 1.96 * levels.std(axis=0, ddof=1) / np.sqrt(len(levels))
        panel.fill_between(
            x, middle - reach, middle + reach, color=style["color"], alpha=0.15, lw=0
        )


def _path_of_rounds(panel: Axes, variant: Variant, style: Style) -> None:
    run, rounds = variant.run, range(1, ROUNDS + 1)
    kept = [100 * float(run.failed(k).mean()) for k in rounds]
    iou = run.iou_clean(gradient_method(run), main_cells(run))[:, :ROUNDS].mean(axis=0)
    panel.plot(iou, kept, **style, label=variant.name)
    for k, x, y in zip(rounds, iou, kept, strict=True):
        offset: Style = {"textcoords": "offset points", "fontsize": 8, "color": style["color"]}
        panel.annotate(str(k), (x, y), (5, 4), **offset)


def _groups(run: AttentionRecords, round_number: int) -> list[tuple[np.ndarray, Style, str]]:
    masks = run.succeeded(round_number), run.failed(round_number)
    return list(zip(masks, (_SUCCEEDED, _FAILED), _NAMES, strict=True))


def _distribution(
    panel: Axes, known: np.ndarray, every: np.ndarray, style: Style, name: str
) -> None:
    color, line = style["color"], style["ls"]
    values = np.unique(np.round(every[~np.isnan(every)], 6))
    if len(values) <= _MOST_VALUES:
        fractions = 100 * (np.round(known, 6)[:, np.newaxis] == values).mean(axis=0)
        panel.plot(values, fractions, **style, ms=4)
    else:
        weights = np.full(len(known), 100 / len(known))
        edges = np.linspace(0, 1, 21).tolist()
        panel.hist(known, edges, weights=weights, histtype="step", color=color, ls=line, lw=1.5)
    average = mean(known, skip_nan=True)
    panel.axvline(known.mean(), color=color, ls=line, lw=1, label=f"{name}, mean {average.text(2)}")
    if average.interval is not None:
        panel.axvspan(*average.interval, color=color, alpha=0.2, lw=0)


def _deciles(
    panel: Axes, images: np.ndarray, iou: np.ndarray, success: np.ndarray, style: Style, name: str
) -> None:
    parts = np.array_split(images[np.argsort(iou[images], kind="stable")], 10)
    parts = [part for part in parts if len(part)]
    middles = [float(np.median(iou[part])) for part in parts]
    rates = np.array([100 * success[part].mean() for part in parts])
    bounds = [wilson_interval(int(success[part].sum()), len(part)) for part in parts]
    spread = np.abs(100 * np.array(bounds).reshape(-1, 2).T - rates)
    panel.errorbar(middles, rates, spread, **style, ms=4, capsize=2, label=name)


def _line(panel: Axes, x: np.ndarray, estimates: list[Estimate], style: Style, name: str) -> None:
    known = [(a, e.value, e.interval) for a, e in zip(x, estimates, strict=True) if e.interval]
    if not known:
        return
    x, values, bounds = (np.array(column) for column in zip(*known, strict=True))
    spread = np.abs(bounds.T - values)
    panel.errorbar(x, values, spread, **style, capsize=3, label=name)


def _figure(panels: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    figure = empty_figure(4.2 * panels + 0.8, 4.6 * rows)
    return figure, list(figure.subplots(rows, panels, squeeze=False).flat)


def _label(panel: Axes, title: str, x_label: str, y_label: str) -> None:
    panel.set_title(title, fontsize=10)
    panel.set_xlabel(x_label)
    panel.set_ylabel(y_label)
    panel.grid(color="0.9")
    panel.spines[["top", "right"]].set_visible(False)


def _with_legends(figure: Figure, panels: list[Axes]) -> Figure:
    for panel in panels:
        if panel.get_legend_handles_labels()[1]:
            legend = panel.legend(fontsize=9, frameon=False, handlelength=3.5, loc="upper center")
            legend.set_bbox_to_anchor((0.5, -0.16))
    return figure
