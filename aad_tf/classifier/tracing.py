"""What a Keras model consists of, read off one traced forward pass.

Tracing, rather than walking the layer graph, treats Sequential, Functional, nested and
subclassed models alike. Layers are watched while they run and never changed: whatever their owner
has put on a layer or its class stays there and takes part.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

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
    """One call of a layer, or of an operation of a Functional model, during a trace."""

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
        function: the pass compiled, from images to the output, for any batch size.
    """

    calls: list[LayerCall]
    hidden: list[str]
    images: tf.Tensor
    output: tf.Tensor
    graph: Any
    function: Any


@contextlib.contextmanager
def around_calls(
    layers: Sequence[keras.Layer], around: Around, closest: bool = False
) -> Iterator[None]:
    """Lets `around` make the calls of some layers, in this thread, while the context is open.

    Args:
        layers: layers or models.
        around: gets the layer and a function that makes the call; returns the output. Of nested
            contexts the inner one gets what the outer one returns.
        closest: the other way round: those of outer contexts get what this one returns.

    Example:
        >>> def doubled(layer, call):
        ...     return 2 * call()
        >>> with around_calls([layer], doubled):
        ...     outputs = model(images)
    """
    watcher = _Watcher(frozenset(map(id, layers)), around)
    others = _watchers.get()
    token = _watchers.set((watcher, *others) if closest else (*others, watcher))
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


@contextlib.contextmanager
def called_in_parts(
    layers: Sequence[keras.Layer],
    count: int,
    before: Callable[[keras.Layer], Callable[[], None]],
) -> Iterator[None]:
    """Calls layers on equal parts of their batch, one after the other, while the context is open.

    Args:
        layers: layers that return a tensor.
        count: number of parts.
        before: called with the layer before the parts; what it returns is called before each.

    Example:
        >>> with called_in_parts([dropout], 2, lambda layer: lambda: print("next part")):
        ...     outputs = model(tf.concat([images, others], axis=0), training=True)
    """

    def parts_of(layer: keras.Layer, call: Any) -> Any:
        # The partial call that `_watched_call` begins with.
        arguments, options = list(call.args[1:]), dict(call.keywords)
        inputs = arguments.pop(0) if arguments else options.pop("inputs")
        prepare, outputs = before(layer), []
        for part in tf.split(inputs, count):
            prepare()
            outputs.append(call.func(layer, part, *arguments, **options))
        return tf.concat(outputs, axis=0)

    with around_calls(layers, parts_of, closest=True):
        yield


def layers_and_operations(model: keras.Model) -> list[keras.Layer]:
    """All layers at any depth, and the operations of Functional models, without the model itself.

    `x * gate` makes an operation and no layer in Keras 3. A rebuilt model has the same order.
    """
    found = {id(layer): layer for layer in model._flatten_layers(include_self=False)}
    for layer in (model, *found.values()):
        if isinstance(layer, keras.Model):
            found |= {id(each): each for each in getattr(layer, "operations", ())}
    return list(found.values())


def layer_paths(model: keras.Model) -> dict[int, str]:
    """A unique path for each layer at any depth, and for the model itself, by `id`.

    The path of a layer is its name behind those of the layers that hold it, outermost first, such
    as `"cbam/spatial/convolution"`; a layer of the model itself has its plain name. A second layer
    of the same path gets a `_2`. A layer that several others hold is named after the outermost of
    them, and the model by its own name.
    """
    paths: dict[int, str] = {}
    used: set[str] = set()

    def name(layer: keras.Layer, path: str) -> None:
        numbered = (f"{path}_{number}" for number in itertools.count(2))
        path = next(each for each in itertools.chain([path], numbered) if each not in used)
        used.add(path)
        paths[id(layer)] = path

    owners = collections.deque([("", model)])
    while owners:
        prefix, owner = owners.popleft()
        for layer in owner._flatten_layers(recursive=False, include_self=False):
            if id(layer) not in paths:
                name(layer, prefix + layer.name)
                owners.append((f"{paths[id(layer)]}/", layer))
    name(model, model.name)
    return paths


def trace_forward(
    model: keras.Model,
    image_shape: tuple[int | None, ...],
    dtype: tf.DType,
    run: Callable[[tf.Tensor], tf.Tensor],
) -> Trace:
    """Traces a call of a model once and notes the output of each layer.

    Args:
        model: a classifier.
        image_shape: `(height, width, channels)` of its images.
        dtype: of its images.
        run: from images to the scores of the model, as it is called in training or at inference.

    Raises:
        ValueError: the model cannot be compiled.
    """
    calls: list[LayerCall] = []
    watched = layers_and_operations(model)

    signature = [tf.TensorSpec((None, *image_shape), dtype)]

    @tf.function(input_signature=signature, autograph=False)
    def forward(images: tf.Tensor) -> tf.Tensor:
        with recording(watched, calls.append):
            return run(images)

    try:
        concrete = forward.get_concrete_function()
    except ValueError as error:
        modes = {getattr(getattr(part, "_remat_mode", None), "mode", "") for part in watched}
        if "full" not in modes:
            raise
        raise ValueError(
            "The model was built under keras.RematScope(mode='full'), and Keras cannot compile it, "
            "for predict or fit either. Build it without that scope, and take over its weights: "
            "copy = keras.models.clone_model(model); copy.set_weights(model.get_weights())."
        ) from error
    # Other graphs that call the function trace it again.
    watched.clear()
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
    return Trace(inside, sorted(hidden), images, output, concrete.graph, forward)


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
