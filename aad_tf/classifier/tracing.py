"""Traces a forward pass of a Keras model and records the calls of its layers.

Tracing works alike for Sequential, Functional, nested and subclassed models. Layers are observed
while they run and not changed; a method that a user has replaced on a layer or its class keeps
working. For this, importing the module replaces `keras.Operation.__call__` by a function that does
the same outside of the contexts of `around_calls`.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

# From a layer and its call, still to be made, to the output that the caller of the layer gets.
Around = Callable[[keras.Layer, Callable[[], Any]], Any]

# What to do with a model that was built under a `keras.RematScope`.
ADVICE_ON_REMAT = (
    "Build it without that scope, and take over its weights: "
    "copy = keras.models.clone_model(model); copy.set_weights(model.get_weights())."
)


class _Watcher(NamedTuple):
    layers: frozenset[int]
    around: Around


# A context variable, since replicas of one strategy call the same layers in separate threads.
# A lock would not do: replicas that wait for each other inside a call would never meet.
_watchers: contextvars.ContextVar[tuple[_Watcher, ...]] = contextvars.ContextVar(
    "watchers", default=()
)


class LayerCall(NamedTuple):
    """One call of a layer, or of an operation of a Functional model, in a traced forward pass.

    Attributes:
        layer: the layer or operation.
        output: what the call returned: a symbolic tensor, or a structure of several.
    """

    layer: keras.Layer
    output: Any


class Trace(NamedTuple):
    """A traced forward pass of a model.

    Attributes:
        calls: calls of layers in the order in which they ended.
        hidden: names of layers that ran only inside of other functions, such as `tf.map_fn`, where
            their outputs cannot be reached.
        images: the symbolic images `[batch, H, W, C]`.
        output: the symbolic output of the model.
        graph: the TensorFlow graph that holds both.
        function: the compiled function from images to the output, for any batch size.
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
    """Context manager in which a function wraps the calls of some layers, in this thread.

    Args:
        layers: layers or models.
        around: function that gets the layer and a function without arguments that makes the call;
            it returns the output that the caller of the layer gets.
        closest: order of the functions if such a context is open already for the same layer. False
            puts this function outside: its `call` runs the function of the open context. True puts
            it inside, next to the layer: the function of the open context runs this one.

    Example:
        >>> def doubled(layer, call):
        ...     return 2 * call()
        >>> with around_calls([model.layers[-1]], doubled):
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
    """Context manager that reports the calls of some layers, in this thread.

    Args:
        layers: layers or models.
        record: function that gets a `LayerCall` after each call of one of them.

    Example:
        >>> calls = []
        >>> with recording(model.layers, calls.append):
        ...     outputs = model(images)
        >>> features = calls[0].output
    """

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
    """Context manager in which layers process their batch in equal parts, one after the other.

    Args:
        layers: layers that return a tensor with the batch as first axis.
        count: number of parts, which must divide the batch.
        before: function that gets the layer once per call, and returns a function without arguments
            that is called before each part.

    Example:
        >>> dropout = keras.layers.Dropout(0.5)
        >>> with called_in_parts([dropout], 2, lambda layer: lambda: print("next part")):
        ...     outputs = dropout(tf.ones((4, 3)), training=True)
        next part
        next part
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
    """Lists all layers of a model at any depth, and the operations of Functional models.

    In Keras 3, `x * gate` makes an operation and no layer.

    Args:
        model: the model; it is not in the list itself.

    Returns:
        Layers and operations without repetition. A model rebuilt from its config gives the same
        order.
    """
    found = {id(layer): layer for layer in model._flatten_layers(include_self=False)}
    for layer in (model, *found.values()):
        if isinstance(layer, keras.Model):
            found |= {id(each): each for each in getattr(layer, "operations", ())}
    return list(found.values())


def layer_paths(model: keras.Model) -> dict[int, str]:
    """Gives each layer at any depth, and the model itself, a unique path.

    Args:
        model: the model.

    Returns:
        A dictionary from `id(layer)` to the path: the layer's name after the names of the layers
        that contain it, outermost first, such as `"cbam/spatial/convolution"`. A layer directly in
        the model has its plain name, and so has the model. A second layer with the same path gets
        the ending `_2`. A layer inside several others gets the shortest of its paths.
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
    """Traces one forward pass of a model and records the output of each layer.

    Args:
        model: a classifier.
        image_shape: `(height, width, channels)` of its images; entries may be None.
        dtype: dtype of its images.
        run: function from images to the scores of the model, which calls the model in training or
            in inference mode.

    Returns:
        The trace: calls of layers, symbolic images and output, their graph, and the compiled
        function from images to scores.

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
        # Mode "activations" can be compiled, and has another cause.
        mode = remat_mode(watched)
        if mode in ("", "activations"):
            raise
        raise ValueError(
            f"The model was built under keras.RematScope(mode={mode!r}), and Keras cannot compile "
            f"it, for predict or fit either. {ADVICE_ON_REMAT}"
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


def remat_mode(layers: Iterable[Any]) -> str:
    """Finds the mode of the `keras.RematScope` under which a model was built.

    Args:
        layers: the layers of the model.

    Returns:
        The mode of the first layer that has one; `""` if none has.
    """
    modes = (getattr(getattr(layer, "_remat_mode", None), "mode", None) for layer in layers)
    return next(filter(None, modes), "")


def operations_between(trace: Trace, features: tf.Tensor) -> list[Any]:
    """Lists the operations on paths from a tensor to the model's output.

    Args:
        trace: a traced forward pass of the model.
        features: a symbolic tensor of the trace.

    Returns:
        TensorFlow operations in the order of the graph; empty if the output does not depend on
        `features`.
    """
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
