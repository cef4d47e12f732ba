"""Draws images, attention maps over them, and grids of both, without any global plotting state.

`aad_tf.attention` computes the maps that are drawn, `aad_tf.attention_study` measures them over a
data set, and `eval.galleries` draws the figures of the paper with this package.
"""

from aad_tf.plots.comparison import (
    LETTERS,
    class_name,
    compare_attacked,
    compare_networks,
    image_panels,
    map_panels,
    shared_bounds,
    short_class_name,
)
from aad_tf.plots.curves import security_curves, training_curves
from aad_tf.plots.evolution import (
    Snapshot,
    attention_evolution,
    load_snapshot,
    save_snapshot,
    snapshot_of,
)
from aad_tf.plots.grid import Panel, attention_grid, png_bytes, save_png
from aad_tf.plots.images import displayable, enlarged, overlay, with_area, with_boxes
from aad_tf.plots.transfer import transfer_curves, transfer_matrix

__all__ = [
    "LETTERS",
    "Panel",
    "Snapshot",
    "attention_evolution",
    "attention_grid",
    "class_name",
    "compare_attacked",
    "compare_networks",
    "displayable",
    "enlarged",
    "image_panels",
    "load_snapshot",
    "map_panels",
    "overlay",
    "png_bytes",
    "save_png",
    "save_snapshot",
    "security_curves",
    "shared_bounds",
    "short_class_name",
    "snapshot_of",
    "training_curves",
    "transfer_curves",
    "transfer_matrix",
    "with_area",
    "with_boxes",
]
