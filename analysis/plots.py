"""Plots of records beside the papers' values, drawn without a display."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aad_tf.results import PathLike, write_atomically
from analysis.table_5 import TITLES, Row, Table5

# Blue and orange of Okabe and Ito, told apart by the color-blind and, by shape, in gray.
_OURS, _PAPER = "#0072B2", "#D55E00"
_PANELS_A_LINE = 3


def plot_table_5(table: Table5, path: PathLike) -> None:
    """Draws one panel a column of Table 5: ours as dots with intervals, the paper as diamonds.

    Args:
        table: of one data set.
        path: PNG file to write; its directory must exist.

    Raises:
        OSError: the file cannot be written.
    """
    rows = table.rows
    lines = -(-len(table.columns) // _PANELS_A_LINE)
    figure = Figure(figsize=(11, lines * (0.9 + 0.32 * len(rows)) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, _PANELS_A_LINE, sharex=True, sharey=True, squeeze=False)
    for panel in grid.flat[len(table.columns) :]:
        panel.set_visible(False)
    for place, column in enumerate(table.columns):
        _panel(grid.flat[place], rows, place)
        grid.flat[place].set_title(column.heading, fontsize=10)
    for panel in grid[-1]:
        panel.set_xlabel("accuracy, %")
    figure.suptitle(f"AAD Table 5, {TITLES[table.dataset]}: accuracy under attack", fontsize=12)
    handles = {}
    for panel in grid.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles[label] = handle
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)
    with write_atomically(Path(path)) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


def _panel(panel: Axes, rows: tuple[Row, ...], place: int) -> None:
    for height, row in enumerate(rows):
        cell = row.cells[place]
        if cell.paper is not None:
            panel.plot(
                cell.paper, height, "D", color=_PAPER, mfc="none", label="paper", clip_on=False
            )
        if cell.share is not None and cell.interval is not None:
            share, low, high = (100 * number for number in (cell.share, *cell.interval))
            panel.errorbar(
                share,
                height,
                xerr=[[max(0.0, share - low)], [max(0.0, high - share)]],
                fmt="o",
                color=_OURS,
                capsize=2,
                label="ours, 95 % interval",
                clip_on=False,
            )
    panel.set_xlim(0, 100)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    panel.grid(axis="x", color="0.9")
    panel.spines[["top", "right"]].set_visible(False)
