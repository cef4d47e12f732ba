"""Loads weights that Keras saved into a network, all of them or none."""

from __future__ import annotations

import contextlib
import io
import os
import re
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

IMAGENET_CLASSES = 1000


class StoredLayer(NamedTuple):
    """A layer's weights where they are kept.

    Attributes:
        name: of the layer in the file.
        weights: arrays or HDF5 data sets in the order of the layer's own weights.
    """

    name: str
    weights: list[Any]


# Layers of each kind in their order; one queue under "" where the order runs over all kinds.
StoredLayers = Mapping[str, deque[StoredLayer]]


def load_weights_file(model: keras.Model, path: str, logits: str = "logits") -> bool:
    """Loads the weights of a file, after it has been seen that every one of them fits.

    Layers are matched by their kind and order, not by name: Keras numbers the names anew for
    each model of a process. Layers without weights (preprocessing, dropout) may differ.

    Args:
        model: built network, whose layers are not nested.
        path: of a `.weights.h5` or `.keras` file, or of a `.h5` file of the older format.
        logits: name of the last layer. If the file has none, or one of 1000 classes where the
            network has another number, all other layers are loaded and this one stays as it is.

    Returns:
        Whether the logits layer was loaded too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weights file, or that of another network; the model is unchanged.

    Example:
        >>> load_weights_file(aad_tf.models.inception_v3(), "inception.weights.h5")
        True
    """
    with _opened(path) as file:
        return assign_layers(model, _stored_layers(file, path), path, logits)


def stored_layers_of(model: keras.Model) -> StoredLayers:
    """The weights of another model, in the order of its layers."""
    return {"": deque(StoredLayer(each.name, each.get_weights()) for each in _weighted(model))}


def assign_layers(model: keras.Model, stored: StoredLayers, source: str, logits: str) -> bool:
    """Copies stored weights into a model, after checking that every one of them fits.

    Args:
        model: as for `load_weights_file`.
        stored: what to copy; used up by this function.
        source: where it comes from, for messages.
        logits: name of the last layer.

    Returns:
        Whether the logits layer was loaded too.

    Raises:
        ValueError: the weights are those of another network; the model is unchanged.
    """
    pairs = _pairs(model, stored, source, logits)
    num_classes = int(model.output_shape[-1])
    loaded = []
    for layer, found in pairs:
        if layer.name != logits or not _is_other_head(found, num_classes):
            _check_shapes(layer, found, source)
            loaded.append((layer, found))
    for layer, found in loaded:
        layer.set_weights([np.asarray(weight) for weight in found.weights])
    return any(layer.name == logits for layer, _ in loaded)


def _weighted(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if layer.weights]


def _pairs(
    model: keras.Model, stored: StoredLayers, source: str, logits: str
) -> list[tuple[keras.Layer, StoredLayer]]:
    """Each layer with its stored weights; the logits layer may have none."""
    pairs = []
    for layer in _weighted(model):
        queue = stored.get("", stored.get(type(layer).__name__.lower()))
        if queue:
            pairs.append((layer, queue.popleft()))
        elif layer.name != logits:
            raise _foreign(source, model, f"it has no weights for layer {layer.name!r}")
    left = [found.name for queue in stored.values() for found in queue]
    if left:
        raise _foreign(source, model, f"it also holds weights of {_shortened(left)}")
    return pairs


def _is_other_head(found: StoredLayer, num_classes: int) -> bool:
    """Whether stored logits are ImageNet's, for a network of other classes."""
    classes = found.weights[-1].shape
    return num_classes != IMAGENET_CLASSES and classes == (IMAGENET_CLASSES,)


def _check_shapes(layer: keras.Layer, found: StoredLayer, source: str) -> None:
    expected = [tuple(weight.shape) for weight in layer.weights]
    shapes = [tuple(weight.shape) for weight in found.weights]
    if shapes != expected:
        raise ValueError(
            f"The weights in {source} do not fit: layer {layer.name!r} takes shapes {expected}, "
            f"but {found.name!r} there holds {shapes}. Pass the file of a network of the same "
            f"kind, with the same number of channels and of classes (or ImageNet's 1000)."
        )
    wrong = [str(weight.dtype) for weight in found.weights if weight.dtype.kind != "f"]
    if wrong:
        raise ValueError(
            f"The weights of {found.name!r} in {source} have dtype {wrong[0]}, not a floating "
            f"one. Save the network in float32."
        )


def _foreign(source: str, model: keras.Model, why: str) -> ValueError:
    return ValueError(
        f"The weights in {source} are those of another network than {model.name}: {why}."
    )


def _shortened(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + rest


@contextlib.contextmanager
def _opened(path: str) -> Iterator[h5py.File]:
    """The HDF5 file at a path, or inside a `.keras` archive."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no weights file {path!r}.")
    content: Any = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "model.weights.h5" not in archive.namelist():
                raise ValueError(f"{path} is an archive without Keras weights (model.weights.h5).")
            content = io.BytesIO(archive.read("model.weights.h5"))
    try:
        file = h5py.File(content, "r")
    except OSError as error:
        raise ValueError(
            f"{path} is no weights file of Keras or is cut short: expected .weights.h5, .keras or "
            f".h5 ({error})."
        ) from error
    with file:
        yield file


def _stored_layers(file: h5py.File, path: str) -> StoredLayers:
    if "layers" in file:
        return _layers_by_kind(file["layers"], path)
    group = file.get("model_weights", file)
    if "layer_names" in group.attrs:
        return {"": deque(_layers_in_order(group))}
    raise ValueError(
        f"{path} holds no weights as Keras saves them for a functional model: expected a file "
        f"written by model.save or model.save_weights."
    )


def _layers_by_kind(group: h5py.Group, path: str) -> StoredLayers:
    """Reads the present format: layers/batch_normalization_7/vars/0 and so on."""
    variables: dict[str, dict[int, Any]] = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or "/seed_generator/" in name:
            return
        match = re.fullmatch(r"([^/]+)/vars/(\d+)", name)
        if match is None:
            raise ValueError(
                f"{path} holds weights of nested layers ({name}). Save the inner network alone."
            )
        variables.setdefault(match[1], {})[int(match[2])] = item

    group.visititems(visit)
    numbered: dict[str, dict[int, StoredLayer]] = {}
    for name, found in variables.items():
        # Keras adds a number to each layer of a kind but the first.
        kind, number = re.fullmatch(r"(.+?)(?:_(\d+))?", name).groups()  # type: ignore[union-attr]
        layer = StoredLayer(name, [found[index] for index in sorted(found)])
        numbered.setdefault(kind.replace("_", ""), {})[int(number or 0)] = layer
    return {kind: deque(layers[i] for i in sorted(layers)) for kind, layers in numbered.items()}


def _layers_in_order(group: h5py.Group) -> Iterator[StoredLayer]:
    """Reads the older format, which lists its layers in the order of the model."""
    for name in _texts(group.attrs["layer_names"]):
        names = _texts(group[name].attrs.get("weight_names", ()))
        if names:
            yield StoredLayer(name, [group[name][each] for each in names])


def _texts(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
