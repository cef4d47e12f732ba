"""Hashes and facts that identify an evaluation, so that records of different ones are not mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf._version import __version__
from aad_tf.classifier import Classifier, tracing

# Seed of the image on which networks of equal weights are told apart.
_PROBE_SEED = 0


def fingerprint(classifier: Classifier, **facts: Any) -> dict[str, Any]:
    """Collects what must be equal for records to belong to the same evaluation.

    Args:
        classifier: the network that is evaluated.
        **facts: further entries, which `json` can write.

    Returns:
        A dict of `aad_tf` (the version), `weights` (a hash that does not depend on their order),
        `bounds`, and the facts. Tuples become lists, so that it equals what is read back from JSON.

    Raises:
        TypeError: a fact cannot be written as JSON.
    """
    network = {
        "aad_tf": __version__,
        "weights": weights_fingerprint(classifier),
        "bounds": [float(bound) for bound in classifier.bounds],
    }
    return json.loads(json.dumps({**network, **facts}))


def weights_fingerprint(classifier: Classifier) -> str:
    """A hash of a network's weights, 16 hexadecimal digits; it does not depend on their order."""
    model = getattr(classifier, "model", None)
    # Without the states of dropout seeds, which are in `variables` and differ in every process.
    variables = classifier.variables if model is None else model.weights
    hashes = sorted(array_fingerprint([np.asarray(variable)]) for variable in variables)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def probe_logits(classifier: Classifier, image_shape: Sequence[int]) -> list[float] | None:
    """Computes the logits of one image of noise, which tell networks of equal weights apart.

    The hash of `weights_fingerprint` does not know how the weights are used: a network with another
    output, or with its pixels scaled otherwise, may have the same.

    Args:
        classifier: the network.
        image_shape: `(H, W, C)` of the images that it is evaluated on.

    Returns:
        The logits in inference mode, with four significant digits, which `same_logits` compares;
        None where two passes differ, as with random numbers at inference, or a logit is not finite.

    Example:
        >>> probe_logits(classifier, (28, 28, 1))
        [-0.3127, 1.208, 0.5561]
    """
    noise = np.random.default_rng(_PROBE_SEED).uniform(*classifier.bounds, (1, *image_shape))
    images = tf.constant(noise, classifier.dtype)
    first, second = (
        np.asarray(tf.cast(classifier.predict_logits(images), tf.float64))[0] for _ in range(2)
    )
    found = [float(f"{logit:.4g}") for logit in first]
    return found if np.isfinite(first).all() and same_logits(found, list(second)) else None


def attention_index(classifier: Classifier) -> int:
    """The place of a network's attention layer among its layers, from 0.

    Args:
        classifier: the network.

    Returns:
        The index. Unlike the layer's name, it is the same in every process: Keras numbers layers
        without a name of their own as they are made.
    """
    layers = tracing.layers_and_operations(classifier.model)
    return [layer.name for layer in layers].index(classifier.attention_layer)


def same_logits(one: Sequence[float], other: Sequence[float]) -> bool:
    """Says whether two networks have the same logits, up to the rounding of half precision.

    Args:
        one: logits of an image.
        other: logits of the same image, perhaps on another machine.

    Returns:
        True if they are as many, and differ by at most 5 % of the largest absolute logit.
    """
    if len(one) != len(other):
        return False
    largest = max(map(abs, (*one, *other)), default=0.0)
    return all(abs(a - b) <= 0.05 * largest for a, b in zip(one, other, strict=True))


def array_fingerprint(arrays: Sequence[np.ndarray]) -> str:
    """A hash of the bytes, shapes and dtypes of arrays in their order, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
