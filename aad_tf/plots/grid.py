"""Panels in rows and columns, with titles and captions, and figures as PNG files."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from aad_tf.plots.images import displayable, overlay
from aad_tf.types import Bounds
from aad_tf.utils.files import PathLike, write_atomically

# Inches. Panels are placed by these and not by a layout engine of matplotlib, which would make them
# a fraction of a pixel smaller and so resample the images in them.
_GAP = 0.08
_GROUP_GAP = 0.16
_TITLE = 0.28
_HEADING_LINE = 0.18
_CAPTION_LINE = 0.17
_ROW_TITLE = 0.9
# Of English text in the default font at 9 points, on the safe side.
_LETTERS_PER_INCH = 14.5


@dataclass(frozen=True)
class Panel:
    """One cell of a grid.

    Attributes:
        image: `[H, W, C]`, in the pixel range given to `attention_grid`. Three channels are
            colours; the mean of any other number of channels is drawn in gray.
        attention_map: `[h, w]`, non-negative, drawn in colours over the image; None draws the image
            alone.
        caption: text beneath, of one or more lines.
        caption_color: colour of that text, as matplotlib names colours.
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
        rows: panels, row by row; rows may differ in length. A `Panel` has `image`, `[H, W, C]`
            within `bounds`; optionally `attention_map`, `[h, w]`, non-negative and of any size,
            which is divided by its maximum, resized to the image and drawn over it; and `caption`,
            the text beneath.
        column_titles: one per column, or none; long ones are wrapped to the width of a panel.
        row_titles: one per row, to its left, or none; long ones are wrapped.
        heading: paragraphs above everything, wrapped to the width of the grid, the first in bold.
        columns_together: number of columns after which a wider gap follows; 0 for no such gaps.
        bounds: pixel range of all images, (lower, upper).
        panel_inches: width and height of a panel.
        dpi: pixels per inch.

    Returns:
        A new matplotlib figure that pyplot does not manage. Its axes are the panels, row by row.

    Raises:
        ValueError: no panels; titles of columns or rows whose number is neither 0 nor that of the
            columns or rows; or an image or a map of another rank.

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

    column_titles = [_within(title, panel_inches) for title in column_titles]
    row_titles = [_within(title, _ROW_TITLE) for title in row_titles]
    # Distances in inches from the upper left corner.
    margin, numbers = _ROW_TITLE if row_titles else _GAP, np.arange(columns)
    lefts = margin + numbers * (panel_inches + _GAP)
    if columns_together:
        lefts += numbers // columns_together * _GROUP_GAP
    width = lefts[-1] + panel_inches + _GAP
    lines = _wrapped(heading, width - 2 * _GAP)
    headed = _GAP + _HEADING_LINE * len(lines) if lines else 0.0
    captions = [max((len(panel.caption.splitlines()) for panel in row), default=0) for row in rows]
    heights = [panel_inches + _GAP + _CAPTION_LINE * lines_below for lines_below in captions]
    titled = _GAP
    if column_titles:
        titled = _TITLE + _CAPTION_LINE * max(title.count("\n") for title in column_titles)
    tops = headed + titled + np.cumsum([0.0, *heights])
    height = tops[-1]
    figure = Figure(figsize=(width, height), dpi=dpi)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        style = {"ha": "center", "va": "center", "fontsize": 9, **style}
        figure.text(x / width, 1 - y / height, text, **style)

    size = panel_inches / width, panel_inches / height
    for top, panels in zip(tops, rows, strict=False):
        for left, panel in zip(lefts, panels, strict=False):
            corner = left / width, 1 - (top + panel_inches) / height
            _draw(figure.add_axes((*corner, *size)), panel, bounds)
    for left, title in zip(lefts, column_titles, strict=False):
        write(left + panel_inches / 2, tops[0] - titled / 2, title)
    for top, title in zip(tops, row_titles, strict=False):
        write(margin / 2, top + panel_inches / 2, title)
    for number, (line, weight) in enumerate(lines):
        write(_GAP, _GAP + (number + 0.5) * _HEADING_LINE, line, ha="left", weight=weight)
    return figure


def _draw(axes: Axes, panel: Panel, bounds: Bounds) -> None:
    axes.set_axis_off()
    if panel.attention_map is None:
        colours = displayable(panel.image, bounds)
    else:
        colours = overlay(panel.image, panel.attention_map, bounds=bounds)
    axes.imshow(colours, interpolation="nearest")
    below: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "top"}
    axes.text(0.5, -0.03, panel.caption, fontsize=8, color=panel.caption_color, **below)


def _within(title: str, inches: float) -> str:
    """A title whose lines are no longer than that, if its words allow it."""
    letters = int(inches * _LETTERS_PER_INCH)
    lines = [
        textwrap.wrap(line, letters, break_long_words=False) or [""] for line in title.split("\n")
    ]
    return "\n".join(part for parts in lines for part in parts)


def _wrapped(paragraphs: Sequence[str], inches: float) -> list[tuple[str, str]]:
    """Lines of that width with the weight of their font."""
    return [
        (line, "normal" if number else "bold")
        for number, paragraph in enumerate(paragraphs)
        for line in textwrap.wrap(paragraph, max(1, int(inches * _LETTERS_PER_INCH)))
    ]


def png_bytes(figure: Figure, levels: int | None = None) -> bytes:
    """A figure as the content of a PNG file.

    Args:
        figure: a matplotlib figure.
        levels: number of levels of each colour channel, from 2 to 256. 32 halve the size of a file
            of photographs without a visible difference. None keeps all 256.

    Returns:
        The bytes of the file.
    """
    content = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    if levels is None:
        canvas.print_png(content)
        return content.getvalue()
    canvas.draw()
    colours = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    steps = levels - 1
    rounded = (np.round(colours * steps) / steps * 255).round().astype(np.uint8)
    imsave(content, rounded, format="png", dpi=figure.dpi, pil_kwargs={"optimize": True})
    return content.getvalue()


def save_png(figure: Figure, path: PathLike) -> Path:
    """Writes a figure as a PNG file, complete or not at all.

    Args:
        figure: a matplotlib figure.
        path: file to write; its directory must exist.

    Returns:
        The path.

    Raises:
        OSError: the path cannot be written.
    """
    with write_atomically(path) as file:
        file.write(png_bytes(figure))
    return Path(path)
