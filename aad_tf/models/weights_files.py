"""Loads weights from files that Keras saved: of all layers of a network, or all but the logits."""

from __future__ import annotations

import io
import os
import warnings
import zipfile

import h5py
import keras
import numpy as np

# What Keras and h5py raise about a file that is damaged or of another network.
_UNREADABLE = (OSError, LookupError, RuntimeError, ValueError, zipfile.BadZipFile)


def load_weights_file(model: keras.Model, path: str, logits: str = "logits") -> bool:
    """Loads a file with `keras.Model.load_weights` and checks that every layer was loaded.

    Keras matches layers by their type and order, not by name. Layers without weights
    (preprocessing, dropout) may differ.

    Args:
        model: a built network without models or layers nested in its layers.
        path: path of a `.weights.h5` or `.keras` file, or of a `.h5` file of the older format.
        logits: name of the last layer. If the file has no such layer, or one for another number of
            classes, all other layers are loaded and this one stays as it is.

    Returns:
        Whether the logits layer was loaded too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weights file, or that of another network; the model is unchanged.

    Example:
        >>> load_weights_file(aad_tf.models.inception_v3(), "inception.weights.h5")
        True
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no weights file {path!r}.")
    before = model.get_weights()
    try:
        return _load(model, path, logits)
    except BaseException as error:
        model.set_weights(before)
        if not isinstance(error, _UNREADABLE):
            raise
        raise ValueError(
            f"{path} holds no weights for {model.name}, or is cut short: expected a .weights.h5, "
            f".keras or .h5 file that Keras saved of the same network ({error})."
        ) from error


def _load(model: keras.Model, path: str, logits: str) -> bool:
    stored = _stored_arrays(path)
    if stored is not None and stored > len(model.weights):
        raise ValueError(f"it has {stored} arrays of weights, the network {len(model.weights)}")
    last = model.get_layer(logits)
    fresh = last.get_weights()
    weighted = [layer for layer in model.layers if layer.weights]
    try:
        missing = _load_over_nan(model, path)
    except ValueError:
        # The older format loads all layers or none: a file without logits fits the others alone.
        missing = [last, *_load_over_nan(keras.Model(model.inputs, last.input), path)]
    others = [layer for layer in missing if layer is not last]
    if others:
        shapes = [tuple(weight.shape) for weight in others[0].weights]
        raise ValueError(
            f"{len(weighted) - len(missing)} of the network's {len(weighted)} layers found their "
            f"weights; {others[0].name!r} found none of the shapes {shapes}"
        )
    if missing:
        last.set_weights(fresh)
    return not missing


def _load_over_nan(model: keras.Model, path: str) -> list[keras.Layer]:
    """Loads what fits and returns the layers that were not loaded: their weights are still NaN."""
    weighted = [layer for layer in model.layers if layer.weights]
    for layer in weighted:
        layer.set_weights([np.full(weight.shape, np.nan) for weight in layer.weights])
    with warnings.catch_warnings():
        # Keras warns of each layer left out, seeds of dropout among them.
        warnings.simplefilter("ignore")
        model.load_weights(path, skip_mismatch=True)
    return [
        layer for layer in weighted if any(np.isnan(values).any() for values in layer.get_weights())
    ]


def _stored_arrays(path: str) -> int | None:
    """Number of arrays that layers have in a file; None for the older format.

    Keras itself ignores layers of the file that the network does not have.
    """
    content: str | io.BytesIO = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r") as file:
        if "layers" not in file:
            return None
        names: list[str] = []
        file["layers"].visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        return sum("/seed_generator/" not in name for name in names)
