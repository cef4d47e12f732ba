"""Finds the input of a Keras model that takes the images, and the output with the class scores."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

# Keys of dicts and numbers of list entries, from the outside in.
Path = tuple[Any, ...]


class _Input(NamedTuple):
    path: Path
    name: str
    shape: tuple[int | None, ...]
    dtype: str | None = None


def image_input(
    model: keras.Model, given: Sequence[int | None] | None = None
) -> tuple[Path, tuple[int | None, ...]]:
    """Finds the only input of a model and the shape of its images.

    Args:
        model: any Keras model.
        given: `(H, W, C)`, for a model whose input shape is not known, or instead of its own; None
            for that of the model.

    Returns:
        The path to the input in nested dicts and lists, as a tuple of keys and numbers that is
        empty if the model takes a tensor; and the shape `(H, W, C)`, whose entries may be None.

    Raises:
        ValueError: several inputs, an input that is not an image or not floating point, or an
            unknown input shape.
    """
    found = _symbolic_inputs(model) or _inputs_of_calls(model)
    if len(found) > 1:
        raise ValueError(_several_inputs(found))
    if not found and given is None:
        raise ValueError(
            "The input shape of this model is not known yet. Call it once on a batch of "
            "images, or pass input_shape=(height, width, channels)."
        )
    path = found[0].path if found else ()
    shape = tuple(given) if given is not None else found[0].shape
    if len(shape) != 3:
        raise ValueError(
            f"The model must take images [batch, height, width, channels], but takes inputs of "
            f"shape {_batch_of(shape)}."
        )
    if found and found[0].dtype and not tf.as_dtype(found[0].dtype).is_floating:
        raise ValueError(
            f"The model takes {found[0].dtype} images: pixels between two whole numbers would be "
            f"cut off, and no gradient reaches them. Put a float Input in front of its layers, "
            f"copy = keras.models.clone_model(model, input_tensors=keras.Input({shape})) and "
            f"copy.set_weights(model.get_weights()), and wrap the copy with the pixel range that "
            f"it takes, such as bounds=(0, 255)."
        )
    return path, shape


def nest(images: tf.Tensor, path: Path) -> Any:
    """Puts images into the nested dicts and lists that a model takes.

    Args:
        images: tensor of images.
        path: where the model takes them: keys of dicts and numbers of list entries, from the
            outside in; empty for a model that takes a tensor.

    Returns:
        The images in the model's structure.

    Example:
        >>> nest(images, ("views", 0))["views"][0] is images
        True
    """
    nested: Any = images
    for key in reversed(path):
        nested = [nested] if isinstance(key, int) else {key: nested}
    return nested


def images_of(features: Any, path: Path = ()) -> Any:
    """Takes the images out of the inputs that a data set holds for a network.

    Args:
        features: images `[batch, H, W, C]`, or a dict or tuple that holds them.
        path: where the network takes the images: keys of dicts and numbers of entries, from the
            outside in; empty for a network that takes a tensor.

    Returns:
        The images.

    Raises:
        ValueError: a dict or tuple, although the network takes a tensor or an input of another
            name.

    Example:
        >>> images_of({"image": images}, ("image",)) is images
        True
    """
    if not _is_nest(features):
        return features
    images = features
    for step in path:
        held = isinstance(images, Mapping) if isinstance(step, str) else isinstance(images, tuple)
        images = images[step] if held and step in _keys(images) else None
    if images is not None and not _is_nest(images):
        return images
    keys = _keys(features)
    kind = "dict" if isinstance(features, Mapping) else "tuple"
    takes = f"an input {'/'.join(map(str, path))!r}" if path else "them as one tensor"
    key = "image" if "image" in keys else keys[0] if keys else 0
    raise ValueError(
        f"Images came in a {kind} of {', '.join(map(repr, keys))}, but the network takes {takes}. "
        f"Give tuples (images, labels): dataset.map(lambda x, y: (x[{key!r}], y))."
    )


def _is_nest(features: Any) -> bool:
    if isinstance(features, tuple):
        # A tuple of single images, of rank 3, is an array of images.
        return any(tf.is_tensor(entry) or np.ndim(entry) == 4 for entry in features)
    return isinstance(features, Mapping)


def _keys(features: Any) -> list[Any]:
    return list(features) if isinstance(features, Mapping) else list(range(len(features)))


def select_output(model: keras.Model, outputs: Any, output: str | int | None) -> tf.Tensor:
    """Selects the tensor of class scores among the outputs of a model.

    Args:
        model: the model, for the names of its outputs.
        outputs: what the model returned: a tensor, or nested dicts, lists and tuples of tensors.
        output: name or number of the output; None if the model returns a single tensor.

    Returns:
        The tensor.

    Raises:
        ValueError: outputs in a structure with `output` None, no output of that name or number, or
            several of that name.
    """
    if output is None and tf.is_tensor(outputs):
        return outputs
    tensors = [
        (path, tensor)
        for path, tensor in keras.tree.flatten_with_path(outputs)
        if tf.is_tensor(tensor)
    ]
    if not tensors:
        raise ValueError(
            f"The model must return logits [batch, classes], got {type(outputs).__name__}."
        )
    names = _output_names(model, outputs, [path for path, _ in tensors])
    numbers = [
        number
        for number, name in enumerate(names)
        if output is not None and not isinstance(output, bool) and output in (number, name)
    ]
    if len(numbers) == 1:
        return tensors[numbers[0]][1]
    shapes = [tensor.shape for _, tensor in tensors]
    known = ", ".join(
        f"{number}: {'' if name is None else repr(name) + ' '}{_batch_of(shape[1:])}"
        for number, (name, shape) in enumerate(zip(names, shapes, strict=True))
    )
    count = f"{len(tensors)} outputs" if len(tensors) > 1 else "its outputs in a nest"
    if output is not None:
        several = "Several outputs are" if numbers else "No output is"
        raise ValueError(
            f"{several} {output!r}. The model has {count}: {known}. Give a name or number of these."
        )
    likely = next((number for number, shape in enumerate(shapes) if shape.rank == 2), 0)
    chosen = likely if names[likely] is None or names.count(names[likely]) > 1 else names[likely]
    alone = f", or a model of it alone, keras.Model(model.input, model.outputs[{likely}])"
    raise ValueError(
        f"The model has {count}: {known}. Say which holds the scores of the classes: pass on "
        f"aad_tf.Classifier.from_keras(model, output={chosen!r}), in a callback output={chosen!r}"
        f"{alone if _symbolic_inputs(model) else ''}."
    )


def _output_names(model: keras.Model, outputs: Any, paths: Sequence[Path]) -> list[str | None]:
    """Keys of dicts, fields of named tuples, else the names of Keras; None for what has none."""
    layers = getattr(model, "output_names", None) or []
    if len(layers) != len(paths):
        layers = [None] * len(paths)
    fields = getattr(outputs, "_fields", ())
    names: list[str | None] = []
    for path, layer in zip(paths, layers, strict=True):
        keys = (fields[path[0]], *path[1:]) if fields else path
        has_key = any(isinstance(key, str) for key in keys)
        names.append("/".join(map(str, keys)) if has_key else layer)
    return names


def _symbolic_inputs(model: keras.Model) -> list[_Input]:
    """Inputs of a Sequential or Functional model; none if they are not known."""
    tensors = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if not tensors or not all(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
        return []
    # A Sequential model has no nest until it was called.
    nested = getattr(model, "input", tensors[0]) if len(tensors) == 1 else model.input
    paths = [path for path, _ in keras.tree.flatten_with_path(nested)]
    return [
        _Input(path, tensor.name, tuple(tensor.shape[1:]), tensor.dtype)
        for path, tensor in zip(paths, tensors, strict=True)
    ]


def _inputs_of_calls(model: keras.Model) -> list[_Input]:
    """Inputs of a subclassed model: those that `call` asks for, with what it was built on."""
    shapes = getattr(model, "input_shape", None) if model.built else None
    if shapes is None:
        shapes = (model.get_build_config() or {}).get("input_shape")
    found = [] if shapes is None else _shapes_in(shapes)
    try:
        parameters = inspect.signature(model.call).parameters.values()
    except (TypeError, ValueError):  # A callable that does not tell.
        return found
    asked = [
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
        and parameter.name not in ("training", "mask")
    ]
    if len(asked) > 1:
        known = found[0].shape if len(found) == 1 else ()
        return [_Input((), name, known if name == asked[0] else ()) for name in asked]
    return found


def _shapes_in(shapes: Any, path: Path = ()) -> list[_Input]:
    """Shapes in a nest of dicts and lists, where a shape itself is a list of numbers."""
    if isinstance(shapes, Mapping):
        return [each for key in shapes for each in _shapes_in(shapes[key], (*path, key))]
    if all(size is None or isinstance(size, int) for size in shapes):
        return [_Input(path, "/".join(map(str, path)), tuple(shapes[1:]))]
    return [each for key, inner in enumerate(shapes) for each in _shapes_in(inner, (*path, key))]


def _several_inputs(found: Sequence[_Input]) -> str:
    image = next((each for each in found if len(each.shape) == 3), found[0])
    names = ["image" if each is image else f"fixed_{i}" for i, each in enumerate(found)]
    if not any(each.path for each in found):
        arguments = ", ".join(names)
    elif all(isinstance(each.path[0], str) for each in found):
        pairs = zip(found, names, strict=True)
        arguments = "{" + ", ".join(f"{each.path[0]!r}: {name}" for each, name in pairs) + "}"
    else:
        arguments = f"[{', '.join(names)}]"
    fixed = next(name for name in names if name != "image")
    known = ", ".join(
        f"{each.name!r}{' ' + _batch_of(each.shape) if each.shape else ''}" for each in found
    )
    return (
        f"The model takes {len(found)} inputs: {known}. Attacks and maps need a model of images "
        f"alone: make one in which the other inputs are fixed, image = keras.Input({image.shape}), "
        f"{fixed} = keras.layers.Lambda(lambda x: tf.repeat(value[None], tf.shape(x)[0], axis=0))"
        f"(image), keras.Model(image, model({arguments}))."
    )


def _batch_of(shape: Sequence[int | None]) -> str:
    return f"[{', '.join(['batch', *map(str, shape)])}]"
