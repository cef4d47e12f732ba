"""Chooses the layer that attention maps explain.

By default it is the last layer whose output is a grid of the image and through which every path
from the images to the logits leads.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from aad_tf.classifier.geometry import (
    Layouts,
    is_grid,
    is_tokens,
    lost_share,
    overhang,
)
from aad_tf.classifier.geometry_rules import layouts
from aad_tf.classifier.tracing import LayerCall, Trace
from aad_tf.utils.checks import near_names

# The largest share of the image that may be cut off before the attention layer, on either side.
_LARGEST_LOSS = 0.01

# The largest border around the image, in cells of the attention map. What is finer than half a
# cell a map cannot show.
_LARGEST_BORDER = 0.5

# Names of layers that a message lists.
_LONGEST_LIST = 12

# Operations that are linear in what depends on the images, where one of their inputs does.
_LINEAR = frozenset(
    {
        *("Add", "AddN", "AddV2", "BiasAdd", "Sub", "Sum", "Mean", "AvgPool", "MatMul", "Mul"),
        *("RealDiv", "Conv2D", "DepthwiseConv2dNative", "Pad", "PadV2", "Cast", "ConcatV2"),
        *("ExpandDims", "Identity", "Reshape", "Slice", "SpaceToDepth", "Squeeze", "StridedSlice"),
        "Transpose",
    }
)

_PADDING = frozenset({"MirrorPad", "Pad", "PadV2"})


class Paths:
    """Finds which layers attention maps can explain, by the paths from images to logits.

    A *reference* is what `ref()` of a symbolic tensor returns, by which sets hold tensors. A *grid*
    is a tensor `[batch, h, w, channels]` whose cells lie on the image row by row.

    Args:
        trace: a traced forward pass of the model.

    Attributes:
        trace: the argument.
        layouts: where on the image the cells of each tensor that depends on the images lie: a
            `Layout` by the tensor's reference, or None where it is not known.
        operations: TensorFlow operations that depend on the images, in their order.
        needed: references of the tensors from which the logits are computed.
        weighted: references of the tensors in whose computation a variable takes part.
        grids: calls of layers whose output is a grid of the image.
        eligible: those of `grids` that attention maps can explain: the output is computed with
            weights, is not made by padding or by a nested model, the logits depend on it, and it is
            that of the layer's last call.
        cuts: those of `eligible` through which every path from images to logits leads.
        outputs: outputs of all layer calls.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.layouts: Layouts = layouts(trace.graph, trace.images)
        self.operations = [
            operation
            for operation in trace.graph.get_operations()
            if any(tensor.ref() in self.layouts for tensor in operation.outputs)
        ]
        self.needed = self.before(trace.output)
        self.weighted = _computed_by_weights(trace.graph)
        last = {id(call.layer): call for call in trace.calls}
        self.grids = [call for call in trace.calls if is_grid(call.output, self.layouts)]
        # A layer that runs again off the way to the logits has the features of that last run. A
        # border shows nothing, and the convolution behind it may take it off again.
        self.eligible = [
            call
            for call in self.grids
            if not isinstance(call.layer, keras.Model)
            and last[id(call.layer)] is call
            and _past_identities(call.output).op.type not in _PADDING
            and call.output.ref() in self.weighted
            and call.output.ref() in self.needed
        ]
        cuts = self._cuts()
        self.outputs = [call.output for call in trace.calls]
        self.cuts = [call for call in self.eligible if call.output.ref() in cuts]

    def before(self, tensor: tf.Tensor, without: tf.Tensor | None = None) -> set[Any]:
        """Finds the tensors from which a tensor is computed.

        Args:
            tensor: a symbolic tensor of the traced forward pass.
            without: a tensor whose own inputs are left out, unless another path leads to them; None
                for no such tensor.

        Returns:
            References (`ref()`) of the tensors that depend on the images, `tensor` included.
        """
        needed = {tensor.ref()}
        for operation in reversed(self.operations):
            made = {output.ref() for output in operation.outputs} & needed
            if made and (without is None or made != {without.ref()}):
                needed.update(each.ref() for each in operation.inputs if each.ref() in self.layouts)
        return needed

    def _cuts(self) -> set[Any]:
        """References of the tensors that every path from images to logits goes through."""
        steps = [
            operation
            for operation in self.operations
            if any(tensor.ref() in self.needed for tensor in operation.outputs)
        ]
        last_use = {
            tensor.op: number
            for number, operation in enumerate(steps)
            for tensor in operation.inputs
            if tensor.ref() in self.needed
        }
        cuts, reach = set(), 0
        for number, operation in enumerate(steps):
            used = [output.ref() for output in operation.outputs if output.ref() in self.needed]
            if reach <= number and len(used) == 1:
                cuts.add(used[0])
            reach = max(reach, last_use.get(operation, 0))
        return cuts

    def beside(self, call: LayerCall) -> list[str]:
        """Finds layers that affect the logits on paths that avoid a given layer.

        Args:
            call: the call of the given layer. Layers on which its output depends are left out.

        Returns:
            Names of such layers in alphabetical order, of those whose output is a grid
            `[batch, h, w, channels]` of the image that attention maps can explain.
        """
        past = self.before(self.trace.output, without=call.output)
        before = self.before(call.output)
        return _names(
            other
            for other in self.eligible
            if other.output.ref() in past - before and other.layer is not call.layer
        )

    def candidates(self) -> list[str]:
        """Returns names of the layers that attention maps can explain, in the network's order.

        They are layers whose output is a grid `[batch, h, w, channels]` of the image and through
        which every path from images to logits leads; if there is none, layers with a grid through
        which some path leads. Layers are left out whose grid misses over 1 % of a side of the image
        or exceeds it by over half a cell.
        """
        calls = self.cuts or self.eligible
        placed = (call.layer.name for call in calls if not self.misplaced(call.output))
        return list(dict.fromkeys(placed))

    def misplaced(self, tensor: Any) -> bool:
        """Says whether the cells of a tensor cover less or more than the image.

        Args:
            tensor: anything.

        Returns:
            True if the tensor's grid misses over 1 % of the image's height or width on some side,
            or extends beyond a side by over half of one of its cells. False for what is not a
            tensor of which it is known where its cells lie.
        """
        layout = self.layouts.get(tensor.ref()) if tf.is_tensor(tensor) else None
        return layout is not None and (
            lost_share(layout) > _LARGEST_LOSS or overhang(layout) > _LARGEST_BORDER
        )

    def is_linear(self, tensor: tf.Tensor) -> bool:
        """Says whether a symbolic tensor is a linear function of the pixels, plus a constant.

        Args:
            tensor: a tensor of the traced forward pass.

        Returns:
            True if only operations that are known to be linear lead from the images to it, so also
            if it does not depend on the pixels; False where this is not known.
        """
        needed = self.before(tensor) - {self.trace.images.ref()}
        return all(
            operation.type in _LINEAR
            and (
                operation.type not in ("Mul", "RealDiv", "MatMul")
                or sum(each.ref() in self.layouts for each in operation.inputs) == 1
            )
            for operation in self.operations
            if any(output.ref() in needed for output in operation.outputs)
        )

    def first(self, holds: Callable[[tf.Tensor], bool]) -> str:
        """Describes, for an error message, the first operation whose output has a property.

        Args:
            holds: function that says of a tensor whether it has the property.

        Returns:
            Layer and type of the operation, such as `"layer 'crop' (StridedSlice)"`; if there is
            none, `"what comes before the attention layer"`.
        """
        operation = next((each for each in self.operations if any(map(holds, each.outputs))), None)
        if operation is None:
            return "what comes before the attention layer"
        inside = [
            call.layer.name
            for call in self.trace.calls
            if re.search(rf"(^|/){re.escape(call.layer.name)}(_\d+)?/", operation.name)
            and not isinstance(call.layer, keras.Model)
        ]
        name = f"layer {inside[0]!r}" if inside else f"operation {operation.name}"
        return f"{name} ({operation.type})"

    def tokens(self, tensor: Any) -> bool:
        """Says whether a tensor holds tokens: rows and columns of the image along one axis.

        Args:
            tensor: any output of a layer.

        Returns:
            True if one of at least three axes runs over rows and columns of the image. True also
            for a tensor of three axes that is computed with weights and of which it is not known
            where on the image its entries lie, for instance because a class token was added.
        """
        return is_tokens(tensor, self.layouts) or (
            self.unknown(tensor) and tensor.shape.rank == 3 and tensor.ref() in self.weighted
        )

    def unknown(self, tensor: Any) -> bool:
        """Says whether it is not known where on the image the cells of a tensor lie.

        Args:
            tensor: any output of a layer; False if it does not depend on the images.
        """
        return tf.is_tensor(tensor) and self.layouts.get(tensor.ref(), ()) is None


def attention_call(trace: Trace, name: str | None = None) -> LayerCall:
    """Finds the layer call whose output attention maps explain.

    Args:
        trace: a traced forward pass of the model.
        name: name of the layer; None for the last layer whose output is a grid of the image,
            `[batch, h, w, channels]`, and through which every path from images to logits leads.
            Layers that do nothing at inference, such as Dropout, are not taken. There is a warning
            if no layer is such or if later layers with a grid are left out.

    Returns:
        The layer and its symbolic output.

    Raises:
        ValueError: no such layer, no layer that maps can explain, or a grid that does not lie on
            the image, since the model crops or pads it.
    """
    paths = Paths(trace)
    call = _default_call(paths) if name is None else _named_call(paths, name)
    _refuse_misplaced(paths, call)
    return call


def _default_call(paths: Paths) -> LayerCall:
    first = [
        call.layer.name
        for call in paths.trace.calls
        if getattr(call.layer, "data_format", None) == "channels_first"
    ]
    if not paths.eligible:
        _refuse_channels_first(first)
        _refuse_hidden(paths.trace, paths.trace.hidden)
        if any(map(paths.unknown, paths.outputs)):
            raise ValueError(
                f"No layer of this model has spatial features [batch, height, width, channels] of "
                f"which it is known where on the image they lie: {paths.first(paths.unknown)} "
                f"moves them, or its effect is not known. If it prepares images, leave it out and "
                f"prepare them in tf.data, before the network."
            )
        raise ValueError(
            "No layer of this model has spatial features [batch, height, width, channels] on the "
            "way to the logits, so there is no attention map to compute. AAD needs a "
            "convolutional network."
        )
    call = (paths.cuts or paths.eligible)[-1]
    after = _from(call, paths.trace.calls)
    _refuse_channels_first([each.layer.name for each in after if each.layer.name in first])
    tokens = [
        each.layer.name
        for each in after
        if paths.tokens(each.output) and each.output.ref() in paths.needed
    ]
    if tokens and paths.is_linear(call.output):
        raise ValueError(
            f"No layer of this model has spatial features [batch, height, width, channels] beyond "
            f"a linear function of the pixels: later layers, from {tokens[0]!r} on, have tokens. "
            f"AAD needs a convolutional network, or one that begins with convolutions. To explain "
            f"that linear function all the same, name its layer (attention_layer=...): "
            f"{_last(paths.candidates())}."
        )
    _warn_of_parts(paths, call)
    return _maker(paths.trace, call)


def _warn_of_parts(paths: Paths, call: LayerCall) -> None:
    """Warns where the default layer is not all that decides, or not the last layer with a grid."""
    source = _past_identities(call.output)
    later = [
        other
        for other in _from(call, paths.eligible)
        if _past_identities(other.output) is not source
    ]
    unknown = [
        other
        for other in _from(call, paths.trace.calls)
        if paths.unknown(other.output)
        and other.output.shape.rank == 4
        and other.output.ref() in paths.needed & paths.weighted
    ]
    explained = f"Attention maps explain layer {call.layer.name!r}"
    if not paths.cuts:
        beside = paths.beside(call)
        past = f"what goes through {_listed(beside)}" if beside else "what goes past it"
        _warn(
            f"{explained}, but {past} decides too, and there is no layer with a grid that all goes "
            f"through. Name the layer to explain (attention_layer=...), or join the branches by a "
            f"layer while they have a grid."
        )
    elif later:
        _warn(
            f"{explained}, the last one with a grid that all goes through on the way from images "
            f"to logits: {_last(paths.candidates())}. Part of it goes past the later layers "
            f"{_listed(_names(later))}; name one (attention_layer=...) to explain its part."
        )
    elif unknown:
        _warn(
            f"{explained}. Where on the image the features of later layers lie "
            f"({_listed(_names(unknown))}) is not known after {paths.first(paths.unknown)}, "
            f"so they are left out."
        )


def _warn(message: str) -> None:
    # Points at the caller of Classifier.from_keras.
    warnings.warn(message, stacklevel=6)


def _named_call(paths: Paths, name: str) -> LayerCall:
    trace, candidates = paths.trace, paths.candidates()
    usable = [call for call in paths.grids if call.layer.name == name]
    _refuse_hidden(trace, [name])
    if not any(call.layer.name == name for call in trace.calls):
        raise ValueError(f"No layer is named {name!r}." + near_names(name, candidates))
    if not usable or usable[-1].output.ref() not in paths.needed:
        channels_first = [
            call.layer.name
            for call in trace.calls
            if call.layer.name == name
            and getattr(call.layer, "data_format", None) == "channels_first"
        ]
        _refuse_channels_first(channels_first)
        known = f" Candidates: {_last(candidates)}." if candidates else ""
        raise ValueError(
            f"Layer {name!r} gives no spatial grid [batch, height, width, channels] of the image "
            f"that reaches the logits.{known}"
        )
    if len(usable) > 1:
        others = [other for other in candidates if other != name]
        advice = f"Name another one: {_last(others)}." if others else "Use separate layers."
        raise ValueError(
            f"Layer {name!r} is called {len(usable)} times in one forward pass (shared, or several "
            f"layers of that name), so which output to explain is not clear. {advice}"
        )
    return usable[-1]


def _refuse_hidden(trace: Trace, names: list[str]) -> None:
    hidden = [name for name in names if name in trace.hidden]
    if hidden:
        raise ValueError(
            f"Layers {', '.join(hidden)} run inside a separate function (a tf.function around "
            f"call, tf.map_fn, tf.cond), where their outputs cannot be reached. Take it off: "
            f"attacks and defences compile the model themselves."
        )


def _refuse_channels_first(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"Layers {', '.join(dict.fromkeys(names))} are channels_first; attention maps need "
            f"features [batch, height, width, channels], and so do images. Build the network with "
            f"data_format='channels_last': kernels have the same shapes in either format, so "
            f"set_weights takes over those of convolutions and of layers after global pooling."
        )


def _refuse_misplaced(paths: Paths, call: LayerCall) -> None:
    layout = paths.layouts[call.output.ref()]
    if layout is None or not paths.misplaced(call.output):
        return
    misplaced = call.output
    while sources := list(filter(paths.misplaced, misplaced.op.inputs)):
        misplaced = sources[0]
    cause = paths.first(lambda tensor: tensor is misplaced)
    if lost_share(layout) > _LARGEST_LOSS:
        what = "cuts off part of the image (a crop)"
        action = "crop"
        effect = "would show only the rest of it, but be laid over all of it"
    else:
        what = "puts a border around the image (padding)"
        action = "pad"
        effect = "would show the border too, but be laid over the image alone"
    candidates = paths.candidates()
    before = f" Or name an attention layer before it: {_listed(candidates)}." if candidates else ""
    raise ValueError(
        f"{cause[0].upper()}{cause[1:]} {what}: attention maps of {call.layer.name!r} {effect}. "
        f"Leave it out and {action} the images in tf.data, before the network.{before}"
    )


def _computed_by_weights(graph: Any) -> set[Any]:
    """References of tensors in which a variable takes part, other than the state of a seed."""
    weighted: set[Any] = set()
    for operation in graph.get_operations():
        if operation.type == "ReadVariableOp":
            reads = operation.outputs[0].dtype.is_floating
        else:
            # A function that reads variables itself gets them as resources.
            reads = operation.type.endswith("PartitionedCall") and any(
                tensor.dtype == tf.resource for tensor in operation.inputs
            )
        if reads or any(tensor.ref() in weighted for tensor in operation.inputs):
            weighted.update(output.ref() for output in operation.outputs)
    return weighted


def _maker(trace: Trace, call: LayerCall) -> LayerCall:
    """The call that made the output of `call`, of layers that pass it on.

    In training a Dropout after it would hide parts of what the maps explain; an identity has no
    name that says where the network looks.
    """
    source = _past_identities(call.output)
    last_of_layer = {id(other.layer): other for other in trace.calls}
    for other in trace.calls:
        if (
            not isinstance(other.layer, keras.Model)
            and last_of_layer[id(other.layer)] is other
            and tf.is_tensor(other.output)
            and _past_identities(other.output) is source
        ):
            return other
    return call


def _past_identities(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _from(call: LayerCall, calls: list[LayerCall]) -> list[LayerCall]:
    """The calls from `call` on; tensors are compared by identity."""
    start = next(i for i, other in enumerate(calls) if other is call)
    return calls[start:]


def _names(calls: Iterable[LayerCall]) -> list[str]:
    return sorted({call.layer.name for call in calls})


def _listed(names: list[str]) -> str:
    return _last(list(map(repr, names)))


def _last(names: list[str]) -> str:
    """Names as text; of the hundreds of a deep network the last ones."""
    return ", ".join(names if len(names) <= _LONGEST_LIST else ["...", *names[-_LONGEST_LIST:]])
