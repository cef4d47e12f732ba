"""Where in the image the cells of a tensor lie, followed through the operations of a traced graph.

That a tensor has four axes does not make it a grid of the image: tokens and heads of attention,
or channels that stand first, have four axes too. So each axis is followed from the image on. It
runs over rows or columns of the image, over the batch, over something else, or over several of
these, merged. What an operation of unknown effect on positions returns has no known layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

ROWS, COLUMNS, BATCH, OTHER = "rows", "columns", "batch", "other"


class Part(NamedTuple):
    """What an axis runs over, or one of several things it runs over, the last one fastest."""

    kind: str
    size: int | None


Axis = tuple[Part, ...]


class Margins(NamedTuple):
    """How far a grid reaches beyond the image, in its cells; negative where it falls short."""

    rows: tuple[float, float] = (0.0, 0.0)
    columns: tuple[float, float] = (0.0, 0.0)


class Layout(NamedTuple):
    """Axes of a tensor that depends on the images, and how its grid lies on them."""

    axes: tuple[Axis, ...]
    margins: Margins = Margins()

    @property
    def has_positions(self) -> bool:
        """Whether any axis runs over rows or columns of the image."""
        return any(has_positions(axis) for axis in self.axes)


# By tensor reference: a layout, or None where it is not known. Tensors that do not depend on the
# images are absent.
Layouts = dict[Any, Layout | None]


def is_grid(tensor: Any, found: Layouts) -> bool:
    """Whether a tensor is a grid `[batch, h, w, channels]` of the image, of more than one cell."""
    if not tf.is_tensor(tensor) or tensor.shape.rank != 4 or not tensor.dtype.is_floating:
        return False
    layout = found.get(tensor.ref())
    if layout is None or not layout.has_positions:
        return False
    batch, rows, columns, channels = layout.axes
    return (
        not has_positions(batch + channels)
        and all(part.kind == ROWS for part in rows if part.size != 1)
        and all(part.kind == COLUMNS for part in columns if part.size != 1)
        and any(part.size != 1 for part in rows + columns)
    )


def is_tokens(tensor: Any, found: Layouts) -> bool:
    """Whether positions in the image are numbered along one axis, as in `[batch, h * w, c]`."""
    layout = found.get(tensor.ref()) if tf.is_tensor(tensor) else None
    return (
        layout is not None
        and len(layout.axes) > 2
        and any([part.kind for part in axis] == [ROWS, COLUMNS] for axis in layout.axes)
    )


def lost_share(layout: Layout) -> float:
    """The largest share of the image's height or width that lies outside a grid, in [0, 1]."""
    return max(
        max(0.0, -min(margins)) / _cells_of_image(layout, kind)
        for kind, margins in ((ROWS, layout.margins.rows), (COLUMNS, layout.margins.columns))
    )


def overhang(layout: Layout) -> float:
    """By how many of its cells a grid reaches beyond the image, on the side where it is most."""
    return max(0.0, *layout.margins.rows, *layout.margins.columns)


def _cells_of_image(layout: Layout, kind: str) -> float:
    """Cells that would cover the height or width of the image; 1 where it is not known."""
    margins = layout.margins.rows if kind == ROWS else layout.margins.columns
    sizes = [part.size for axis in layout.axes for part in axis if part.kind == kind]
    return max(1.0, sizes[0] - sum(margins)) if sizes and sizes[0] else 1.0


def without_positions(output: tf.Tensor) -> Layout:
    return Layout(tuple(other_axis(size) for size in output.shape))


def other_axis(size: int | None) -> Axis:
    return (Part(BATCH if size is None else OTHER, size),)


def has_positions(axis: Axis) -> bool:
    return any(part.kind in (ROWS, COLUMNS) and part.size != 1 for part in axis)


def is_fixed(axis: Axis) -> bool:
    """Whether an axis runs over positions or over images, of which none may be left out."""
    return has_positions(axis) or axis[0].kind == BATCH


def sized(axis: Axis, size: int | None) -> Axis:
    """An axis of one part with another size."""
    return (axis[0]._replace(size=size),) if len(axis) == 1 else axis


def best_margins(candidates: Iterable[Margins]) -> Margins:
    """Of the margins of several paths, those with the fewest cells beyond the image or missing."""
    return min(candidates, key=lambda each: sum(map(abs, each.rows + each.columns)))


def changed(margins: Margins, kind: str, change: Callable[[float, int], float]) -> Margins:
    """Margins with `change(margin, side)` along one axis of the image, sides 0 and 1."""
    before, after = margins.rows if kind == ROWS else margins.columns
    pair = (change(before, 0), change(after, 1))
    return margins._replace(rows=pair) if kind == ROWS else margins._replace(columns=pair)


def scaled(margins: Margins, kind: str, factor: float) -> Margins:
    """Margins along one axis of the image, in cells of another size."""
    return changed(margins, kind, lambda margin, _: margin * factor)


def moved_out(margins: Margins, kind: str, cells: Sequence[float]) -> Margins:
    """Margins with some cells more on either side along one axis of the image."""
    return changed(margins, kind, lambda margin, side: margin + cells[side])
