"""Panels in rows and columns, with titles and captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aad_tf.plots.overlay import displayable, overlay
from aad_tf.types import Bounds

# Inches.
_GAP = 0.08
_GROUP_GAP = 0.16
_TITLE = 0.28
_HEADING_LINE = 0.18
_CAPTION_LINE = 0.17
_ROW_TITLE = 0.9


@dataclass(frozen=True)
class Panel:
    """One cell of a grid.

    Attributes:
        image: `[H, W, C]`; three channels are colours, of any other number the mean is drawn.
        attention_map: `[h, w]`, non-negative, laid over the image; None draws the image alone.
        caption: text beneath, may have several lines.
        caption_color: of that text, as matplotlib names colours.
    """

    image: Any
    attention_map: Any = None
    caption: str = ""
    caption_color: str = "black"


def attention_grid(
    rows: Sequence[Sequence[Panel]],
    *,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    heading: Sequence[str] = (),
    columns_together: int = 0,
    bounds: Bounds = Bounds(),
    panel_inches: float = 1.4,
    dpi: int = 100,
) -> Figure:
    """Draws images, and attention maps over images, in a grid.

    Args:
        rows: panels, row by row; rows may differ in length.
        column_titles: one a column, or none.
        row_titles: one a row, to its left, or none.
        heading: lines above everything, the first in bold; they are not wrapped.
        columns_together: a wider gap stands after every so many columns; 0 for none.
        bounds: pixel range of all images.
        panel_inches: width and height of a panel.
        dpi: pixels an inch.

    Returns:
        A figure of its own; no state is shared with pyplot.

    Raises:
        ValueError: no panels, or titles that do not match.

    Example:
        >>> figure = attention_grid([[Panel(image), Panel(image, attention_map, "cat 0.93")]])
        >>> save_png(figure, "attention.png")
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise ValueError("rows hold no panels.")
    for titles, count, what in ((column_titles, columns, "column"), (row_titles, len(rows), "row")):
        if titles and len(titles) != count:
            raise ValueError(f"{what}_titles must have {count} entries or none, got {len(titles)}.")
    grid = _Grid(rows, panel_inches, columns_together, bool(row_titles))
    grid.make_figure(len(heading), bool(column_titles), dpi)
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            grid.draw(row, column, panel, bounds)
    grid.write_titles(column_titles, row_titles, heading)
    return grid.figure


class _Grid:
    """Where things stand in a figure, in inches from its lower left corner."""

    figure: Figure

    def __init__(
        self,
        rows: Sequence[Sequence[Panel]],
        panel: float,
        columns_together: int,
        has_row_titles: bool,
    ) -> None:
        self.panel, self._together = panel, columns_together
        self.left = _ROW_TITLE if has_row_titles else _GAP
        lines = [max((_lines(cell.caption) for cell in row), default=0) for row in rows]
        self._row_heights = [panel + _GAP + _CAPTION_LINE * count for count in lines]
        self.width = self.left_of(max(map(len, rows)) - 1) + panel + _GAP

    def make_figure(self, heading_lines: int, has_column_titles: bool, dpi: int) -> None:
        self._headed = _GAP + _HEADING_LINE * heading_lines if heading_lines else 0.0
        self.top = self._headed + (_TITLE if has_column_titles else _GAP)
        self.height = self.top + sum(self._row_heights)
        self.figure = Figure(figsize=(self.width, self.height), dpi=dpi)
        FigureCanvasAgg(self.figure)

    def left_of(self, column: int) -> float:
        apart = column // self._together if self._together else 0
        return self.left + column * (self.panel + _GAP) + apart * _GROUP_GAP

    def bottom_of(self, row: int) -> float:
        return self.height - self.top - sum(self._row_heights[:row]) - self.panel

    def draw(self, row: int, column: int, panel: Panel, bounds: Bounds) -> None:
        x, y = self.left_of(column) / self.width, self.bottom_of(row) / self.height
        axes = self.figure.add_axes((x, y, self.panel / self.width, self.panel / self.height))
        axes.set_axis_off()
        if panel.attention_map is None:
            picture = displayable(panel.image, bounds)
        else:
            picture = overlay(panel.image, panel.attention_map, bounds=bounds)
        axes.imshow(picture, interpolation="nearest")
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "top"}
        axes.text(0.5, -0.03, panel.caption, fontsize=8, color=panel.caption_color, **place)

    def write_titles(
        self, column_titles: Sequence[str], row_titles: Sequence[str], heading: Sequence[str]
    ) -> None:
        middle = self.panel / 2
        for column, title in enumerate(column_titles):
            self._write(self.left_of(column) + middle, self.height - self.top + _TITLE / 2, title)
        for row, title in enumerate(row_titles):
            self._write(self.left / 2, self.bottom_of(row) + middle, title)
        for number, line in enumerate(heading):
            y = self.height - _GAP - (number + 0.5) * _HEADING_LINE
            style = {"ha": "left", "weight": "normal" if number else "bold"}
            self._write(_GAP, y, line, **style)

    def _write(self, x: float, y: float, text: str, **style: Any) -> None:
        place = x / self.width, y / self.height
        self.figure.text(*place, text, **{"ha": "center", "va": "center", "fontsize": 9, **style})


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0
