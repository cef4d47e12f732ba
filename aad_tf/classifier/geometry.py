"""Where in the image the cells of a tensor lie, followed through the operations of a traced graph.

That a tensor has four axes does not make it a grid of the image: tokens and heads of attention,
or channels that stand first, have four axes too. So each axis is followed from the image on. It
runs over rows or columns of the image, over the batch, over something else, or over several of
these, merged. What an operation of unknown effect on positions returns has no known layout.
"""

from __future__ import annotations

import math
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
        return any(_has_positions(axis) for axis in self.axes)


# By tensor reference: a layout, or None where it is not known. Tensors that do not depend on the
# images are absent.
Layouts = dict[Any, Layout | None]
_Rule = Callable[[Any, "_Inputs", tf.Tensor], Layout | None]


def image_layout(images: tf.Tensor) -> Layout:
    """The layout of `[batch, height, width, channels]` images."""
    kinds = (BATCH, ROWS, COLUMNS, OTHER)
    return Layout(tuple((Part(*pair),) for pair in zip(kinds, images.shape, strict=True)))


def layouts(graph: Any, images: tf.Tensor) -> Layouts:
    """The layout of every tensor of a graph that depends on the values of `images`."""
    found: Layouts = {images.ref(): image_layout(images)}
    _follow(graph, found)
    return found


def is_grid(tensor: Any, found: Layouts) -> bool:
    """Whether a tensor is a grid `[batch, h, w, channels]` of the image, of more than one cell."""
    if not tf.is_tensor(tensor) or tensor.shape.rank != 4 or not tensor.dtype.is_floating:
        return False
    layout = found.get(tensor.ref())
    if layout is None or not layout.has_positions:
        return False
    batch, rows, columns, channels = layout.axes
    return (
        not _has_positions(batch + channels)
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


class _Inputs(NamedTuple):
    """Layouts of what an operation reads; None at inputs that do not depend on the images."""

    layouts: list[Layout | None]

    @property
    def dependent(self) -> list[tuple[int, Layout]]:
        return [(i, layout) for i, layout in enumerate(self.layouts) if layout is not None]


def _follow(graph: Any, found: Layouts) -> None:
    """Adds the layouts of everything that depends on tensors in `found`."""
    for operation in graph.get_operations():
        references = [tensor.ref() for tensor in operation.inputs]
        if operation.type in _SHAPES or not any(each in found for each in references):
            continue
        if operation.type == "IdentityN":
            for reference, output in zip(references, operation.outputs, strict=True):
                if reference in found:
                    found[output.ref()] = found[reference]
            continue
        unknown = any(found.get(each, _ANY) is None for each in references)
        inputs = _Inputs([found.get(each) for each in references])
        for output in operation.outputs:
            found[output.ref()] = None if unknown else _output_layout(operation, inputs, output)


# Stands for an input that does not depend on the images.
_ANY = Layout(())

# Their outputs depend on the shape of what they read and not on its values.
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})


def _output_layout(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    if output.shape.rank is None:
        return None
    if not any(layout.has_positions for _, layout in inputs.dependent):
        return _without_positions(output)
    rule = _RULES.get(operation.type)
    return None if rule is None else rule(operation, inputs, output)


def _without_positions(output: tf.Tensor) -> Layout:
    return Layout(tuple(_other(size) for size in output.shape))


def _other(size: int | None) -> Axis:
    return (Part(BATCH if size is None else OTHER, size),)


def _has_positions(axis: Axis) -> bool:
    return any(part.kind in (ROWS, COLUMNS) and part.size != 1 for part in axis)


def _sized(axis: Axis, size: int | None) -> Axis:
    """An axis of one part with another size."""
    return (axis[0]._replace(size=size),) if len(axis) == 1 else axis


def _static(tensor: tf.Tensor) -> Any:
    """The value of a tensor as a list, with None for entries that are not known."""
    operation = tensor.op
    value = tf.get_static_value(tensor)
    if value is not None:
        return [int(entry) for entry in value.ravel()]
    # Shapes, known in part, as tf.tensordot and tf.repeat compute them.
    if operation.type == "Shape":
        return list(operation.inputs[0].shape) if operation.inputs[0].shape.rank else None
    if operation.type not in _FOLDED:
        return None
    sources = [_static(each) for each in operation.inputs]
    if operation.type == "Pack":
        return [entry for source in sources for entry in source or [None]]
    if sources[0] is None or (operation.type == "GatherV2" and sources[1] is None):
        return None
    if operation.type == "GatherV2":
        return [sources[0][i] for i in sources[1]]
    if operation.type == "Prod":
        return [None if None in sources[0] else math.prod(sources[0])]
    return sources[0]


_FOLDED = frozenset({"Cast", "GatherV2", "Pack", "Prod", "Reshape"})


def _best(candidates: Iterable[Margins]) -> Margins:
    """Of several paths that meet, the one that lies best on the image: all of it is seen there."""
    return min(candidates, key=lambda each: sum(map(abs, each.rows + each.columns)))


def _changed(margins: Margins, kind: str, change: Callable[[float, int], float]) -> Margins:
    """Margins with `change(margin, side)` along one axis of the image, sides 0 and 1."""
    before, after = margins.rows if kind == ROWS else margins.columns
    pair = (change(before, 0), change(after, 1))
    return margins._replace(rows=pair) if kind == ROWS else margins._replace(columns=pair)


def _same(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Operations that act on each entry or along an axis, and return what they read in place."""
    rank = output.shape.rank
    sources = [(operation.inputs[i], layout) for i, layout in inputs.dependent]
    if any(len(layout.axes) > rank for _, layout in sources):
        return None
    axes: list[Axis] = []
    for i in range(rank):
        candidates = [
            layout.axes[i - rank]
            for tensor, layout in sources
            if len(layout.axes) >= rank - i and tensor.shape[i - rank] != 1
        ]
        placed = [axis for axis in candidates if _has_positions(axis)]
        if len({tuple(part.kind for part in axis) for axis in placed}) > 1:
            return None
        axis = next(iter(placed or candidates), _other(output.shape[i]))
        axes.append(_sized(axis, output.shape[i]))
    return Layout(tuple(axes), _best(each.margins for _, each in sources if each.has_positions))


def _window(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Convolution, pooling and transposed convolution."""
    transposed = operation.type == "Conv2DBackpropInput"
    index, layout = 2 if transposed else 0, inputs.layouts[2 if transposed else 0]
    if layout is None or any(each.has_positions for i, each in inputs.dependent if i != index):
        return None
    attributes = operation.node_def.attr
    order = operation.get_attr("data_format").decode()
    pools = "ksize" in attributes
    channels = order.index("C")
    axes, margins = list(layout.axes), layout.margins
    axes[channels] = _sized(axes[channels], output.shape[channels])
    if not pools:
        axes[channels] = _other(output.shape[channels])
    for place, axis in enumerate((order.index("H"), order.index("W"))):
        if pools:
            extent = operation.get_attr("ksize")[axis] - 1
        else:
            dilation = operation.get_attr("dilations")[axis]
            extent = ((operation.inputs[1].shape[place] or 1) - 1) * dilation
        stride = operation.get_attr("strides")[axis]
        parts = axes[axis]
        if not _has_positions(parts):
            axes[axis] = _other(output.shape[axis])
            continue
        if len(parts) > 1:
            if extent or stride > 1:
                return None
            continue
        padding = operation.get_attr("padding")
        added = [0, 0]
        if padding == b"EXPLICIT":
            added = operation.get_attr("explicit_paddings")[2 * axis : 2 * axis + 2]

        def moved(
            margin: float,
            side: int,
            added: Sequence[int] = added,
            half: float = 0.0 if padding == b"SAME" or transposed else extent / 2,
            scale: float = stride if transposed else 1 / stride,
        ) -> float:
            margin += added[side]
            # Windows inside the grid take the border off that was put around it. What they take
            # off the image itself is seen by the first and last window all the same.
            return (max(0.0, margin - half) if margin > 0 else margin) * scale

        margins = _changed(margins, parts[0].kind, moved)
        axes[axis] = _sized(parts, output.shape[axis])
    return Layout(tuple(axes), margins)


def _scaled(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Resizing, and exchange of cells for channels."""
    layout, source = inputs.layouts[0], operation.inputs[0]
    if layout is None or output.shape.rank != 4:
        return None
    if operation.type == "ScaleAndTranslate" and any(_static(operation.inputs[3]) or [1]):
        return None
    if "data_format" in operation.node_def.attr and operation.get_attr("data_format") != b"NHWC":
        return None
    axes, margins = list(layout.axes), layout.margins
    axes[3] = _other(output.shape[3])
    for axis in (1, 2):
        if len(axes[axis]) > 1:
            return None
        before, after = source.shape[axis], output.shape[axis]
        if _has_positions(axes[axis]):
            scale = after / before if before and after else 1.0
            margins = _changed(margins, axes[axis][0].kind, lambda m, _, scale=scale: m * scale)
        axes[axis] = _sized(axes[axis], after)
    return Layout(tuple(axes), margins)


def _to_and_from_batch(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """What TensorFlow puts around a dilated convolution; the second one undoes the first."""
    layout = inputs.layouts[0]
    if layout is None or any(len(axis) > 1 for axis in layout.axes):
        return None
    sized = zip(layout.axes, output.shape, strict=True)
    return Layout(tuple(_sized(*pair) for pair in sized), layout.margins)


def _padded(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, amounts = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or amounts is None or len(inputs.dependent) != 1:
        return None
    axes, margins = list(layout.axes), layout.margins
    for i, axis in enumerate(axes):
        added = amounts[2 * i : 2 * i + 2]
        if _has_positions(axis) or axis[0].kind == BATCH:
            if added != [0, 0] and (len(axis) > 1 or None in added or axis[0].kind == BATCH):
                return None
            if added != [0, 0]:
                margins = _changed(margins, axis[0].kind, lambda m, side, a=added: m + a[side])
        axes[i] = _sized(axis, output.shape[i])
    return Layout(tuple(axes), margins)


def _cut(
    axis: Axis, margins: Margins, span: tuple[int | None, int | None], sizes: tuple
) -> Margins | None:
    """Margins after cells before the first and behind the second number of `span` are left out.

    Args:
        axis: that is cut, with positions or the batch.
        margins: before.
        span: how many cells are left out on either side; None where it is not known.
        sizes: of the axis before and after.
    """
    before, after = sizes
    if span == (0, 0) or (None in span and before is not None and before == after):
        return margins
    if len(axis) > 1 or axis[0].kind == BATCH:
        return None
    if None in span:
        if before is None or after is None:
            return None
        # Which side loses more does not matter: that something is lost does.
        span = ((before - after) // 2, before - after - (before - after) // 2)
    lost = (span[0] or 0, span[1] or 0)
    return _changed(margins, axis[0].kind, lambda m, side: m - lost[side])


def _strided_slice(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, source = inputs.layouts[0], operation.inputs[0]
    count = operation.inputs[1].shape[0]
    if layout is None or count is None:
        return None
    empty = [None] * count
    begins, ends, strides = (_static(each) or empty for each in operation.inputs[1:4])
    bits = {
        name: [bool(operation.get_attr(f"{name}_mask") >> i & 1) for i in range(count)]
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    axes: list[Axis] = []
    margins, at = layout.margins, 0
    for i in range(count):
        if bits["ellipsis"][i]:
            left = len(layout.axes) - at - sum(not bit for bit in bits["new_axis"][i + 1 :])
            axes.extend(layout.axes[at : at + left])
            at += left
        elif bits["new_axis"][i]:
            axes.append(_other(1))
        elif bits["shrink_axis"][i]:
            if layout.axes[at][0].kind == BATCH:
                return None
            at += 1
        else:
            axis, size, out = layout.axes[at], source.shape[at], output.shape[len(axes)]
            at += 1
            if _has_positions(axis) or axis[0].kind == BATCH:
                stride = strides[i]
                if stride is None or stride < 1:
                    return None
                begin = 0 if bits["begin"][i] else begins[i]
                end = 0 if bits["end"][i] else _from_end(ends[i], size)
                if begin is not None:
                    begin = _from_start(begin, size)
                # Every second cell still covers the image, whichever it begins with.
                if begin is not None and end is not None and stride > 1:
                    begin, end = begin // stride * stride, end // stride * stride
                if stride > 1 and (len(axis) > 1 or axis[0].kind == BATCH):
                    return None
                sizes = (size, out) if stride == 1 else (None, None)
                cut = _cut(axis, margins, (begin, end), sizes)
                if cut is None:
                    return None
                margins = cut
                if stride > 1:
                    margins = _changed(margins, axis[0].kind, lambda m, _, s=stride: m / s)
            axes.append(_sized(axis, out) if _has_positions(axis) else axis)
            if not _has_positions(axis) and axis[0].kind != BATCH:
                axes[-1] = _other(out)
    return Layout((*axes, *layout.axes[at:]), margins)


def _from_end(end: int | None, size: int | None) -> int | None:
    """How many cells an end of a slice leaves out."""
    if end is None:
        return None
    if end < 0:
        return -end
    return max(0, size - end) if size is not None else (0 if end >= 2**31 - 1 else None)


def _from_start(begin: int, size: int | None) -> int | None:
    if begin >= 0:
        return begin
    return max(0, size + begin) if size is not None else None


def _slice(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, source = inputs.layouts[0], operation.inputs[0]
    if layout is None:
        return None
    begins = _static(operation.inputs[1]) or [None] * len(layout.axes)
    sizes = _static(operation.inputs[2]) or [None] * len(layout.axes)
    axes, margins = list(layout.axes), layout.margins
    for i, axis in enumerate(axes):
        size, out = source.shape[i], output.shape[i]
        if axis[0].kind == BATCH and begins[i] == 0:
            # There are as many logits as images, whatever this slice is computed from.
            continue
        if _has_positions(axis) or axis[0].kind == BATCH:
            taken = None if None in (size, sizes[i], begins[i]) else size - sizes[i] - begins[i]
            end = 0 if sizes[i] == -1 else taken
            cut = _cut(axis, margins, (begins[i], end), (size, out))
            if cut is None:
                return None
            margins = cut
            axes[i] = _sized(axis, out)
        else:
            axes[i] = _other(out)
    return Layout(tuple(axes), margins)


def _reversed(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, turned = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or turned is None:
        return None
    kept = all(
        not _has_positions(layout.axes[i]) and layout.axes[i][0].kind != BATCH for i in turned
    )
    return layout if kept else None


def _gathered(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, where = inputs.layouts[0], _static(operation.inputs[2])
    if layout is None or len(inputs.dependent) > 1 or where is None:
        return None
    axis = layout.axes[where[0]]
    if _has_positions(axis) or axis[0].kind == BATCH or output.shape.rank != len(layout.axes):
        return None
    axes = list(layout.axes)
    axes[where[0]] = _other(output.shape[where[0]])
    return layout._replace(axes=tuple(axes))


def _joined(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Concatenation: of channels, or of the image with a border that does not depend on it."""
    where = _static(operation.inputs[-1])
    if where is None:
        return None
    place = where[0] % output.shape.rank
    axis_of = [layout.axes[place] for _, layout in inputs.dependent]
    if not any(_has_positions(axis) or axis[0].kind == BATCH for axis in axis_of):
        merged = _same(operation, inputs, output)
        if merged is None:
            return None
        axes = list(merged.axes)
        axes[place] = _other(output.shape[place])
        return merged._replace(axes=tuple(axes))
    if len(inputs.dependent) > 1 or len(axis_of[0]) > 1 or axis_of[0][0].kind == BATCH:
        return None
    ((index, layout),) = inputs.dependent
    sizes = [tensor.shape[place] for tensor in operation.inputs[:-1]]
    border = sizes[:index] + sizes[index + 1 :]
    if None in border:
        return None
    added = (sum(sizes[:index]), sum(sizes[index + 1 :]))
    axes = list(layout.axes)
    axes[place] = _sized(axes[place], output.shape[place])
    margins = _changed(layout.margins, axis_of[0][0].kind, lambda m, side: m + added[side])
    return Layout(tuple(axes), margins)


def _packed(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    place = operation.get_attr("axis") % output.shape.rank
    kinds = {
        tuple(tuple(part.kind for part in axis) for axis in layout.axes)
        for _, layout in inputs.dependent
    }
    if len(kinds) != 1:
        return None
    axes = list(inputs.dependent[0][1].axes)
    axes.insert(place, _other(output.shape[place]))
    return Layout(tuple(axes), _best(layout.margins for _, layout in inputs.dependent))


def _taken_apart(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Split and unstack."""
    ((index, layout),) = inputs.dependent
    if operation.type == "Unpack":
        place = operation.get_attr("axis")
    else:
        where = _static(operation.inputs[0 if operation.type == "Split" else 2])
        if where is None:
            return None
        place = where[0]
    place %= len(layout.axes)
    axes = list(layout.axes)
    if _has_positions(axes[place]) or axes[place][0].kind == BATCH:
        return None
    axes[place : place + 1] = [] if operation.type == "Unpack" else [_other(output.shape[place])]
    return layout._replace(axes=tuple(axes))


def _tiled(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, times = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or times is None:
        return None
    axes = list(layout.axes)
    for i, axis in enumerate(axes):
        if times[i] == 1:
            continue
        if _has_positions(axis) or axis[0].kind == BATCH:
            return None
        axes[i] = _other(output.shape[i])
    return layout._replace(axes=tuple(axes))


def _transposed(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, order = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or order is None or None in order:
        return None
    return layout._replace(axes=tuple(layout.axes[i] for i in order))


def _reduced(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, over = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or over is None:
        return None
    gone = {i % len(layout.axes) for i in over}
    kept = [
        _other(1) if i in gone else axis
        for i, axis in enumerate(layout.axes)
        if i not in gone or operation.get_attr("keep_dims")
    ]
    return layout._replace(axes=tuple(kept))


def _reshaped(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Axes that are merged and taken apart again; cells keep their row-major order."""
    layout = inputs.layouts[0]
    if layout is None or len(inputs.dependent) > 1:
        return None
    parts = [part for axis in layout.axes for part in axis if part.size != 1]
    sizes, right = list(output.shape), []
    if None in sizes and operation.type == "Reshape":
        computed = _static(operation.inputs[1])
        if computed is not None:
            computed = [None if size == -1 else size for size in computed]
            sizes = [known or size for known, size in zip(sizes, computed, strict=True)]
    while sizes and sizes[-1] is not None:
        axis = _taken_from_end(parts, sizes.pop())
        if axis is None:
            return None
        right.insert(0, axis)
    groups = _grouped(parts, sum(size != 1 for size in sizes))
    if groups is None:
        return None
    left = [() if size == 1 else groups.pop(0) for size in sizes]
    axes = tuple(map(tuple, (*left, *right)))
    margins, normal = layout.margins, []
    for axis in axes:
        kinds = [part.kind for part in axis]
        if len(axis) > 1 and kinds[0] in (ROWS, COLUMNS) and set(kinds[1:]) == {OTHER}:
            # Each cell is taken apart into smaller ones, in place.
            smaller = math.prod(part.size or 1 for part in axis[1:])
            size = axis[0].size and axis[0].size * smaller
            margins = _changed(margins, kinds[0], lambda m, _, times=smaller: m * times)
            axis = (Part(kinds[0], size),)
        elif len(axis) > 1 and set(kinds) == {OTHER}:
            axis = _other(math.prod(part.size or 1 for part in axis))
        normal.append(axis or _other(1))
    return Layout(tuple(normal), margins)


def _grouped(parts: list[Part], count: int) -> list[Axis] | None:
    """Parts as `count` axes of which the sizes are not all known; None if that is not clear."""
    if count == 1:
        return [tuple(parts)]
    if count == len(parts):
        return [(part,) for part in parts]
    # Cells that were repeated stand behind the row or column that they belong to.
    groups: list[Axis] = []
    for part in parts:
        if part.kind == OTHER and groups:
            groups[-1] = (*groups[-1], part)
        else:
            groups.append((part,))
    return groups if len(groups) == count else None


def _taken_from_end(parts: list[Part], size: int) -> list[Part] | None:
    """Takes parts of a total size off the end of a list; None if they do not fit."""
    axis: list[Part] = []
    while size > 1:
        if not parts:
            return None
        part = parts.pop()
        if part.size is None:
            return None
        if size % part.size == 0:
            axis.insert(0, part)
            size //= part.size
        elif part.size % size == 0 and part.kind == OTHER:
            axis.insert(0, Part(OTHER, size))
            parts.append(Part(OTHER, part.size // size))
            size = 1
        else:
            return None
    return axis


def _multiplied(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Matrix products: rows of the first factor, columns of the second."""
    first, second = "transpose_a", "transpose_b"
    if operation.type != "MatMul":
        first, second = "adj_x", "adj_y"
    names = ["...mk", "...kn"]
    if operation.get_attr(first):
        names[0] = "...km"
    if operation.get_attr(second):
        names[1] = "...nk"
    return _contracted(operation, inputs, output, names, "...mn")


def _einsum(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    left, right = operation.get_attr("equation").decode().replace(" ", "").split("->")
    return _contracted(operation, inputs, output, left.split(","), right)


def _contracted(
    operation: Any, inputs: _Inputs, output: tf.Tensor, names: list[str], result: str
) -> Layout | None:
    """Axes of a product by the letters of its factors; an ellipsis stands for leading axes."""
    spelled = []
    for i, letters in enumerate(names):
        rank = operation.inputs[i].shape.rank
        if rank is None:
            return None
        leading = rank - len(letters.replace("...", ""))
        # Leading axes are counted from the right, as in broadcasting.
        spelled.append([*map(str, range(leading, 0, -1)), *letters.replace("...", "")])
    leading = output.shape.rank - len(result.replace("...", ""))
    axes = []
    for i, letter in enumerate([*map(str, range(leading, 0, -1)), *result.replace("...", "")]):
        candidates = [
            layout.axes[letters.index(letter)]
            for layout, letters in zip(inputs.layouts, spelled, strict=False)
            if layout is not None and letter in letters
        ]
        candidates = [axis for axis in candidates if axis[0].size != 1] or candidates
        placed = [axis for axis in candidates if _has_positions(axis)]
        if len({tuple(part.kind for part in axis) for axis in placed}) > 1:
            return None
        axis = next(iter(placed or candidates), _other(output.shape[i]))
        axes.append(_sized(axis, output.shape[i]))
    placed_layouts = [layout for _, layout in inputs.dependent if layout.has_positions]
    return Layout(tuple(axes), _best(layout.margins for layout in placed_layouts))


def _called(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """A function of its own, in which Keras runs convolutions in groups."""
    body = operation.graph._get_function(operation.get_attr("f").name)
    if body is None or not hasattr(body, "graph"):
        return None
    found: Layouts = {body.graph.inputs[i].ref(): layout for i, layout in inputs.dependent}
    _follow(body.graph, found)
    inner = body.graph.outputs[output.value_index]
    # An output that does not depend on the images inside has no positions.
    return found.get(inner.ref(), _without_positions(output))


_SAME = (
    "Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BiasAdd BiasAddV1 BroadcastTo Cast "
    "Ceil CheckNumerics ClipByValue Cos Cosh Digamma Div DivNoNan Elu EnsureShape Equal Erf Erfc "
    "Erfinv Exp Expm1 FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars "
    "FakeQuantWithMinMaxVarsPerChannel Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 "
    "FusedBatchNormV3 Greater GreaterEqual Identity Inv IsFinite IsInf IsNan LRN LeakyRelu "
    "Less LessEqual Lgamma Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr Maximum Minimum "
    "Mod Mul MulNoNan Neg NextAfter NotEqual Pow PreventGradient QuantizeAndDequantizeV2 "
    "QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 RealDiv Reciprocal Relu Relu6 Rint Round "
    "Rsqrt Select SelectV2 Selu Sigmoid Sign Sin Sinh Snapshot Softmax Softplus Softsign Sqrt "
    "Square SquaredDifference StopGradient Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlogy"
)
_GROUPS: list[tuple[str, _Rule]] = [
    (_SAME, _same),
    (
        "AvgPool MaxPool Conv2D DepthwiseConv2dNative Conv2DBackpropInput",
        _window,
    ),
    (
        "DepthToSpace ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor "
        "ScaleAndTranslate SpaceToDepth",
        _scaled,
    ),
    ("BatchToSpaceND SpaceToBatchND", _to_and_from_batch),
    ("MirrorPad Pad PadV2", _padded),
    ("StridedSlice", _strided_slice),
    ("Slice", _slice),
    ("ReverseV2", _reversed),
    ("GatherV2", _gathered),
    ("ConcatV2", _joined),
    ("Pack", _packed),
    ("Split SplitV Unpack", _taken_apart),
    ("Tile", _tiled),
    ("Transpose", _transposed),
    ("All Any EuclideanNorm Max Mean Min Prod Sum", _reduced),
    ("ExpandDims Reshape Squeeze", _reshaped),
    ("BatchMatMul BatchMatMulV2 BatchMatMulV3 MatMul", _multiplied),
    ("Einsum", _einsum),
    ("PartitionedCall StatefulPartitionedCall", _called),
]
_RULES: dict[str, _Rule] = {name: rule for names, rule in _GROUPS for name in names.split()}
