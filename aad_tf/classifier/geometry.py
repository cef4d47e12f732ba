"""Layouts: where on the image the cells of a tensor in a traced graph lie.

A tensor with four axes need not be a grid of the image: tokens with heads of attention, or features
with channels first, have four axes too. So each axis is followed from the images on. It runs over
rows of the image, over columns, over the batch, over something else, or over several of these
merged into one axis. After an operation whose effect on positions is not known, there is no layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

ROWS, COLUMNS, BATCH, OTHER = "rows", "columns", "batch", "other"


class Part(NamedTuple):
    """What the entries of an axis of a tensor stand for, such as rows of the image.

    An axis is a tuple of parts: one part, or several if a reshape has merged them into one axis. Of
    merged parts the last one changes fastest, as in a row-major reshape.

    Attributes:
        kind: `"rows"` or `"columns"` of the image, `"batch"`, or `"other"`.
        size: number of entries; None if not known.
    """

    kind: str
    size: int | None


Axis = tuple[Part, ...]


class Margins(NamedTuple):
    """How far a grid of features extends beyond the image, on each of the four sides.

    The unit is the cell of the grid; a number is negative where the grid does not reach the edge.

    Attributes:
        rows: at the top and at the bottom.
        columns: at the left and at the right.
    """

    rows: tuple[float, float] = (0.0, 0.0)
    columns: tuple[float, float] = (0.0, 0.0)


class Layout(NamedTuple):
    """Where on the image the cells of a tensor lie.

    Attributes:
        axes: for each axis of the tensor a tuple of `Part`s that says what its entries stand for:
            rows or columns of the image, examples of the batch, or something else.
        margins: how many cells the tensor's grid extends beyond the image on each side.
    """

    axes: tuple[Axis, ...]
    margins: Margins = Margins()

    @property
    def has_positions(self) -> bool:
        """Whether some axis of the tensor runs over more than one row or column of the image."""
        return any(has_positions(axis) for axis in self.axes)


# By tensor reference: a layout, or None where it is not known. Tensors that do not depend on the
# images are absent.
Layouts = dict[Any, Layout | None]


def is_grid(tensor: Any, found: Layouts) -> bool:
    """Says whether a tensor is a grid `[batch, h, w, channels]` of the image with several cells.

    Args:
        tensor: any object; only symbolic floating-point tensors can be grids.
        found: where on the image the cells of tensors lie: a `Layout` by the reference
            `tensor.ref()`, or None where it is not known.

    Returns:
        True if its second axis runs over rows of the image, its third over columns, and no other
        axis over either; False for tensors without a known layout.
    """
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
    """Says whether a tensor has rows and columns of the image merged: `[batch, h * w, channels]`.

    Args:
        tensor: any object; only symbolic tensors can be tokens.
        found: where on the image the cells of tensors lie: a `Layout` by the reference
            `tensor.ref()`, or None where it is not known.

    Returns:
        True if the tensor has at least three axes, one of which runs over rows and columns; False
        for tensors without a known layout.
    """
    layout = found.get(tensor.ref()) if tf.is_tensor(tensor) else None
    return (
        layout is not None
        and len(layout.axes) > 2
        and any([part.kind for part in axis] == [ROWS, COLUMNS] for axis in layout.axes)
    )


def lost_share(layout: Layout) -> float:
    """Returns the fraction of the image's height or width that a tensor's grid does not cover.

    Args:
        layout: how the axes of the tensor lie on the image.

    Returns:
        A number in [0, 1], the largest such fraction over the four sides of the image.
    """
    return max(
        max(0.0, -min(margins)) / _cells_of_image(layout, kind)
        for kind, margins in ((ROWS, layout.margins.rows), (COLUMNS, layout.margins.columns))
    )


def overhang(layout: Layout) -> float:
    """Returns by how many of its cells a tensor's grid extends beyond the image.

    Args:
        layout: how the axes of the tensor lie on the image.

    Returns:
        The largest number of cells over the four sides of the image, at least 0.
    """
    return max(0.0, *layout.margins.rows, *layout.margins.columns)


def _cells_of_image(layout: Layout, kind: str) -> float:
    """Cells that would cover the height or width of the image; 1 where it is not known."""
    margins = layout.margins.rows if kind == ROWS else layout.margins.columns
    sizes = [part.size for axis in layout.axes for part in axis if part.kind == kind]
    return max(1.0, sizes[0] - sum(margins)) if sizes and sizes[0] else 1.0


def without_positions(output: tf.Tensor) -> Layout:
    """Returns the `Layout` of a tensor that has no axis over rows or columns of the image.

    Args:
        output: the tensor. Its axes of unknown size are taken for the batch.

    Returns:
        A layout with one `Part` per axis, and margins of 0.
    """
    return Layout(tuple(other_axis(size) for size in output.shape))


def other_axis(size: int | None) -> Axis:
    """Describes an axis that does not run over rows or columns of the image.

    Args:
        size: number of entries of the axis; None if not known.

    Returns:
        A tuple of one `Part`, of kind `"batch"` if the size is None, else `"other"`.
    """
    return (Part(BATCH if size is None else OTHER, size),)


def has_positions(axis: Axis) -> bool:
    """Says whether an axis runs over more than one row or column of the image.

    Args:
        axis: the `Part`s that the axis of a tensor runs over. An unknown size counts as several.

    Returns:
        True if one of its parts is `"rows"` or `"columns"` of a size other than 1.
    """
    return any(part.kind in (ROWS, COLUMNS) and part.size != 1 for part in axis)


def is_fixed(axis: Axis) -> bool:
    """Says whether an axis runs over rows or columns of the image or over the batch.

    An operation that leaves out entries of such an axis loses part of the image or examples.

    Args:
        axis: the `Part`s that the axis of a tensor runs over.

    Returns:
        True if it runs over several rows or columns of the image, or over the batch.
    """
    return has_positions(axis) or axis[0].kind == BATCH


def sized(axis: Axis, size: int | None) -> Axis:
    """Changes the size of an axis.

    Args:
        axis: the `Part`s that an axis of a tensor runs over.
        size: the new number of entries; None if not known.

    Returns:
        The axis with that size. An axis of several merged parts is returned unchanged.
    """
    return (axis[0]._replace(size=size),) if len(axis) == 1 else axis


def best_margins(candidates: Iterable[Margins]) -> Margins:
    """Chooses the margins whose absolute values have the smallest sum over the four sides.

    Args:
        candidates: how many cells each of several grids extends beyond each side of the image; at
            least one.

    Returns:
        One of them; of several with the same sum, the first.
    """
    return min(candidates, key=lambda each: sum(map(abs, each.rows + each.columns)))


def changed(margins: Margins, kind: str, change: Callable[[float, int], float]) -> Margins:
    """Changes both margins along one axis of the image.

    Args:
        margins: how many cells a grid extends beyond each side of the image.
        kind: `"rows"` or `"columns"`.
        change: function from a margin and its side, 0 (top, left) or 1 (bottom, right), to the new
            margin.

    Returns:
        The new margins.
    """
    before, after = margins.rows if kind == ROWS else margins.columns
    pair = (change(before, 0), change(after, 1))
    return margins._replace(rows=pair) if kind == ROWS else margins._replace(columns=pair)


def scaled(margins: Margins, kind: str, factor: float) -> Margins:
    """Multiplies the margins along one axis of the image by a factor.

    Args:
        margins: how many cells a grid extends beyond each side of the image.
        kind: `"rows"` or `"columns"`.
        factor: ratio of the number of cells after to that before.

    Returns:
        The new margins.
    """
    return changed(margins, kind, lambda margin, _: margin * factor)


def moved_out(margins: Margins, kind: str, cells: Sequence[float]) -> Margins:
    """Adds cells to the margins along one axis of the image.

    Args:
        margins: how many cells a grid extends beyond each side of the image.
        kind: `"rows"` or `"columns"`.
        cells: numbers of cells added at the first side (top, left) and at the second side.

    Returns:
        The new margins.
    """
    return changed(margins, kind, lambda margin, side: margin + cells[side])
