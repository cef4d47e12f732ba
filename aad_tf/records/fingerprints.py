"""Hashes that tell networks and arrays apart, so that records of different ones are never mixed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from aad_tf.classifier import Classifier


def weights_fingerprint(classifier: Classifier) -> str:
    """A hash of a network's weights, 16 hexadecimal digits, whatever their order."""
    model = getattr(classifier, "model", None)
    # Without the states of dropout seeds, which are in `variables` and differ in every process.
    variables = classifier.variables if model is None else model.weights
    hashes = sorted(array_fingerprint([np.asarray(variable)]) for variable in variables)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def array_fingerprint(arrays: Sequence[np.ndarray]) -> str:
    """A hash of arrays: their bytes, shapes and dtypes; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
