"""Rules for how TensorFlow operations change the layout of a tensor on the image.

`layouts` applies them to a graph. The output of an operation without a rule has no known layout,
unless none of its inputs has axes over rows or columns of the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.classifier.geometry import (
    BATCH,
    COLUMNS,
    OTHER,
    ROWS,
    Axis,
    Layout,
    Layouts,
    Margins,
    Part,
    best_margins,
    changed,
    has_positions,
    is_fixed,
    moved_out,
    other_axis,
    scaled,
    sized,
    without_positions,
)

_Rule = Callable[[Any, "_Inputs", tf.Tensor], Layout | None]


def image_layout(images: tf.Tensor) -> Layout:
    """Describes images `[batch, H, W, C]` by a `Layout`: where on the image a tensor's cells lie.

    Args:
        images: a symbolic tensor `[batch, H, W, C]`.

    Returns:
        A layout whose `axes` say what each axis runs over, and its size: the batch, rows, columns,
        or else (the channels). Its `margins`, cells by which it extends beyond the image on each
        side, are all 0.
    """
    kinds = (BATCH, ROWS, COLUMNS, OTHER)
    return Layout(tuple((Part(*pair),) for pair in zip(kinds, images.shape, strict=True)))


def layouts(graph: Any, images: tf.Tensor) -> Layouts:
    """Finds which axes of the tensors of a graph run over rows and columns of the images.

    Args:
        graph: a TensorFlow graph.
        images: a tensor of the graph, `[batch, height, width, channels]`.

    Returns:
        A dictionary with an entry for each tensor that depends on the values of `images`, by its
        reference `tensor.ref()`: its `Layout` (what each axis runs over), or None if not known.
    """
    found: Layouts = {images.ref(): image_layout(images)}
    _follow(graph, found)
    return found


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
        return without_positions(output)
    rule = _RULES.get(operation.type)
    return None if rule is None else rule(operation, inputs, output)


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
        placed = [axis for axis in candidates if has_positions(axis)]
        if len({tuple(part.kind for part in axis) for axis in placed}) > 1:
            return None
        axis = next(iter(placed or candidates), other_axis(output.shape[i]))
        axes.append(sized(axis, output.shape[i]))
    margins = best_margins(each.margins for _, each in sources if each.has_positions)
    return Layout(tuple(axes), margins)


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
    axes[channels] = sized(axes[channels], output.shape[channels])
    if not pools:
        axes[channels] = other_axis(output.shape[channels])
    for place, axis in enumerate((order.index("H"), order.index("W"))):
        if pools:
            extent = operation.get_attr("ksize")[axis] - 1
        else:
            dilation = operation.get_attr("dilations")[axis]
            extent = ((operation.inputs[1].shape[place] or 1) - 1) * dilation
        stride = operation.get_attr("strides")[axis]
        parts = axes[axis]
        if not has_positions(parts):
            axes[axis] = other_axis(output.shape[axis])
            continue
        if len(parts) > 1:
            if extent or stride > 1:
                return None
            continue
        padding = operation.get_attr("padding")
        added = [0, 0]
        if padding == b"EXPLICIT" and not transposed:
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

        margins = changed(margins, parts[0].kind, moved)
        axes[axis] = sized(parts, output.shape[axis])
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
    axes[3] = other_axis(output.shape[3])
    for axis in (1, 2):
        if len(axes[axis]) > 1:
            return None
        before, after = source.shape[axis], output.shape[axis]
        if has_positions(axes[axis]):
            scale = after / before if before and after else 1.0
            margins = scaled(margins, axes[axis][0].kind, scale)
        axes[axis] = sized(axes[axis], after)
    return Layout(tuple(axes), margins)


def _to_and_from_batch(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """What TensorFlow puts around a dilated convolution; the second one undoes the first."""
    layout = inputs.layouts[0]
    if layout is None or any(len(axis) > 1 for axis in layout.axes):
        return None
    pairs = zip(layout.axes, output.shape, strict=True)
    return Layout(tuple(sized(axis, size) for axis, size in pairs), layout.margins)


def _padded(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, amounts = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or amounts is None or len(inputs.dependent) != 1:
        return None
    axes, margins = list(layout.axes), layout.margins
    for i, axis in enumerate(axes):
        added = amounts[2 * i : 2 * i + 2]
        if is_fixed(axis):
            if added != [0, 0] and (len(axis) > 1 or None in added or axis[0].kind == BATCH):
                return None
            if added != [0, 0]:
                margins = moved_out(margins, axis[0].kind, added)
        axes[i] = sized(axis, output.shape[i])
    return Layout(tuple(axes), margins)


def _cut(
    axis: Axis, margins: Margins, span: tuple[int | None, int | None], sizes: tuple
) -> Margins | None:
    """Margins after `span` cells are left out at the two ends of an axis; None if not known.

    Numbers of `span` that are not known are None. `sizes` are those of the axis before and after.
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
    return moved_out(margins, axis[0].kind, (-(span[0] or 0), -(span[1] or 0)))


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
            axes.append(other_axis(1))
        elif bits["shrink_axis"][i]:
            if layout.axes[at][0].kind == BATCH:
                return None
            at += 1
        else:
            axis, size, out = layout.axes[at], source.shape[at], output.shape[len(axes)]
            at += 1
            if is_fixed(axis):
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
                    margins = scaled(margins, axis[0].kind, 1 / stride)
            axes.append(sized(axis, out) if is_fixed(axis) else other_axis(out))
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
        if is_fixed(axis):
            taken = None if None in (size, sizes[i], begins[i]) else size - sizes[i] - begins[i]
            end = 0 if sizes[i] == -1 else taken
            cut = _cut(axis, margins, (begins[i], end), (size, out))
            if cut is None:
                return None
            margins = cut
            axes[i] = sized(axis, out)
        else:
            axes[i] = other_axis(out)
    return Layout(tuple(axes), margins)


def _reversed(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, turned = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or turned is None:
        return None
    kept = all(not is_fixed(layout.axes[i]) for i in turned)
    return layout if kept else None


def _gathered(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, where = inputs.layouts[0], _static(operation.inputs[2])
    if layout is None or len(inputs.dependent) > 1 or where is None:
        return None
    axis = layout.axes[where[0]]
    if is_fixed(axis) or output.shape.rank != len(layout.axes):
        return None
    axes = list(layout.axes)
    axes[where[0]] = other_axis(output.shape[where[0]])
    return layout._replace(axes=tuple(axes))


def _joined(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """Concatenation: of channels, or of the image with a border that does not depend on it."""
    where = _static(operation.inputs[-1])
    if where is None:
        return None
    place = where[0] % output.shape.rank
    axis_of = [layout.axes[place] for _, layout in inputs.dependent]
    if not any(is_fixed(axis) for axis in axis_of):
        merged = _same(operation, inputs, output)
        if merged is None:
            return None
        axes = list(merged.axes)
        axes[place] = other_axis(output.shape[place])
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
    axes[place] = sized(axes[place], output.shape[place])
    margins = moved_out(layout.margins, axis_of[0][0].kind, added)
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
    axes.insert(place, other_axis(output.shape[place]))
    return Layout(tuple(axes), best_margins(layout.margins for _, layout in inputs.dependent))


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
    if is_fixed(axes[place]):
        return None
    axes[place : place + 1] = (
        [] if operation.type == "Unpack" else [other_axis(output.shape[place])]
    )
    return layout._replace(axes=tuple(axes))


def _tiled(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    layout, times = inputs.layouts[0], _static(operation.inputs[1])
    if layout is None or times is None:
        return None
    axes = list(layout.axes)
    for i, axis in enumerate(axes):
        if times[i] == 1:
            continue
        if is_fixed(axis):
            return None
        axes[i] = other_axis(output.shape[i])
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
        other_axis(1) if i in gone else axis
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
    sizes: list[int | None] = list(output.shape)
    right: list[Axis] = []
    if None in sizes and operation.type == "Reshape":
        computed = _static(operation.inputs[1])
        if computed is not None:
            computed = [None if size == -1 else size for size in computed]
            sizes = [known or size for known, size in zip(sizes, computed, strict=True)]
    while sizes and sizes[-1] is not None:
        taken = _taken_from_end(parts, sizes.pop())
        if taken is None:
            return None
        right.insert(0, tuple(taken))
    groups = _grouped(parts, sum(size != 1 for size in sizes))
    if groups is None:
        return None
    left = [() if size == 1 else groups.pop(0) for size in sizes]
    margins = layout.margins
    normal: list[Axis] = []
    for axis in (*left, *right):
        kinds = [part.kind for part in axis]
        if len(axis) > 1 and kinds[0] in (ROWS, COLUMNS) and set(kinds[1:]) == {OTHER}:
            # Each cell is taken apart into smaller ones, in place.
            smaller = math.prod(part.size or 1 for part in axis[1:])
            size = axis[0].size and axis[0].size * smaller
            margins = scaled(margins, kinds[0], smaller)
            axis = (Part(kinds[0], size),)
        elif len(axis) > 1 and set(kinds) == {OTHER}:
            axis = other_axis(math.prod(part.size or 1 for part in axis))
        normal.append(axis or other_axis(1))
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


def _taken_from_end(parts: list[Part], size: Any) -> list[Part] | None:
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
        placed = [axis for axis in candidates if has_positions(axis)]
        if len({tuple(part.kind for part in axis) for axis in placed}) > 1:
            return None
        axis = next(iter(placed or candidates), other_axis(output.shape[i]))
        axes.append(sized(axis, output.shape[i]))
    placed_layouts = [layout for _, layout in inputs.dependent if layout.has_positions]
    return Layout(tuple(axes), best_margins(layout.margins for layout in placed_layouts))


def _called(operation: Any, inputs: _Inputs, output: tf.Tensor) -> Layout | None:
    """A function of its own, in which Keras runs convolutions in groups."""
    body = operation.graph._get_function(operation.get_attr("f").name)
    if body is None or not hasattr(body, "graph"):
        return None
    found: Layouts = {body.graph.inputs[i].ref(): layout for i, layout in inputs.dependent}
    _follow(body.graph, found)
    inner = body.graph.outputs[output.value_index]
    # An output that does not depend on the images inside has no positions.
    return found.get(inner.ref(), without_positions(output))


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
