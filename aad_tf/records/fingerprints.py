"""Hashes and facts that identify an evaluation, so that records of different ones are not mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from aad_tf._version import __version__
from aad_tf.classifier import Classifier


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


def array_fingerprint(arrays: Sequence[np.ndarray]) -> str:
    """A hash of the bytes, shapes and dtypes of arrays in their order, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
