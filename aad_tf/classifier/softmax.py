"""Taking a final softmax off a model while it runs: attacks and losses need logits."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from aad_tf.classifier.tracing import Trace, around_calls

# Scores that a softmax passed on unchanged, while the layer to strip runs in this thread.
_passed_on: contextvars.ContextVar[list[tf.Tensor] | None] = contextvars.ContextVar(
    "passed_on", default=None
)


@contextlib.contextmanager
def without_softmax(layer: keras.Layer | None) -> Iterator[None]:
    """Makes `layer` pass its scores on unchanged, in this thread, while the context is open.

    While the layer runs, `tf.nn.softmax` returns its argument; otherwise it is the original.

    Args:
        layer: what `softmax_to_strip` returned; None changes nothing.

    Raises:
        ValueError: from the model's call, if the layer does not compute exactly one softmax.
    """
    with around_calls([] if layer is None else [layer], _stripped):
        yield


def _stripped(layer: keras.Layer, call: Callable[[], Any]) -> Any:
    scores: list[tf.Tensor] = []
    token = _passed_on.set(scores)
    try:
        output = call()
    finally:
        _passed_on.reset(token)
    if len(scores) != 1:
        raise ValueError(
            f"The final layer {layer.name!r} computes {len(scores)} softmaxes by tf.nn.softmax, so "
            f"the one that ends the model cannot be taken off. Give the model a softmax layer that "
            f"does nothing else, or none."
        )
    return output


_original_softmax = tf.nn.softmax


@functools.wraps(_original_softmax)
def _softmax(logits: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
    """`tf.nn.softmax` that passes scores on where a layer is to be stripped."""
    passed_on = _passed_on.get()
    if passed_on is None:
        return _original_softmax(logits, *args, **kwargs)
    passed_on.append(tf.identity(logits))
    return passed_on[-1]


tf.nn.softmax = _softmax


def softmax_to_strip(trace: Trace) -> keras.Layer | None:
    """The layer that ends the model in a softmax; None if the model ends in logits.

    Only finds it; `without_softmax` takes it off.

    Raises:
        ValueError: the model ends in probabilities that cannot be turned into logits.
    """
    ending = _producer_type(trace.output)
    if ending not in ("Softmax", "Sigmoid"):
        return None
    layer = _final_softmax_layer(trace) if ending == "Softmax" else None
    if layer is None:
        raise ValueError(
            f"The model ends in a {ending.lower()} that cannot be taken off (only a Softmax layer "
            f"or activation='softmax' can), so its logits are out of reach. Return logits and "
            f"compile with from_logits=True."
        )
    if sum(call.layer is layer for call in trace.calls) > 1:
        raise ValueError(
            f"The final softmax layer {layer.name!r} is used elsewhere in the model too, so it "
            f"cannot be taken off. Give the output another softmax layer, or none."
        )
    return layer


def _producer_type(tensor: tf.Tensor) -> str:
    """Type of the operation that made `tensor`, past casts and identities."""
    operation = tensor.op
    while operation.type in ("Identity", "Cast", "StopGradient") and operation.inputs:
        operation = operation.inputs[0].op
    return operation.type


def _final_softmax_layer(trace: Trace) -> keras.Layer | None:
    """The layer whose activation ends the model in a softmax, if it can be taken off."""
    for layer, output in trace.calls:
        activation = getattr(layer, "activation", None)
        if (
            not isinstance(layer, keras.Model)
            and (activation is keras.activations.softmax or isinstance(layer, keras.layers.Softmax))
            and tf.is_tensor(output)
            and _same_source(output, trace.output)
        ):
            return layer
    return None


def _same_source(tensor: tf.Tensor, output: tf.Tensor) -> bool:
    while output.op.type in ("Identity", "Cast") and output.ref() != tensor.ref():
        output = output.op.inputs[0]
    return output.ref() == tensor.ref()
