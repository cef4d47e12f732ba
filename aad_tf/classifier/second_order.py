"""Refuses operations whose derivatives are missing or wrong in TensorFlow, and corrects one.

A loss of Grad-CAM maps is differentiated by the weights, so all operations between the attention
layer and the logits are differentiated twice. `refuse_unsafe_operations` refuses those of
`UNSAFE_SECOND_ORDER_OPS`. `exact_moments` corrects `tf.nn.moments`, whose second derivative leaves
out a term (importing this module replaces that function by one which differs inside the context
alone); a graph that was traced with TensorFlow's own `tf.nn.moments` is refused, unless that stands
inside a `tf.function` or a loop of the network. `refuse_missing_gradients` refuses networks whose
first derivatives do not reach the attention layer, and finds those whose do not reach the images.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from aad_tf.classifier.tracing import LayerCall, Trace, operations_between

# Operations whose second derivative is missing or silently incorrect.
UNSAFE_SECOND_ORDER_OPS = frozenset(
    {
        "ResizeBilinear",
        "ResizeBicubic",
        # UpSampling2D with nearest interpolation repeats cells instead, which is safe.
        "ResizeNearestNeighbor",
        "ResizeArea",
        "ScaleAndTranslate",
        "CropAndResize",
        "ImageProjectiveTransformV3",
        "LRN",
        "FractionalMaxPool",
        "FractionalAvgPool",
        "MaxPoolWithArgmax",
        "Dilation2D",
        "Softsign",
    }
)

# Operations that pass a gradient on to all their floating-point inputs.
_PASS_GRADIENTS_ON = frozenset(
    {
        *("Add", "AddN", "AddV2", "AvgPool", "BatchMatMulV2", "BiasAdd", "Cast", "ConcatV2"),
        *("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "Einsum", "Elu", "Erf", "Erfc"),
        *("Exp", "ExpandDims", "FusedBatchNormV3", "Identity", "LeakyRelu", "MatMul", "Max"),
        *(
            "MaxPool",
            "Maximum",
            "Mean",
            "Minimum",
            "MirrorPad",
            "Mul",
            "Neg",
            "Pad",
        ),
        *("RealDiv", "Relu", "Relu6", "Reshape", "Rsqrt", "Sigmoid", "Softmax", "Softplus"),
        *("Sqrt", "Square", "SquaredDifference", "Squeeze", "StridedSlice", "Sub", "Sum"),
        *("Tanh", "Transpose"),
    }
)
# Backward pass differentiable approximation: leaves the defence as it is.
_BPDA = (
    "Give the operation a gradient by tf.custom_gradient, to rounding for instance that of the "
    "identity, straight through it (BPDA, Athalye et al. 2018)"
)
_DIFFERENTIABLE = frozenset({tf.float16, tf.bfloat16, tf.float32, tf.float64})

# Whether moments are exact in this thread. A lock over the call would keep apart replicas that
# wait for each other inside it, as synchronized BatchNormalization does.
_exact: contextvars.ContextVar[bool] = contextvars.ContextVar("exact", default=False)


@contextlib.contextmanager
def exact_moments() -> Iterator[None]:
    """Context manager in which `tf.nn.moments` has a correct second derivative, in this thread.

    TensorFlow's own function stops the gradient at the mean inside the variance. The term that is
    left out is zero in the first derivative, but not in the second, which is therefore wrong for
    LayerNormalization, GroupNormalization, and BatchNormalization in training mode.

    Example:
        >>> with exact_moments():
        ...     mean, variance = tf.nn.moments(tf.constant([1.0, 3.0]), axes=0)
    """
    token = _exact.set(True)
    try:
        yield
    finally:
        _exact.reset(token)


_original_moments = tf.nn.moments


@functools.wraps(_original_moments)
def _moments(
    x: tf.Tensor, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.nn.moments` as it was, but exact where a context of `exact_moments` is open."""
    # Shift has no effect in TensorFlow's own function either.
    if not _exact.get():
        return _original_moments(x, axes, shift, keepdims, name)
    with tf.name_scope(name or "moments"):
        values = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
        mean = tf.reduce_mean(values, axes, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(values, mean), axes, keepdims=True)
        if not keepdims:
            mean, variance = tf.squeeze(mean, axes), tf.squeeze(variance, axes)
        return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


tf.nn.moments = _moments


def refuse_unsafe_operations(trace: Trace, call: LayerCall) -> None:
    """Checks that operations from the attention layer to the logits can be differentiated twice.

    The gradient of a loss on attention maps takes second derivatives of these operations. Refused
    are those of which TensorFlow has no second derivative or a wrong one: resizing (bilinear,
    bicubic, nearest, by area, antialiased), cropping and projecting images, local response
    normalization by `tf.nn.lrn`, fractional max and average pooling, max pooling that returns
    positions, dilation and softsign, and moments traced outside of `exact_moments`. In functions
    and loop bodies that the network calls, such moments are not recognised.

    Args:
        trace: a traced forward pass of the model.
        call: the layer that attention maps explain, and its symbolic output.

    Raises:
        ValueError: the second derivative of some operations is missing or wrong in TensorFlow; the
            message names them.
    """
    unsafe = [
        f"{name} ({kind})"
        for operation in operations_between(trace, call.output)
        for name, kind in _unsafe_parts(operation)
    ]
    if unsafe:
        raise ValueError(
            f"Between attention layer {call.layer.name!r} and the logits stand operations whose "
            f"second derivative TensorFlow leaves out or gets wrong: {', '.join(unsafe)}. Choose "
            f"an attention layer after them (attention_layer=...), or replace them by "
            f"convolution, pooling, transposed convolution, UpSampling2D with nearest "
            f"interpolation or BatchNormalization."
        )


def refuse_missing_gradients(trace: Trace, call: LayerCall) -> str:
    """Checks that gradients of the logits reach the attention layer, and looks for the images.

    Where they end before the images, as in a network that rounds its pixels, attention maps can be
    computed, and so can attacks that use no gradient of this network. So that is not refused here,
    but by attacks that need the gradient, with the error that `no_gradient` words.

    It may add operations to the graph of the trace, so call it after other checks of the graph.

    Args:
        trace: a traced forward pass of the model.
        call: the layer that attention maps explain, and its symbolic output.

    Returns:
        The operations where gradients on the way to the images end, as text; empty if the gradients
        arrive.

    Raises:
        ValueError: no gradient arrives at the attention layer, or an operation has none in
            TensorFlow and fails; the message names the operations.
    """
    images = _ends_before(trace, trace.images)
    if ends := _ends_before(trace, call.output):
        raise ValueError(
            f"No gradient of the logits reaches {'the images or ' if images else ''}layer "
            f"{call.layer.name!r}, which attention maps need: it ends at {ends}. "
            f"{_BPDA}. Or choose an attention layer behind it, by attention_layer=..."
        )
    return images


def no_gradient(ends: str) -> str:
    """Words the error of an attack that needs gradients by the images where there are none.

    Args:
        ends: names of the operations where the gradients end; empty if they are not known.

    Returns:
        Sentences that say what is missing and which attacks there are.
    """
    where = f": it ends at {ends}" if ends else ""
    return (
        f"No gradient of the logits reaches the images, which this attack follows{where}. {_BPDA}. "
        f"Or take attacks that need no gradient of this network: aad_tf.attacks.square(epsilon), "
        f"or any attack with the gradients of another one, evaluate_robustness(..., surrogate=...)."
    )


def _ends_before(trace: Trace, tensor: tf.Tensor) -> str:
    """Where gradients of the logits end on the way to a tensor; empty if they arrive."""
    if _surely_arrives(trace, tensor) or _gradients(trace, [tensor])[0] is not None:
        return ""
    return ", ".join(_dead_ends(trace, tensor))


def _surely_arrives(trace: Trace, tensor: tf.Tensor) -> bool:
    """Whether a gradient reaches `tensor` for sure, seen from one operation at a time.

    To build the gradient of a deep network takes as long as to trace it.
    """
    reached = {tensor.ref()}
    for operation in operations_between(trace, tensor):
        made = [each for each in operation.outputs if each.dtype in _DIFFERENTIABLE]
        read = [each for each in _inputs(operation) if each.dtype in _DIFFERENTIABLE]
        if made and read and not _passes_gradients_on(operation):
            try:
                with trace.graph.as_default():
                    gradients = tf.gradients(made, read)
            except LookupError:
                return False
            pairs = zip(read, gradients, strict=True)
            read = [each for each, gradient in pairs if gradient is not None]
        if any(each.ref() in reached for each in read):
            reached.update(each.ref() for each in made)
    return trace.output.ref() in reached


def _passes_gradients_on(operation: Any) -> bool:
    """Whether TensorFlow's own gradient is known to reach all inputs of an operation."""
    if operation.type not in _PASS_GRADIENTS_ON:
        return False
    # Where a gradient was put in place of it, it has another name in the registry.
    return "_gradient_op_type" not in operation.node_def.attr


def _inputs(operation: Any) -> Sequence[tf.Tensor]:
    """What an operation reads, but for statistics by which none is differentiated."""
    return operation.inputs[:3] if operation.type == "FusedBatchNormV3" else operation.inputs


def _gradients(trace: Trace, tensors: list[tf.Tensor]) -> list[tf.Tensor | None]:
    try:
        with trace.graph.as_default():
            return tf.gradients(trace.output, tensors)
    except LookupError as error:
        what = str(error).partition(". ")[0]
        raise ValueError(
            f"Attacks need the gradient of the logits by the images, and an operation of this "
            f"model has none in TensorFlow ({what}). {_BPDA}. Or run it before the network."
        ) from error


def _dead_ends(trace: Trace, tensor: tf.Tensor) -> list[str]:
    """Operations behind `tensor` whose outputs have a gradient, and whose inputs have none."""
    operations = operations_between(trace, tensor)
    tensors = {
        each.ref(): each
        for operation in operations
        for each in (*operation.inputs, *operation.outputs)
        if each.dtype.is_floating
    }
    gradients = _gradients(trace, list(tensors.values()))
    reached = {
        ref for ref, gradient in zip(tensors, gradients, strict=True) if gradient is not None
    }
    return [
        f"{operation.name} ({operation.type})"
        for operation in operations
        if any(each.ref() in reached for each in operation.outputs)
        and not any(each.ref() in reached for each in operation.inputs)
    ]


def _unsafe_parts(operation: Any) -> list[tuple[str, str]]:
    """Name and type of what is unsafe in an operation, or in a function or loop body it runs."""
    if operation.type in UNSAFE_SECOND_ORDER_OPS:
        return [(operation.name, operation.type)]
    if operation.type == "SquaredDifference" and any(
        tensor.op.type == "StopGradient" for tensor in operation.inputs
    ):
        return [(operation.name, "moments")]
    return [
        (operation.name, kind) for kind in sorted(_inner_types(operation) & UNSAFE_SECOND_ORDER_OPS)
    ]


def _inner_types(operation: Any) -> set[str]:
    """Types of all operations in the functions that an operation calls."""
    called = _called_functions(operation.node_def)
    if not called:
        return set()
    library = {
        function.signature.name: function
        for function in operation.graph.as_graph_def(add_shapes=False).library.function
    }
    types: set[str] = set()
    seen: set[str] = set()
    while called:
        name = called.pop()
        if name in seen or name not in library:
            continue
        seen.add(name)
        for node in library[name].node_def:
            types.add(node.op)
            called |= _called_functions(node)
    return types


def _called_functions(node: Any) -> set[str]:
    names = {value.func.name for value in node.attr.values() if value.HasField("func")}
    for value in node.attr.values():
        names.update(function.name for function in value.list.func)
    return names
