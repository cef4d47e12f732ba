"""Checks of what a caller hands in. Each error says what was expected, what came, what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.types import Bounds

# float32 arithmetic such as 255 * (1 / 255) may exceed a bound by rounding.
_RANGE_TOLERANCE = 1e-4


def check_images(
    images: Any, *, bounds: Bounds, image_shape: tuple[int | None, ...], dtype: tf.DType
) -> tf.Tensor:
    """Returns `images` as a tensor of `dtype`, or says what is wrong with them.

    Args:
        images: array-like `[batch, H, W, C]`, floating point, within `bounds`.
        bounds: pixel range the classifier expects.
        image_shape: `(H, W, C)`; None entries match anything.
        dtype: dtype of the result.

    Raises:
        TypeError: not a floating-point array.
        ValueError: wrong rank or shape, no examples, NaN or infinity, out of range.
    """
    images = images if tf.is_tensor(images) else tf.convert_to_tensor(np.asarray(images))
    if not images.dtype.is_floating:
        raise TypeError(
            f"images must be floating point in [{bounds.lower}, {bounds.upper}], got dtype "
            f"{images.dtype.name}. Convert them, e.g. tf.cast(images, tf.float32) / 255."
        )
    check_image_shape(images, image_shape)
    lowest, highest = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if not bool(tf.reduce_all(tf.math.is_finite(images))):
        raise ValueError("images hold NaN or infinity. Remove or repair those examples.")
    if lowest < bounds.lower - _RANGE_TOLERANCE or highest > bounds.upper + _RANGE_TOLERANCE:
        hint = (
            " They look like 0..255 pixels: divide by 255."
            if highest > 1.5 and bounds.upper <= 1.0
            else " Rescale them, or give the Classifier other bounds."
        )
        raise ValueError(
            f"images must lie in [{bounds.lower}, {bounds.upper}], got "
            f"[{lowest:.4g}, {highest:.4g}].{hint}"
        )
    return tf.cast(images, dtype)


def check_image_shape(images: tf.Tensor, image_shape: tuple[int | None, ...]) -> None:
    """Raises ValueError unless images are `[batch, *image_shape]` (works on symbolic tensors too).

    What a symbolic shape leaves open is not checked.
    """
    if images.shape.rank not in (None, 4):
        raise ValueError(
            f"images must have rank 4, [batch, height, width, channels], got shape "
            f"{tuple(images.shape)}. Add a batch axis with images[None] or a channel axis with "
            f"images[..., None]."
        )
    if images.shape[0] == 0:
        raise ValueError("images hold no examples (batch size 0).")
    if not tf.TensorShape(image_shape).is_compatible_with(images.shape[1:]):
        raise ValueError(
            f"images must have shape [batch, {', '.join(str(n) for n in image_shape)}], got "
            f"{tuple(images.shape)}. Resize them to what the network takes."
        )


def check_labels(
    labels: Any, *, batch_size: int, num_classes: int, name: str = "labels"
) -> tf.Tensor:
    """Returns class numbers as int32 `[batch]`, or says what is wrong with them.

    Raises:
        TypeError: not integers.
        ValueError: one-hot, wrong length, or outside `[0, num_classes)`.
    """
    labels = labels if tf.is_tensor(labels) else tf.convert_to_tensor(np.asarray(labels))
    check_label_rank(labels, name)
    if not labels.dtype.is_integer:
        raise TypeError(
            f"{name} must be integers [batch], got dtype {labels.dtype.name}. "
            f"Convert them with tf.cast({name}, tf.int32)."
        )
    if labels.shape[0] != batch_size:
        raise ValueError(
            f"{name} must have one entry per image ({batch_size}), got {labels.shape[0]}."
        )
    lowest, highest = int(tf.reduce_min(labels)), int(tf.reduce_max(labels))
    if lowest < 0 or highest >= num_classes:
        raise ValueError(
            f"{name} must lie in [0, {num_classes}), got [{lowest}, {highest}]. The network has "
            f"{num_classes} classes; do the data set and the network belong together?"
        )
    return tf.cast(labels, tf.int32)


def check_label_rank(labels: tf.Tensor, name: str = "labels") -> None:
    """Raises ValueError unless labels have rank 1 (works on symbolic tensors too)."""
    if labels.shape.rank not in (None, 1):
        raise ValueError(
            f"{name} must be class numbers of shape [batch], got shape {tuple(labels.shape)}. "
            f"For one-hot labels pass tf.argmax({name}, axis=-1)."
        )


def assert_image_range(images: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """Returns `images`, asserting inside compiled steps too that they are finite and in range."""
    inside = (images >= bounds.lower - _RANGE_TOLERANCE) & (
        images <= bounds.upper + _RANGE_TOLERANCE
    )
    message = (
        f"images must be finite and in [{bounds.lower}, {bounds.upper}] "
        f"(divide 0..255 by 255), got lowest and highest:"
    )
    return _asserted(images, inside, message)


def assert_known_labels(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns labels as int32, asserting inside compiled steps too that they are class numbers."""
    labels = tf.cast(labels, tf.int32) if labels.dtype == tf.bool else labels
    whole = tf.cast(labels, tf.int32)
    known = (whole >= 0) & (whole < num_classes) & (tf.cast(whole, labels.dtype) == labels)
    message = f"labels must be whole numbers in [0, {num_classes}), got lowest and highest:"
    return tf.cast(_asserted(labels, known, message), tf.int32)


def _asserted(values: tf.Tensor, condition: tf.Tensor, message: str) -> tf.Tensor:
    found = [message, tf.reduce_min(values), tf.reduce_max(values)]
    # None when run eagerly, where it raises at once.
    check = tf.debugging.Assert(tf.reduce_all(condition), found)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(values)


def check_epsilon(value: float, name: str = "epsilon") -> float:
    """Returns an l-inf size as a float, or asks whether /255 was meant.

    Args:
        value: size in the unit of the images, within [0, 1].
        name: how the argument is called in the message.

    Raises:
        TypeError: not a number.
        ValueError: negative, NaN, or above 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a number in [0, 1], got {value!r}.")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must be in [0, 1], got {value}.")
    if value > 1:
        raise ValueError(
            f"{name} must be in [0, 1], the unit of the images, got {value}. "
            f"Was {value}/255 = {value / 255:.4g} meant?"
        )
    return float(value)


def check_bounds(bounds: Any) -> Bounds:
    """Returns a pixel range as `Bounds`, whatever pair of numbers it was given as.

    Raises:
        TypeError: not a pair of numbers.
        ValueError: not finite, or the lower bound is not below the upper one.

    Example:
        >>> check_bounds((0, 255)).upper
        255.0
    """
    try:
        lower, upper = (float(bound) for bound in bounds)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"bounds must be a pair (lower, upper) of numbers, got {bounds!r}."
        ) from error
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError(f"bounds must be finite, with lower < upper, got {tuple(bounds)}.")
    return Bounds(lower, upper)


def check_count(value: int, name: str, least: int = 1) -> int:
    """Returns a whole number of at least `least`.

    Raises:
        TypeError: not an integer.
        ValueError: too small.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    return int(value)


def check_choice(value: Any, choices: Iterable[str], what: str) -> Any:
    """Returns a name that is one of the choices.

    Args:
        value: what was given.
        choices: the known names.
        what: what the name is of, for the message: "Unknown distance 'l3'."

    Raises:
        ValueError: no such name; lists the near ones and all known ones.

    Example:
        >>> check_choice("mean", ("mean", "sum"), "reduction")
        'mean'
    """
    names = tuple(choices)
    if value not in names:
        raise ValueError(f"Unknown {what} {value!r}.{near_names(str(value), names)}")
    return value


def near_names(name: str, known: Iterable[str]) -> str:
    """A sentence that lists near and known names, for errors about unknown ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return f"{hint} Known: {', '.join(known)}."


def check_dataset(dataset: tf.data.Dataset, image_key: str | int = 0) -> tf.data.Dataset:
    """Returns a finite data set of batches, or says what is wrong with it.

    Args:
        dataset: gives tuples `(images, labels)`, or dictionaries that hold `image` and `label`.
        image_key: where its elements hold the images: 0 in tuples, `"image"` in dictionaries.

    Raises:
        TypeError: elements of another structure.
        ValueError: single images instead of batches, or endless.
    """
    spec = dataset.element_spec
    if isinstance(image_key, int) and (not isinstance(spec, tuple) or len(spec) < 2):
        raise TypeError(
            f"The data set must give tuples (images, labels), got {spec}. Map it to such tuples."
        )
    if isinstance(image_key, str) and not (
        isinstance(spec, Mapping) and {"image", "label"} <= spec.keys()
    ):
        raise TypeError(
            f"The data set must give dicts of image and label, and boxes and box_labels if there "
            f"are boxes, got {spec}. aad_tf.data.boxed_batches makes such ones; from tuples they "
            f"come with dataset.map(lambda images, labels: {{'image': images, 'label': labels}})."
        )
    shape = getattr(spec[image_key], "shape", None)
    if shape is not None and shape.rank == 3:
        raise ValueError(
            f"The data set must give batches of images [batch, height, width, channels], got "
            f"single images {tuple(shape)}. Call dataset.batch(100) on it."
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("The data set is endless. Call dataset.take(...) on it.")
    return dataset
