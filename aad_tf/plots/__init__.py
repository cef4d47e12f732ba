"""Pictures of images and their attention maps, drawn without any global plotting state."""

from aad_tf.plots.files import png_bytes, save_png, write_whole
from aad_tf.plots.grid import Panel, attention_grid
from aad_tf.plots.overlay import displayable, overlay

__all__ = [
    "Panel",
    "attention_grid",
    "displayable",
    "overlay",
    "png_bytes",
    "save_png",
    "write_whole",
]
