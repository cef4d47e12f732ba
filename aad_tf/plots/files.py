"""Pictures as files that are whole or not there."""

from __future__ import annotations

import io
import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


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
