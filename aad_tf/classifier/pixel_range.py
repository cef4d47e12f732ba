"""Infers from the operations before a network's first weights which pixel range it expects."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.classifier.tracing import Trace, operations_between
from aad_tf.types import Bounds

# Networks are trained on numbers of the order of one. EfficientNet makes numbers 9 apart of pixels
# 0..255, and 0.04 apart of pixels 0..1.
_SMALL = 0.05
# Named alone where they take part, without padding and the like.
_SCALING = ("Rescaling", "Normalization")


def shrinking_layers(trace: Trace, images: np.ndarray) -> str:
    """Finds layers which show that a network expects pixels in 0..255 and not in a smaller range.

    A Rescaling(1/255), or a Normalization with statistics of 0..255, maps pixels in [0, 1] to
    almost the same number. The values that reach the first weights are computed, so that it does
    not matter whether they are made by layers, a Lambda, the built-in preprocessing of
    keras.applications or arithmetic.

    Args:
        trace: a traced forward pass of the network.
        images: `[batch, H, W, C]`, random pixels from the range that the network was said to
            expect.

    Returns:
        An empty text if the network seems to expect the range of `images`. That is so if the values
        of a channel that reach the first weights lie apart by at least 0.05 or by at least half as
        much as the pixels of `images`, or if they would lie less than 0.05 apart for pixels in
        0..255 too. Otherwise the names of the layers before the first weights, such as
        `"'rescaling' (Rescaling)"`, or a description if there is no layer.
    """
    seen = _before_weights(trace)
    values = _computed(trace, seen, images) if seen else [images]
    spread, pixels = max(map(_spread, values)), _spread(images)
    # Not where pixels are that small by themselves, nor where 0..255 would not be enough.
    if spread >= min(_SMALL, pixels / 2) or 255 * spread / pixels < _SMALL:
        return ""
    return _makers(trace, seen) or "the arithmetic before its first weights"


def zero_pixel(trace: Trace, bounds: Bounds, images: np.ndarray) -> tuple[float, ...]:
    """Computes the pixel value that reaches the first weights of a network as zero.

    For a network that begins with its weights it is 0; behind a Rescaling from [0, 1] to [-1, 1] it
    is 0.5; behind a Normalization it is the mean. It is found by running the operations before the
    weights on images of one colour. If there is no such pixel within `bounds`, if these operations
    are not affine, or if weights see different values, the result is 0 clipped to `bounds`.

    Args:
        trace: a traced forward pass of the network.
        bounds: pixel range of the network.
        images: `[batch, H, W, C]`, of which only the shape is used.

    Returns:
        One number within `bounds` for each channel.
    """
    channels = images.shape[-1]
    lower, upper = bounds
    plain = (float(np.clip(0.0, lower, upper)),) * channels
    seen = _before_weights(trace)
    if not seen or all(tensor is trace.images for tensor in seen):
        return plain
    # Dark, bright in one channel, and half bright in all.
    shares = np.concatenate(
        [np.zeros((1, channels)), np.eye(channels), np.full((1, channels), 0.5)]
    )
    colours = (lower + shares * (upper - lower))[:, np.newaxis, np.newaxis]
    probes = np.broadcast_to(colours, (len(shares), *images.shape[1:]))
    found = {_zero_of(values, shares) for values in _computed(trace, seen, probes)}
    share = found.pop() if len(found) == 1 else None
    if share is None or min(share) < 0.0 or max(share) > 1.0:
        return plain
    return tuple(lower + each * (upper - lower) for each in share)


def _zero_of(values: np.ndarray, shares: np.ndarray) -> tuple[float, ...] | None:
    """Where in the range, from 0 to 1 for each channel, affine values are zero; None if nowhere."""
    if values.ndim != 4:
        return None
    # The middle: padding may stand at the edges.
    values = values[:, values.shape[1] // 2, values.shape[2] // 2].astype(np.float64)
    dark, bright, middle = values[0], values[1:-1], values[-1]
    slopes = (bright - dark).T
    tolerance = 1e-2 * max(float(np.abs(slopes).max()), 1e-12)
    if np.abs(dark + slopes @ shares[-1] - middle).max() > tolerance:
        return None
    share, *_ = np.linalg.lstsq(slopes, -dark, rcond=None)
    if np.abs(dark + slopes @ share).max() > tolerance:
        return None
    return tuple(np.round(np.asarray(share, np.float64), 6).tolist())


def _before_weights(trace: Trace) -> list[tf.Tensor]:
    """Floating-point tensors, made of the images alone, that operations with weights take in."""
    # Without what others have added to the graph, such as gradients.
    forward = set(operations_between(trace, trace.images))
    pixels = {trace.images.ref()}
    weights: set[Any] = set()
    found: dict[Any, tf.Tensor] = {}
    for operation in trace.graph.get_operations():
        inputs = [tensor.ref() for tensor in operation.inputs]
        outputs = [tensor.ref() for tensor in operation.outputs]
        if any(t.dtype == tf.resource or t.ref() in weights for t in operation.inputs):
            weights.update(outputs)
            if operation in forward:
                taken = [ref for ref in inputs if ref in pixels and ref not in weights]
                found |= {ref: ref.deref() for ref in taken}
        elif operation in forward:
            pixels.update(outputs)
    return [tensor for tensor in found.values() if tensor.dtype.is_floating]


def _computed(trace: Trace, tensors: list[tf.Tensor], images: np.ndarray) -> list[np.ndarray]:
    """Values of tensors of the trace; of the network only what they need is run."""
    fed = {trace.images.name: images.astype(trace.images.dtype.as_numpy_dtype)}
    for value, placeholder in trace.graph.captures:
        if value.dtype != tf.resource:
            fed[placeholder.name] = value.numpy()
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    with tf.compat.v1.Session(graph=trace.graph, config=config) as session:
        return session.run(tensors, fed)


def _spread(values: np.ndarray) -> float:
    """How far the values of one channel lie apart, of the channel where they do so most."""
    channels = values.astype(np.float64).reshape(-1, values.shape[-1])
    return float(np.ptp(channels, axis=0).max())


def _makers(trace: Trace, tensors: list[tf.Tensor]) -> str:
    """Names of the layers on the way from the images to tensors."""
    outputs = {call.output.ref(): call.layer for call in trace.calls if tf.is_tensor(call.output)}
    waiting, names = list(tensors), {}
    visited: set[Any] = set()
    while waiting:
        tensor = waiting.pop()
        if tensor.ref() in visited:
            continue
        visited.add(tensor.ref())
        if tensor.ref() in outputs and tensor is not trace.images:
            layer = outputs[tensor.ref()]
            names[layer.name] = type(layer).__name__
        waiting.extend(tensor.op.inputs)
    scaling = {name: kind for name, kind in names.items() if kind in _SCALING}
    return ", ".join(f"{name!r} ({kind})" for name, kind in reversed((scaling or names).items()))
