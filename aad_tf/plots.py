"""Pictures of images and their attention maps, drawn without any global plotting state."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aad_tf.ops import resize_maps
from aad_tf.types import Bounds

# Inches.
_GAP = 0.08
_TITLE = 0.28
_CAPTION_LINE = 0.17
_ROW_TITLE = 0.9


@dataclass(frozen=True)
class Panel:
    """One cell of a grid.

    Attributes:
        image: `[H, W, C]`; three channels are colours, of any other number the mean is drawn.
        attention_map: `[h, w]`, non-negative, laid over the image; None draws the image alone.
        caption: text beneath, may have several lines.
    """

    image: Any
    attention_map: Any = None
    caption: str = ""


def displayable(image: Any, bounds: Bounds = Bounds()) -> np.ndarray:
    """An image as colours a screen shows.

    Args:
        image: `[H, W, C]` within `bounds`; values outside are clipped.
        bounds: pixel range.

    Returns:
        float64 `[H, W, 3]` in [0, 1].

    Raises:
        ValueError: wrong rank.
    """
    image = np.asarray(image, np.float64)
    if image.ndim != 3:
        raise ValueError(f"image must have shape [height, width, channels], got {image.shape}.")
    unit = np.clip((image - bounds.lower) / (bounds.upper - bounds.lower), 0.0, 1.0)
    return unit if unit.shape[-1] == 3 else np.repeat(unit.mean(-1, keepdims=True), 3, axis=-1)


def overlay(
    image: Any,
    attention_map: Any,
    *,
    bounds: Bounds = Bounds(),
    opacity: float = 0.55,
    colormap: str = "turbo",
) -> np.ndarray:
    """An attention map in colours over its image, as the figures of [AAD] show them.

    Args:
        image: `[H, W, C]` within `bounds`.
        attention_map: `[h, w]`, non-negative and finite; resized to the image and scaled by its
            highest value, so colours of different maps do not compare. Zeros stay zeros.
        bounds: pixel range.
        opacity: weight of the map's colours, in [0, 1].
        colormap: name of a matplotlib colormap.

    Returns:
        float64 `[H, W, 3]` in [0, 1].

    Raises:
        ValueError: wrong rank, NaN or infinity in the map, opacity out of range.

    Example:
        >>> picture = overlay(images[0], grad_cam(classifier, images, labels)[0])
    """
    colours = displayable(image, bounds)
    attention = np.asarray(attention_map, np.float64)
    if attention.ndim != 2:
        raise ValueError(f"attention_map must have shape [h, w], got {attention.shape}.")
    if not np.isfinite(attention).all():
        raise ValueError(
            "attention_map holds NaN or infinity, so the network's weights or the images do too."
        )
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity must be in [0, 1], got {opacity}.")
    highest = attention.max()
    scaled = attention / highest if highest > 0 else np.zeros_like(attention)
    resized = resize_maps(scaled[np.newaxis], colours.shape[:2]).numpy()[0]
    heat = matplotlib.colormaps[colormap](np.clip(resized, 0.0, 1.0))[..., :3]
    return (1.0 - opacity) * colours + opacity * heat


def attention_grid(
    rows: Sequence[Sequence[Panel]],
    *,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    bounds: Bounds = Bounds(),
    panel_inches: float = 1.4,
    dpi: int = 100,
) -> Figure:
    """Draws images, and attention maps over images, in a grid.

    Args:
        rows: panels, row by row; rows may differ in length.
        column_titles: one a column, or none.
        row_titles: one a row, to its left, or none.
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
    grid = _Grid(rows, columns, panel_inches, bool(column_titles), bool(row_titles), dpi)
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            grid.draw(row, column, panel, bounds)
    for column, title in enumerate(column_titles):
        grid.write(grid.left_of(column) + panel_inches / 2, grid.height - grid.top / 2, title)
    for row, title in enumerate(row_titles):
        grid.write(grid.left / 2, grid.bottom_of(row) + panel_inches / 2, title)
    return grid.figure


class _Grid:
    """Where things stand in a figure, in inches from its lower left corner."""

    def __init__(
        self,
        rows: Sequence[Sequence[Panel]],
        columns: int,
        panel: float,
        has_column_titles: bool,
        has_row_titles: bool,
        dpi: int,
    ) -> None:
        self.panel = panel
        self.left = _ROW_TITLE if has_row_titles else _GAP
        self.top = _TITLE if has_column_titles else _GAP
        lines = [max((_lines(cell.caption) for cell in row), default=0) for row in rows]
        self._row_heights = [panel + _GAP + _CAPTION_LINE * count for count in lines]
        self.width = self.left + columns * (panel + _GAP)
        self.height = self.top + sum(self._row_heights)
        self.figure = Figure(figsize=(self.width, self.height), dpi=dpi)
        FigureCanvasAgg(self.figure)

    def left_of(self, column: int) -> float:
        return self.left + column * (self.panel + _GAP)

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
        axes.text(
            0.5, -0.02, panel.caption, transform=axes.transAxes, ha="center", va="top", fontsize=8
        )

    def write(self, x: float, y: float, text: str) -> None:
        place = x / self.width, y / self.height
        self.figure.text(*place, text, ha="center", va="center", fontsize=9)


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def png_bytes(figure: Figure) -> bytes:
    """A figure of `attention_grid` as the content of a PNG file."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def save_png(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes a figure as a PNG file, complete or not at all.

    Args:
        figure: what to draw.
        path: file to write; its directory must exist.

    Returns:
        The path.

    Raises:
        OSError: the path cannot be written.
    """
    return write_whole(png_bytes(figure), path)


def write_whole(content: bytes, path: str | os.PathLike[str]) -> Path:
    """Writes a file that appears under its name only when it is complete."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
