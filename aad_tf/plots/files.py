"""Figures as PNG files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from aad_tf.utils.files import PathLike, write_atomically


def png_bytes(figure: Figure, levels: int | None = None) -> bytes:
    """A figure as the content of a PNG file.

    Args:
        figure: what to draw.
        levels: of each colour channel; 32 halve the size of a file of photographs unseen. None
            keeps all 256.
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
        figure: what to draw.
        path: file to write; its directory must exist.

    Returns:
        The path.

    Raises:
        OSError: the path cannot be written.
    """
    with write_atomically(path) as file:
        file.write(png_bytes(figure))
    return Path(path)
