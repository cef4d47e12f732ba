"""Taking a final softmax off a model while it runs: attacks and losses need logits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from aad_tf.introspection import Trace

_patch_lock = threading.RLock()


@contextlib.contextmanager
def without_softmax(layer: keras.Layer | None) -> Iterator[None]:
    """Makes `layer` pass its scores on unchanged while the context is open.

    Args:
        layer: what `softmax_to_strip` returned; None changes nothing.
    """
    if layer is None:
        yield
    elif isinstance(layer, keras.layers.Softmax):
        with _bypassed(layer):
            yield
    else:
        with _linear_activation(layer):
            yield


@contextlib.contextmanager
def _bypassed(layer: keras.Layer) -> Iterator[None]:
    """Makes `layer` return its input while the context is open."""
    with _patch_lock:
        layer.call = lambda inputs, *args, **kwargs: inputs
        try:
            yield
        finally:
            del layer.call


@contextlib.contextmanager
def _linear_activation(layer: keras.Layer) -> Iterator[None]:
    """Replaces the activation of `layer` by the identity while the context is open."""
    with _patch_lock:
        activation = layer.activation
        layer.activation = keras.activations.linear
        try:
            yield
        finally:
            layer.activation = activation


def softmax_to_strip(trace: Trace) -> keras.Layer | None:
    """The layer that ends the model in a softmax; None if the model ends in logits.

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
            f"cannot be taken off. Give the output a softmax of its own, or none."
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
