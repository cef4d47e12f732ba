"""What a Keras model consists of, read off one traced forward pass.

Tracing, rather than walking the layer graph, treats Sequential, Functional, nested and
subclassed models alike.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

# Operations between attention layer and logits through which TensorFlow's second derivative
# is missing or silently wrong; Grad-CAM inside a loss needs that derivative.
UNSAFE_SECOND_ORDER_OPS = frozenset(
    {
        "ResizeBilinear",
        "ResizeBicubic",
        "ResizeNearestNeighbor",
        "ResizeArea",
        "ScaleAndTranslate",
        "CropAndResize",
        "ImageProjectiveTransformV3",
        "LRN",
        "FractionalMaxPool",
        "FractionalAvgPool",
    }
)

_patch_lock = threading.RLock()


class LayerCall(NamedTuple):
    """One call of a layer during a trace."""

    layer: keras.Layer
    output: Any


class Trace(NamedTuple):
    """A traced forward pass.

    Attributes:
        calls: layer calls in the order they finished.
        output: symbolic model output.
        graph: the TensorFlow graph that holds both.
    """

    calls: list[LayerCall]
    output: tf.Tensor
    graph: Any


@contextlib.contextmanager
def recording(layers: list[keras.Layer], record: Callable[[LayerCall], None]) -> Iterator[None]:
    """Calls `record` after every call of the given layers while the context is open."""
    with _patch_lock, contextlib.ExitStack() as stack:
        for layer in layers:
            original = layer.call
            layer.call = _recorded(layer, original, record)
            stack.callback(delattr, layer, "call")
        yield


def _recorded(layer: keras.Layer, original: Callable, record: Callable) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        record(LayerCall(layer, output))
        return output

    return call


@contextlib.contextmanager
def bypassed(layer: keras.Layer) -> Iterator[None]:
    """Makes `layer` return its input while the context is open."""
    with _patch_lock:
        layer.call = lambda inputs, *args, **kwargs: inputs
        try:
            yield
        finally:
            del layer.call


@contextlib.contextmanager
def linear_activation(layer: keras.Layer | None) -> Iterator[None]:
    """Replaces the activation of `layer` by the identity while the context is open."""
    if layer is None:
        yield
        return
    with _patch_lock:
        activation = layer.activation
        layer.activation = keras.activations.linear
        try:
            yield
        finally:
            layer.activation = activation


def leaf_layers(model: keras.Model) -> list[keras.Layer]:
    """Every layer inside `model`, nested ones included, that is not itself a model."""
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if not isinstance(layer, keras.Model)]


def all_layers(model: keras.Model) -> list[keras.Layer]:
    """Every layer and nested model inside `model`."""
    return list(model._flatten_layers(include_self=False))


def trace_forward(model: keras.Model, image_shape: tuple[int, ...], dtype: tf.DType) -> Trace:
    """Traces `model` once in inference mode and notes each layer's output."""
    calls: list[LayerCall] = []

    @tf.function(autograph=False)
    def forward(images: tf.Tensor) -> tf.Tensor:
        with recording(all_layers(model), calls.append):
            return model(images, training=False)

    concrete = forward.get_concrete_function(tf.TensorSpec((None, *image_shape), dtype))
    output = concrete.outputs[0]
    # A function's return value is an Identity of the tensor the model returned.
    return Trace(calls, output, concrete.graph)


def operations_between(trace: Trace, features: tf.Tensor) -> list[Any]:
    """Operations on some path from `features` to the model output; empty if there is none."""
    reached = {features.ref()}
    downstream = []
    for operation in trace.graph.get_operations():
        if any(tensor.ref() in reached for tensor in operation.inputs):
            downstream.append(operation)
            reached.update(tensor.ref() for tensor in operation.outputs)
    needed = {trace.output.ref()}
    between = []
    for operation in reversed(downstream):
        if any(tensor.ref() in needed for tensor in operation.outputs):
            between.append(operation)
            needed.update(tensor.ref() for tensor in operation.inputs)
    return between[::-1] if features.ref() in needed else []


def producer_type(tensor: tf.Tensor) -> str:
    """Type of the operation that made `tensor`, past casts and identities."""
    operation = tensor.op
    while operation.type in ("Identity", "Cast", "StopGradient") and operation.inputs:
        operation = operation.inputs[0].op
    return operation.type


def final_softmax_layer(trace: Trace) -> keras.Layer | None:
    """The layer whose activation ends the model in a softmax, if it can be taken off."""
    outermost = [
        call
        for call in trace.calls
        if not isinstance(call.layer, keras.Model)
        and tf.is_tensor(call.output)
        and _same_source(call.output, trace.output)
    ]
    for call in outermost:
        if getattr(call.layer, "activation", None) is keras.activations.softmax:
            return call.layer
        if isinstance(call.layer, keras.layers.Softmax):
            return call.layer
    return None


def _same_source(tensor: tf.Tensor, output: tf.Tensor) -> bool:
    while output.op.type in ("Identity", "Cast") and output.ref() != tensor.ref():
        output = output.op.inputs[0]
    return output.ref() == tensor.ref()
