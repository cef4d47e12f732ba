"""What a Keras model consists of, read off one traced forward pass.

Tracing, rather than walking the layer graph, treats Sequential, Functional, nested and
subclassed models alike. Layers are watched while they run and never changed: whatever their owner
has put on a layer or its class stays there and takes part.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from aad_tf.utils.checks import near_names

# From a layer and its call, still to be made, to the output that the caller of the layer gets.
Around = Callable[[keras.Layer, Callable[[], Any]], Any]


class _Watcher(NamedTuple):
    layers: frozenset[int]
    around: Around


# A context variable, since replicas of one strategy call the same layers in separate threads.
# A lock would not do: replicas that wait for each other inside a call would never meet.
_watchers: contextvars.ContextVar[tuple[_Watcher, ...]] = contextvars.ContextVar(
    "watchers", default=()
)


class LayerCall(NamedTuple):
    """One call of a layer during a trace."""

    layer: keras.Layer
    output: Any


class Trace(NamedTuple):
    """A traced forward pass.

    Attributes:
        calls: layer calls in the order they finished.
        hidden: layers that ran only inside other functions, where outputs cannot be reached.
        images: symbolic images that go in.
        output: symbolic model output.
        graph: the TensorFlow graph that holds them.
    """

    calls: list[LayerCall]
    hidden: list[str]
    images: tf.Tensor
    output: tf.Tensor
    graph: Any


@contextlib.contextmanager
def around_calls(layers: Sequence[keras.Layer], around: Around) -> Iterator[None]:
    """Lets `around` make the calls of some layers, in this thread, while the context is open.

    Args:
        layers: layers or models.
        around: gets the layer and a function that makes the call; returns the output. Of nested
            contexts the inner one gets what the outer one returns.

    Example:
        >>> def doubled(layer, call):
        ...     return 2 * call()
        >>> with around_calls([layer], doubled):
        ...     outputs = model(images)
    """
    watcher = _Watcher(frozenset(map(id, layers)), around)
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


_original_call = keras.Operation.__call__


@functools.wraps(_original_call)
def _watched_call(self: Any, *args: Any, **kwargs: Any) -> Any:
    """`keras.Operation.__call__` that looks for watchers; without one it is the original."""
    call = functools.partial(_original_call, self, *args, **kwargs)
    for watcher in _watchers.get():
        if id(self) in watcher.layers:
            call = functools.partial(watcher.around, self, call)
    return call()


# Every layer's __call__ ends here, also one that was replaced; Keras 3 has no hooks on layers.
keras.Operation.__call__ = _watched_call


@contextlib.contextmanager
def recording(layers: Sequence[keras.Layer], record: Callable[[LayerCall], None]) -> Iterator[None]:
    """Calls `record` after every call of the given layers, in this thread, while it is open."""

    def recorded(layer: keras.Layer, call: Callable[[], Any]) -> Any:
        output = call()
        record(LayerCall(layer, output))
        return output

    with around_calls(layers, recorded):
        yield


def trace_forward(
    model: keras.Model,
    image_shape: tuple[int | None, ...],
    dtype: tf.DType,
    run: Callable[[tf.Tensor], tf.Tensor],
) -> Trace:
    """Traces `run`, a call of `model` in inference mode, and notes each layer's output."""
    calls: list[LayerCall] = []

    @tf.function(autograph=False)
    def forward(images: tf.Tensor) -> tf.Tensor:
        with recording(list(model._flatten_layers(include_self=False)), calls.append):
            return run(images)

    concrete = forward.get_concrete_function(tf.TensorSpec((None, *image_shape), dtype))
    # A layer that is built on the way also runs once in a scratch graph.
    inside = [
        call
        for call in calls
        if all(
            tensor.graph is concrete.graph
            for tensor in tf.nest.flatten(call.output)
            if tf.is_tensor(tensor)
        )
    ]
    hidden = {call.layer.name for call in calls} - {call.layer.name for call in inside}
    images, output = concrete.inputs[0], concrete.outputs[0]
    return Trace(inside, sorted(hidden), images, output, concrete.graph)


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


def computed_by_weights(tensor: tf.Tensor) -> bool:
    """Whether a variable takes part in `tensor`; if not, it is the images in another form."""
    waiting, seen = [tensor.op], set()
    while waiting:
        operation = waiting.pop()
        if operation.type == "ReadVariableOp":
            return True
        if operation not in seen:
            seen.add(operation)
            waiting.extend(source.op for source in operation.inputs)
    return False


def attention_call(trace: Trace, name: str | None = None) -> LayerCall:
    """The call whose output attention maps explain.

    Args:
        trace: of the model.
        name: of the layer; None takes the last layer with a spatial grid that reaches the logits,
            but none that only passes its input on at inference, such as Dropout.

    Raises:
        ValueError: no such layer, or none that can be explained.
    """
    spatial = [call for call in trace.calls if _is_grid(call.output)]
    if name is not None:
        return _named_call(trace, spatial, name)
    last_of_layer = {id(call.layer): call for call in trace.calls}
    for call in reversed(spatial):
        if (
            not isinstance(call.layer, keras.Model)
            # A layer that runs again off the way to the logits has the features of that last run.
            and last_of_layer[id(call.layer)] is call
            and computed_by_weights(call.output)
            and operations_between(trace, call.output)
        ):
            return _maker(trace, call)
    _refuse_hidden(trace, trace.hidden)
    raise ValueError(
        "No layer of this model has spatial features [batch, height, width, channels] on the way "
        "to the logits, so there is no attention map to compute. AAD needs a convolutional network."
    )


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


def _refuse_hidden(trace: Trace, names: list[str]) -> None:
    hidden = [name for name in names if name in trace.hidden]
    if hidden:
        raise ValueError(
            f"Layers {', '.join(hidden)} run inside a separate function (a tf.function around "
            f"call, tf.map_fn, tf.cond), where their outputs cannot be reached. Take it off: "
            f"attacks and defences compile the model themselves."
        )


def _is_grid(output: Any) -> bool:
    """Whether a layer's output is a grid of more than one cell, as far as is known."""
    if not tf.is_tensor(output) or output.shape.rank != 4 or not output.dtype.is_floating:
        return False
    height, width = output.shape[1], output.shape[2]
    return height is None or height * (width or 1) > 1


def _named_call(trace: Trace, spatial: list[LayerCall], name: str) -> LayerCall:
    candidates = {call.layer.name for call in spatial if not isinstance(call.layer, keras.Model)}
    usable = [call for call in spatial if call.layer.name == name]
    _refuse_hidden(trace, [name])
    if not any(call.layer.name == name for call in trace.calls):
        raise ValueError(f"No layer is named {name!r}." + near_names(name, candidates))
    if not usable or not operations_between(trace, usable[-1].output):
        raise ValueError(
            f"Layer {name!r} gives no spatial grid [batch, height, width, channels] that reaches "
            f"the logits. Candidates: {', '.join(sorted(candidates))}."
        )
    if len(usable) > 1:
        others = sorted(candidates - {name})
        advice = f"Name another one: {', '.join(others)}." if others else "Use separate layers."
        raise ValueError(
            f"Layer {name!r} is called {len(usable)} times in one forward pass (shared, or several "
            f"layers of that name), so which output to explain is not clear. {advice}"
        )
    return usable[-1]
