"""Turns the outputs of models that end in a softmax or sigmoid into logits.

A final softmax or sigmoid is bypassed while the model runs as a Classifier; the score before a
single sigmoid output becomes two logits. Probabilities that cannot be turned into logits are
refused.

For this, importing the module replaces `tf.nn.softmax` and `tf.nn.sigmoid` by functions that return
the same values, except inside the layer that `without_final_activation` was given: there they
return their argument.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from aad_tf.classifier.tracing import Trace, around_calls, operations_between


class _Stripping(NamedTuple):
    activation: str
    scores: list[tf.Tensor]


# What the layer to strip passed on unchanged so far, while it runs in this thread.
_stripping: contextvars.ContextVar[_Stripping | None] = contextvars.ContextVar(
    "stripping", default=None
)

# Operations that are linear in all their inputs.
_LINEAR = frozenset(
    {
        *("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StridedSlice", "Transpose"),
        *("BiasAdd", "Add", "AddV2", "AddN", "Sub", "Neg", "Mean", "Sum", "ConcatV2", "Pack"),
        *("Pad", "AvgPool"),
    }
)
# Operations of layers with weights, whose outputs take any value.
_WEIGHTED = frozenset(
    {
        *("MatMul", "BatchMatMulV2", "Einsum", "Conv2D", "DepthwiseConv2dNative"),
        "FusedBatchNormV3",
    }
)


@contextlib.contextmanager
def without_final_activation(layer: keras.Layer | None) -> Iterator[None]:
    """Context manager in which a layer leaves out its softmax or sigmoid, in this thread.

    While that layer runs, its `tf.nn.softmax` or `tf.nn.sigmoid` returns its argument.

    Args:
        layer: a layer whose activation is softmax or sigmoid, or a Softmax layer; None for no
            effect.

    Raises:
        ValueError: from a call of the model, if the layer calls that function not exactly once.

    Example:
        >>> layer = keras.layers.Softmax()
        >>> with without_final_activation(layer):
        ...     print(layer(tf.constant([[1.0, 2.0]])).numpy())
        [[1. 2.]]
    """
    with around_calls([] if layer is None else [layer], _stripped):
        yield


def _stripped(layer: keras.Layer, call: Callable[[], Any]) -> Any:
    stripping = _Stripping(_final_activation(layer) or "", [])
    token = _stripping.set(stripping)
    try:
        output = call()
    finally:
        _stripping.reset(token)
    name, count = stripping.activation, len(stripping.scores)
    if count != 1:
        plural = "softmaxes" if name == "softmax" else "sigmoids"
        raise ValueError(
            f"The final layer {layer.name!r} computes {count} {plural} by tf.nn.{name}, so the "
            f"one that ends the model cannot be taken off. Give the model a {name} layer that "
            f"does nothing else, or none."
        )
    return output


def _passing_on(original: Callable, name: str, argument: str) -> Callable:
    """An activation of TensorFlow that passes scores on where a layer is to be stripped of it."""

    @functools.wraps(original)
    def activation(*args: Any, **kwargs: Any) -> tf.Tensor:
        stripping = _stripping.get()
        if stripping is None or stripping.activation != name:
            return original(*args, **kwargs)
        stripping.scores.append(tf.identity(args[0] if args else kwargs[argument]))
        return stripping.scores[-1]

    return activation


tf.nn.softmax = _passing_on(tf.nn.softmax, "softmax", argument="logits")
tf.nn.sigmoid = _passing_on(tf.nn.sigmoid, "sigmoid", argument="x")


def activation_to_strip(trace: Trace) -> keras.Layer | None:
    """Finds the layer whose softmax or sigmoid is the last operation of a model.

    Args:
        trace: a traced forward pass of the model.

    Returns:
        The layer, which `without_final_activation` takes; None if the model ends in logits.

    Raises:
        ValueError: the model ends in a softmax or sigmoid that cannot be bypassed, in a sigmoid of
            several outputs, or in a single output that is not the score of a binary classifier.
    """
    name = {"Softmax": "softmax", "Sigmoid": "sigmoid"}.get(_producer_type(trace.output))
    _refuse_other_counts(trace, name)
    if name is None:
        return None
    layer = _final_activation_layer(trace, name)
    if layer is None:
        raise ValueError(
            f"The model ends in a {name} that cannot be taken off (only the activation {name!r} "
            f"of a layer{' or a Softmax layer' if name == 'softmax' else ''} can), so its logits "
            f"are out of reach. Return logits and compile with from_logits=True."
        )
    if sum(call.layer is layer for call in trace.calls) > 1:
        raise ValueError(
            f"The final {name} layer {layer.name!r} is used elsewhere in the model too, so it "
            f"cannot be taken off. Give the output another {name} layer, or none."
        )
    return layer


def _refuse_other_counts(trace: Trace, name: str | None) -> None:
    """Refuses one output that is no binary score, and several labels per image."""
    outputs = trace.output.shape[-1]
    if name == "sigmoid" and outputs > 1:
        raise ValueError(
            f"The model ends in a sigmoid of {outputs} outputs, so an image may have several "
            f"labels at once. Attacks and losses here need one class per image: logits or a "
            f"softmax of the classes, or one sigmoid output for two classes."
        )
    if outputs > 1 or name == "sigmoid":
        return
    if name == "softmax":
        raise ValueError(
            "The model ends in a softmax of a single output, which is 1 for every image. End a "
            "binary classifier in one sigmoid output, or in two logits."
        )
    operation = nonlinear_ending(trace)
    if operation is not None:
        raise ValueError(
            f"The model's single output is made by {operation}, so it is not the score of a binary "
            f"classifier. End the model in one sigmoid output, activation='sigmoid' of a layer, or "
            f"return the score before the sigmoid and compile with from_logits=True."
        )


def two_logits(scores: tf.Tensor) -> tf.Tensor:
    """Makes logits of two classes from the score z of a binary classifier: (-z / 2, z / 2).

    Their softmax is (1 - p, p) with p = sigmoid(z), and their cross-entropy the binary one. The
    same holds for the logits (0, z). With these, however, Grad-CAM of class 0 would be zero
    everywhere, since the gradient of a constant is.

    Args:
        scores: `[batch, 1]`, scores before the sigmoid.

    Returns:
        `[batch, 2]`.
    """
    half = scores / 2
    return tf.concat([-half, half], axis=-1)


def nonlinear_ending(trace: Trace) -> str | None:
    """Finds a nonlinear operation after the last layers with weights, such as a sigmoid.

    Args:
        trace: a traced forward pass of the model.

    Returns:
        The type of such an operation on the way from the weights to the output, whose output is
        therefore not logits; None if there is none.
    """
    of_images = set(operations_between(trace, trace.images))
    waiting, seen = [trace.output.op], set()
    while waiting:
        operation = waiting.pop()
        if operation in seen or operation not in of_images or operation.type in _WEIGHTED:
            continue
        seen.add(operation)
        sources = [source.op for source in operation.inputs if source.dtype.is_floating]
        if operation.type not in _LINEAR and not _scales(operation.type, sources, of_images):
            return str(operation.type)
        waiting.extend(sources)
    return None


def _scales(kind: str, sources: list[Any], of_images: set[Any]) -> bool:
    """Whether an operation multiplies or divides by what does not depend on the images."""
    if kind == "Mul":
        return not of_images.issuperset(sources)
    return kind == "RealDiv" and sources[1] not in of_images


def _producer_type(tensor: tf.Tensor) -> str:
    """Type of the operation that made `tensor`, past casts, identities and stopped gradients."""
    operation = tensor.op
    while operation.type in ("Identity", "Cast", "StopGradient") and operation.inputs:
        operation = operation.inputs[0].op
    return operation.type


def _final_activation(layer: keras.Layer) -> str | None:
    """Name of the softmax or sigmoid that a layer ends in; None for others."""
    activation = getattr(layer, "activation", None)
    if activation is keras.activations.softmax or isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return "sigmoid" if activation is keras.activations.sigmoid else None


def _final_activation_layer(trace: Trace, name: str) -> keras.Layer | None:
    """The layer whose activation ends the model, if it can be taken off."""
    for layer, output in trace.calls:
        if (
            not isinstance(layer, keras.Model)
            and _final_activation(layer) == name
            and tf.is_tensor(output)
            and _same_source(output, trace.output)
        ):
            return layer
    return None


def _same_source(tensor: tf.Tensor, output: tf.Tensor) -> bool:
    while output.op.type in ("Identity", "Cast") and output.ref() != tensor.ref():
        output = output.op.inputs[0]
    return output.ref() == tensor.ref()
