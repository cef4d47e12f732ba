"""Figures drawn without a display, which give the same bytes each time they are drawn."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.statistics import Estimate

# Blue and orange of Okabe and Ito, told apart by the color-blind and, by shape, in gray.
_OURS, _PAPER = "#0072B2", "#D55E00"
_PANELS_PER_LINE = 3
POINTS = (
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#000000", "D")),
    *(("#CC79A7", "v"), ("#E69F00", "P"), ("#56B4E9", "X")),
)
"""Colors of Okabe and Ito, each with a shape of matplotlib, to tell points apart."""


def empty_figure(width: float, height: float) -> Figure:
    """An empty matplotlib figure that needs no display; `width` and `height` are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file, without time stamps."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


def span(percent: Iterable[float]) -> tuple[float, float]:
    """Chooses the ends of an axis on which differences of a few points do not look like many.

    Args:
        percent: what is drawn, in percent; at least one number.

    Returns:
        Both ends, in [0, 100].
    """
    values = list(percent)
    middle, half = (min(values) + max(values)) / 2, max(10.0, (max(values) - min(values)) / 2 + 2)
    low = max(0.0, min(middle - half, 100.0 - 2 * half))
    return low, min(100.0, low + 2 * half)


def accuracies(
    title: str,
    rows: Sequence[str],
    panels: Mapping[str, Sequence[tuple[Estimate, float | None]]],
) -> Figure:
    """Plots measured accuracies as dots with intervals, beside the paper's values as diamonds.

    Args:
        title: title of the figure.
        rows: names of the rows, from top to bottom.
        panels: panels by their titles, at least one, drawn side by side. A panel has for each row
            the measured accuracy in [0, 1], and the paper's in percent or None.

    Returns:
        The figure.
    """
    lines = -(-len(panels) // _PANELS_PER_LINE)
    figure = empty_figure(11, lines * (0.9 + 0.32 * len(rows)) + 0.6)
    grid = figure.subplots(lines, _PANELS_PER_LINE, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (heading, values) in zip(grid.flat, panels.items(), strict=False):
        axes.set_title(heading, fontsize=10)
        _draw(axes, rows, values)
    # The last panel of each column, which need not be in the last line.
    for axes in [*grid.flat][: len(panels)][-_PANELS_PER_LINE:]:
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_xlabel("accuracy, %")
    figure.suptitle(title, fontsize=12)
    handles = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles[label] = handle
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)
    return figure


def by_network(
    title: str,
    places: Mapping[str, Estimate],
    panels: Mapping[str, Mapping[str, Estimate]],
    label: str,
) -> Figure:
    """Plots accuracies of networks against another number, with intervals in both directions.

    Args:
        title: title of the figure.
        places: the number on the horizontal axis, by network.
        panels: panels by their titles, at least one, drawn side by side; each has accuracies in
            [0, 1] by network.
        label: label of the horizontal axis.

    Returns:
        The figure.
    """
    figure = empty_figure(4.0 * len(panels), 4.4)
    grid = list(figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False).flat)
    for axes, (heading, values) in zip(grid, panels.items(), strict=True):
        for number, (name, value) in enumerate(values.items()):
            color, marker = POINTS[number % len(POINTS)]
            x, y = (_with_spread(one, scale) for one, scale in ((places[name], 1), (value, 100)))
            style = {"fmt": marker, "color": color, "capsize": 2, "label": name}
            axes.errorbar(x[0], y[0], xerr=x[1], yerr=y[1], **style)
        axes.set_title(heading, fontsize=9)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylim(bottom=0)
    grid[0].set_ylabel("accuracy, %")
    grid[len(grid) // 2].set_xlabel(label)
    figure.suptitle(title, fontsize=12)
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _with_spread(estimate: Estimate, scale: float) -> tuple[float, list[list[float]]]:
    """A number, and how far its interval reaches below and above it."""
    value = estimate.value or 0.0
    low, high = estimate.interval or (value, value)
    return scale * value, [[scale * max(0.0, value - low)], [scale * max(0.0, high - value)]]


def _draw(axes: Axes, rows: Sequence[str], values: Sequence[tuple[Estimate, float | None]]) -> None:
    for height, (ours, paper) in enumerate(values):
        if paper is not None:
            axes.plot(paper, height, "D", color=_PAPER, mfc="none", label="paper", clip_on=False)
        if ours.value is not None and ours.interval is not None:
            value, low, high = (100 * number for number in (ours.value, *ours.interval))
            axes.errorbar(
                value,
                height,
                xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
                fmt="o",
                color=_OURS,
                capsize=2,
                label="ours, 95 % interval or range of seeds",
                clip_on=False,
            )
    axes.set_xlim(0, 100)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.grid(axis="x", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
