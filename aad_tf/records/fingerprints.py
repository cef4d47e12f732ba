"""What identifies an evaluation, so that records of different ones are never mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from aad_tf._version import __version__
from aad_tf.classifier import Classifier


def fingerprint(classifier: Classifier, **facts: Any) -> dict[str, Any]:
    """What must be the same for records to belong together, as JSON gives it back.

    Args:
        classifier: the network.
        **facts: further entries, which `json` can write.

    Returns:
        `aad_tf` (version), `weights` (a hash that does not depend on their order), `bounds`, and
        the facts; tuples are lists, so that what is read back compares equal.

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
