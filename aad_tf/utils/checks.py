"""Checks of arguments. Each error says what was expected, what was given, and how to correct it."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.types import Bounds

# Largest seed of training, whose compiled steps keep it as int32.
LARGEST_SEED = 2**31 - 1
# float32 arithmetic such as 255 * (1 / 255) may exceed a bound by rounding.
_RANGE_TOLERANCE = 1e-4
# Images beyond a bound by at most this part of the width of the range are taken to be meant for it.
_SLIGHTLY = 0.1
# Where a pixel range ends at least here, [0, 1] is next to nothing of it.
_GRAY_LEVELS = 100


def check_images(
    images: Any,
    *,
    bounds: Bounds,
    image_shape: tuple[int | None, ...],
    dtype: tf.DType,
    shrinking: str = "",
) -> tf.Tensor:
    """Checks a batch of images and converts it to a tensor.

    There is a warning if all pixels lie in [0, 1] although 0..255 is expected.

    Args:
        images: array-like `[batch, H, W, C]`, floating point, within `bounds`. They may exceed the
            bounds by 1e-4.
        bounds: pixel range that the classifier expects.
        image_shape: expected `(H, W, C)`; an entry None matches any size.
        dtype: dtype of the result.
        shrinking: names of layers which show that the network expects pixels in 0..255, for the
            advice in error messages; empty if there are none.

    Returns:
        The images as a tensor of dtype `dtype`.

    Raises:
        TypeError: not a floating-point array.
        ValueError: wrong rank or shape, no examples, NaN or infinity, or pixels out of range.
    """
    images = images if tf.is_tensor(images) else tf.convert_to_tensor(np.asarray(images))
    if not images.dtype.is_floating:
        floats = "tf.cast(images, tf.float32)"
        if shrinking:
            advice = f"Convert them with {floats}; {advice_for_255(bounds, shrinking)}"
        elif bounds.upper >= 255:
            advice = f"Convert them with {floats}."
        else:
            advice = f"Convert them, e.g. {_from_255(bounds, floats)}."
        raise TypeError(
            f"images must be floating point in [{bounds.lower}, {bounds.upper}], got dtype "
            f"{images.dtype.name}. {advice}"
        )
    check_image_shape(images, image_shape)
    lowest, highest = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if not bool(tf.reduce_all(tf.math.is_finite(images))):
        raise ValueError("images hold NaN or infinity. Remove or repair those examples.")
    if lowest < bounds.lower - _RANGE_TOLERANCE or highest > bounds.upper + _RANGE_TOLERANCE:
        raise ValueError(
            f"images must lie in [{bounds.lower}, {bounds.upper}], got "
            f"[{lowest:.4g}, {highest:.4g}]. {_range_advice(lowest, highest, bounds, shrinking)}"
        )
    warn_of_unit_images(images, bounds)
    return tf.cast(images, dtype)


def _range_advice(lowest: float, highest: float, bounds: Bounds, shrinking: str) -> str:
    """What to do with images that go beyond the bounds."""
    lower, upper = bounds
    slightly = _SLIGHTLY * (upper - lower)
    if lower - slightly <= lowest and highest <= upper + slightly:
        return (
            f"They go slightly beyond it: tf.clip_by_value(images, {lower}, {upper}) cuts that off."
        )
    # Also somewhat beyond, as augmentation leaves 0..255.
    if upper <= 1.0 and lowest >= -25 and 2 < highest <= 280:
        return f"They look like 0..255 pixels: {advice_for_255(bounds, shrinking)}"
    return "Rescale them, or give the Classifier other bounds."


def advice_for_255(bounds: Bounds, shrinking: str = "") -> str:
    """Makes the advice of error messages about images with pixels in 0..255.

    Args:
        bounds: pixel range that the network was said to expect.
        shrinking: names of layers which show that the network expects 0..255; empty if there are
            none.

    Returns:
        A clause that says how to rescale the images or give other bounds.
    """
    wrapped = "wrap it with aad_tf.Classifier.from_keras(model, bounds=(0, 255))"
    if not shrinking:
        unit = bounds == (0, 1)
        scaled = "divide by 255" if unit else f"take {_from_255(bounds, 'images')}"
        return (
            f"{scaled} if the network was trained on images in [{bounds.lower:g}, "
            f"{bounds.upper:g}]; if it was trained on 0..255, {wrapped}."
        )
    return (
        f"the network was trained on 0..255, as {shrinking} shows; {wrapped}, where sizes of "
        f"attacks are gray levels, as in fgsm(8), or put keras.layers.Rescaling(255) in front of "
        f"it and divide images by 255."
    )


def _from_255(bounds: Bounds, images: str) -> str:
    """An expression that makes images in the bounds of images in 0..255."""
    lower, width = bounds.lower, bounds.upper - bounds.lower
    scaled = f"{images} / 255" if width == 1 else f"{images} * ({width:g} / 255)"
    return scaled if lower == 0 else f"{scaled} {'+' if lower > 0 else '-'} {abs(lower):g}"


def takes_gray_levels(bounds: Bounds) -> bool:
    """Whether a pixel range is one of gray levels such as 0..255: its upper end is at least 100."""
    return bounds.upper >= _GRAY_LEVELS


def warn_of_unit_images(images: tf.Tensor, bounds: Bounds) -> None:
    """Warns if all pixels lie in [0, 1] although the pixel range is that of gray levels.

    It works eagerly and inside a `tf.function`, but XLA cannot compile it.

    Args:
        images: tensor of images.
        bounds: pixel range that the network expects; nothing is done if its upper end is below 100.
    """
    if not takes_gray_levels(bounds):
        return

    def warn(lowest: Any, highest: Any) -> None:
        if lowest >= 0 and 0 < highest <= 1:
            warnings.warn(
                f"images all lie in [0, 1], where the network takes [{bounds.lower}, "
                f"{bounds.upper}]: it sees next to nothing of them. Multiply them by 255, or say "
                f"bounds=(0, 1) if it was trained on such.",
                stacklevel=2,
            )

    extremes = [tf.cast(f(images), tf.float32) for f in (tf.reduce_min, tf.reduce_max)]
    if tf.executing_eagerly():
        warn(*(float(value) for value in extremes))
    else:
        tf.numpy_function(warn, extremes, [])


def check_image_shape(images: tf.Tensor, image_shape: tuple[int | None, ...]) -> None:
    """Checks the shape of a batch of images; works on symbolic tensors too.

    Args:
        images: tensor of images. Dimensions that a symbolic tensor does not know are not checked.
        image_shape: expected `(H, W, C)`; an entry None matches any size.

    Raises:
        ValueError: not of shape `[batch, *image_shape]`, or no examples.
    """
    if images.shape.rank not in (None, 4):
        raise ValueError(
            f"images must have rank 4, [batch, height, width, channels], got shape "
            f"{tuple(images.shape)}. Add a batch axis with images[None] or a channel axis with "
            f"images[..., None]."
        )
    if images.shape[0] == 0:
        raise ValueError("images hold no examples (batch size 0).")
    expected = tf.TensorShape(image_shape)
    if not expected.is_compatible_with(images.shape[1:]):
        advice = _image_advice(expected, images.shape[1:])
        if expected.is_compatible_with([*images.shape[2:], images.shape[1]]):
            advice = (
                "They look channels-first: move that axis to the end, with "
                "np.moveaxis(np.asarray(images), 1, -1)."
            )
        raise ValueError(
            f"images must have shape [batch, {', '.join(str(n) for n in image_shape)}], got "
            f"{tuple(images.shape)}. {advice}"
        )


def _image_advice(expected: tf.TensorShape, got: tf.TensorShape) -> str:
    """How images `[H, W, C]` of one shape get the size and the channels of another."""
    wanted, held = expected[-1], got[-1]
    channels = {
        (3, 1): "They are gray where the network takes colour: use "
        "tf.image.grayscale_to_rgb(images).",
        (1, 3): "They are in colour where the network takes gray images: use "
        "tf.image.rgb_to_grayscale(images).",
        (3, 4): "They have a fourth channel, opacity: leave it out with images[..., :3].",
    }.get((wanted, held), "The numbers of channels differ.")
    advice = [] if None in (wanted, held) or wanted == held else [channels]
    if not expected[:-1].is_compatible_with(got[:-1]):
        advice.insert(0, "Resize them to what the network takes.")
    return " ".join(advice)


def check_labels(
    labels: Any, *, batch_size: int, num_classes: int, name: str = "labels"
) -> tf.Tensor:
    """Checks class numbers and converts them to a tensor; inside a graph use `label_vector`.

    Args:
        labels: array-like `[batch]` or `[batch, 1]` of integers, booleans, or floats that are whole
            numbers.
        batch_size: expected number of labels.
        num_classes: number of classes; labels must be in [0, num_classes).
        name: name of the argument in error messages.

    Returns:
        int32 `[batch]`.

    Raises:
        TypeError: text, or not numbers.
        ValueError: one-hot labels or several labels per image, wrong length, not whole numbers, or
            numbers outside of [0, num_classes).
    """
    labels = label_vector(labels, name)
    if labels.shape[0] != batch_size:
        raise ValueError(
            f"{name} must have one entry per image ({batch_size}), got {labels.shape[0]}."
        )
    values = labels.numpy()
    odd = values[values != np.round(values)]
    if odd.size:
        raise ValueError(
            f"{name} must be whole numbers in [0, {num_classes}), got {odd.flat[0]:.4g}. Are they "
            f"something else than class numbers?"
        )
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= num_classes:
        counted = lowest == 1 and highest == num_classes
        raise ValueError(
            f"{name} must lie in [0, {num_classes}), got [{lowest}, {highest}]. "
            + (
                f"If they are counted from 1, use {name} - 1; if others are 0, the data set has "
                f"more classes than the network, which has {num_classes}."
                if counted
                else f"The network has {num_classes} classes; do the data set and the network "
                f"belong together?"
            )
        )
    return tf.cast(labels, tf.int32)


def label_vector(labels: Any, name: str = "labels") -> tf.Tensor:
    """Checks type and shape of class numbers and converts them to a tensor `[batch]`.

    It works on symbolic tensors too. The values are not checked; `check_labels` and
    `assert_known_labels` do that.

    Args:
        labels: array-like or tensor `[batch]` or `[batch, 1]` of integers, booleans or floats.
        name: name of the argument in error messages.

    Returns:
        Tensor `[batch]`; booleans become int32, other labels keep their dtype.

    Raises:
        TypeError: text, or not numbers.
        ValueError: another shape; the message says whether the labels look one-hot, or like several
            classes per image.
    """
    labels = labels if tf.is_tensor(labels) else _label_array(labels, name)
    if labels.dtype == tf.string:
        raise TypeError(_text_labels(name))
    if labels.dtype == tf.bool:
        labels = tf.cast(labels, tf.int32)
    if not (labels.dtype.is_integer or labels.dtype.is_floating):
        raise TypeError(f"{name} must be class numbers [batch], got dtype {labels.dtype.name}.")
    rank = labels.shape.rank
    if rank is None or (rank == 2 and labels.shape[1] is None):
        single = tf.size(labels) == tf.shape(labels)[0]
        labels = _asserted(labels, single, f"{name} must be class numbers of shape [batch].")
        return tf.reshape(labels, (-1,))
    if rank == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if rank != 1:
        raise ValueError(
            f"{name} must be class numbers of shape [batch], got "
            f"{f'shape {tuple(labels.shape)}' if rank else f'the single number {labels}'}. "
            f"{_shape_advice(labels, name)}"
        )
    return labels


def _label_array(labels: Any, name: str) -> tf.Tensor:
    array = np.asarray(labels)
    if array.dtype.kind == "O":  # As pandas gives columns of text, or of numbers with gaps.
        array = np.array(array.tolist())
    if array.dtype.kind in "US":
        raise TypeError(_text_labels(name, f", got {array.flat[0].item()!r}" if array.size else ""))
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be class numbers [batch], got {array.dtype} values.")
    return tf.convert_to_tensor(array)


def _text_labels(name: str, got: str = ", got text") -> str:
    return (
        f"{name} must be class numbers [batch]{got}. Make numbers of names with "
        f"[class_names.index(name) for name in {name}], or in a data set with "
        f"keras.layers.StringLookup(vocabulary=class_names, num_oov_indices=0)."
    )


def _shape_advice(labels: tf.Tensor, name: str) -> str:
    """What to do with labels that are no vector."""
    if labels.shape.rank == 0:
        return f"Give one per image: np.full(len(images), {labels})."
    if labels.shape.rank > 2:
        return "A classifier has one label per image, not one per pixel or box."
    one_hot = f"They are one-hot: pass tf.argmax({name}, axis=-1)."
    several = (
        "They mark several classes per image (multi-label): attacks, maps and defences here are "
        "for one class per image."
    )
    values = tf.get_static_value(labels)
    if values is None:
        return (
            f"If each row holds a single 1 and else 0, t{one_hot[1:]} If rows hold several, t"
            f"{several[1:]}"
        )
    if not np.isin(values, (0, 1)).all():
        return (
            "Smoothed or mixed labels are not taken; a defence smooths labels itself with "
            "label_smoothing=0.1."
        )
    return one_hot if (values.sum(axis=-1) == 1).all() else several


def assert_image_range(images: tf.Tensor, bounds: Bounds, shrinking: str = "") -> tf.Tensor:
    """Asserts that images are finite and within the pixel range, eagerly or in a `tf.function`.

    XLA drops assertions, so it has no effect inside a function that XLA compiles.

    Args:
        images: tensor of images.
        bounds: pixel range that the network expects, which images may exceed by 1e-4.
        shrinking: names of layers which show that the network expects pixels in 0..255, for the
            advice in the message; empty if there are none.

    Returns:
        The images, to be used instead of the argument.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, for NaN, infinity or pixels out of range.
    """
    inside = (images >= bounds.lower - _RANGE_TOLERANCE) & (
        images <= bounds.upper + _RANGE_TOLERANCE
    )
    lower, upper = bounds
    message = (
        f"images must be finite and in [{lower}, {upper}]. Slightly beyond it, "
        f"tf.clip_by_value(images, {lower}, {upper}) cuts that off. "
    )
    if upper <= 1:
        message += f"Of 0..255 pixels: {advice_for_255(bounds, shrinking)} "
    return _asserted(images, inside, f"{message}Got lowest and highest:")


def assert_any_images(images: tf.Tensor) -> tf.Tensor:
    """Asserts that a batch of images is not empty, eagerly or in a `tf.function`.

    XLA drops assertions, so it has no effect inside a function that XLA compiles.

    Args:
        images: tensor of images, `[batch, H, W, C]`.

    Returns:
        The images, to be used instead of the argument.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, for a batch without images.
    """
    message = (
        "A batch without images has no mean loss. Several replicas share a batch, so it needs one "
        "image for each: choose a batch size that leaves enough in the last one, or train with "
        "dataset.batch(..., drop_remainder=True). Number of images:"
    )
    count = tf.shape(images)[0]
    # None when run eagerly, where it raises at once.
    check = tf.debugging.Assert(count > 0, [message, count])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(images)


def assert_known_labels(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Asserts that labels are class numbers, eagerly or in a `tf.function`.

    Args:
        labels: tensor `[batch]` of integers, booleans or floats.
        num_classes: number of classes; labels must be whole numbers in [0, num_classes).

    Returns:
        int32 `[batch]`, to be used instead of the argument.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, for other labels.
    """
    labels = tf.cast(labels, tf.int32) if labels.dtype == tf.bool else labels
    whole = tf.cast(labels, tf.int32)
    known = (whole >= 0) & (whole < num_classes) & (tf.cast(whole, labels.dtype) == labels)
    message = f"labels must be whole numbers in [0, {num_classes}), got lowest and highest:"
    return tf.cast(_asserted(labels, known, message), tf.int32)


def _asserted(values: tf.Tensor, condition: Any, message: str) -> tf.Tensor:
    found = [message, tf.reduce_min(values), tf.reduce_max(values)]
    # None when run eagerly, where it raises at once.
    check = tf.debugging.Assert(tf.reduce_all(condition), found)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(values)


def check_number(value: Any, name: str, unit: str = "") -> float:
    """Checks that a value is a finite number.

    Args:
        value: a Python or NumPy integer or float. Booleans, text and tensors are refused.
        name: name of the argument in error messages.
        unit: text that follows "must be a number" in the error message.

    Returns:
        The number as a float.

    Raises:
        TypeError: not a number.
        ValueError: NaN or infinite.

    Example:
        >>> check_number(10, "sigma")
        10.0
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a number{unit}, got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)


def check_weight(value: Any, name: str) -> float:
    """Checks the weight of a term of a loss.

    Args:
        value: a number, at least 0.
        name: name of the argument in error messages.

    Returns:
        The weight as a float.

    Raises:
        TypeError: not a number.
        ValueError: negative, NaN or infinite.
    """
    weight = check_number(value, name)
    if weight < 0:
        raise ValueError(f"{name} must be at least 0, got {value}.")
    return weight


def check_epsilon(
    value: float,
    name: str = "epsilon",
    bounds: Bounds | None = None,
    *,
    norm: str = "linf",
    image_shape: Sequence[int | None] = (None,),
) -> float:
    """Checks a size in l-inf or l2, such as a budget or a step size.

    The largest size is the largest distance between two images. In l-inf it is the width of the
    pixel range, so that 8 where 8/255 is meant is refused for images in [0, 1]. In l2 it is that
    width times the root of the number of values of an image, 55.4 for 32x32x3: the check refuses
    128 where 128/255 is meant, but a smaller mistake is a size that an l2 budget may have.

    Args:
        value: size in the unit of the images, at least 0.
        name: name of the argument in error messages.
        bounds: pixel range of the images, by which the largest size is known; None for no such
            check.
        norm: norm of the size, `"linf"` or `"l2"`.
        image_shape: `(H, W, C)` of the images, which l2 needs; there is no largest size in l2 if
            an entry is None.

    Returns:
        The size as a float.

    Raises:
        TypeError: not a number.
        ValueError: negative, NaN or infinite, or larger than the largest size; the message then
            asks whether a division by 255 is missing.

    Example:
        >>> check_epsilon(2, bounds=Bounds(), norm="l2", image_shape=(28, 28, 1))
        2.0
    """
    size = check_number(value, name, unit=" in the unit of the images")
    if size < 0:
        raise ValueError(f"{name} must be finite and not negative, got {value}.")
    width = math.inf if bounds is None else bounds.upper - bounds.lower
    largest, why = width, ""
    if norm == "l2":
        known = [each for each in image_shape if each is not None]
        largest = width * math.sqrt(math.prod(known))
        largest = largest if len(known) == len(image_shape) else math.inf
        why = f", the largest l2 distance of two images of shape {tuple(image_shape)}"
    if bounds is not None and value > largest:
        times = "" if width == 1 else f" * {width:g}"
        meant = f" Was {value}/255{times} = {value / 255 * width:.4g} meant?"
        raise ValueError(
            f"{name} must be in [0, {largest:g}]{why}, the unit of images in [{bounds.lower:g}, "
            f"{bounds.upper:g}], got {value}.{meant if value <= 255 else ''}"
        )
    return size


def small_epsilon(name: str, epsilon: float, bounds: Bounds) -> str | None:
    """Makes a warning about an attack that changes pixels by less than half a gray level.

    A gray level is a 255th of the width of the pixel range.

    Args:
        name: name of the attack.
        epsilon: largest perturbation, in the unit of the images.
        bounds: pixel range of the images.

    Returns:
        The warning as text; None if the perturbation is 0, or half a gray level or more.
    """
    width = bounds.upper - bounds.lower
    levels = 255 * epsilon / width
    if not 0 < levels < 0.5 - 1e-6:
        return None
    meant = f" Was {epsilon * width:.4g} meant?" if width > 1 else ""
    return (
        f"{name} changes pixels by {epsilon:.3g} at most, {levels:.2g} of the 255 gray levels of "
        f"images in [{bounds.lower:g}, {bounds.upper:g}]: less than half a level, which no stored "
        f"image can show. Sizes are in the unit of the images.{meant}"
    )


def check_bounds(bounds: Any) -> Bounds:
    """Checks a pixel range.

    Args:
        bounds: any pair of numbers (lower, upper).

    Returns:
        The range as `Bounds` of floats.

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


def check_count(value: int, name: str, least: int = 1, most: int | None = None) -> int:
    """Checks that a value is an integer within limits.

    Args:
        value: a Python or NumPy integer; booleans are refused.
        name: name of the argument in error messages.
        least: smallest value allowed.
        most: largest value allowed; None for no limit.

    Returns:
        The value as an int.

    Raises:
        TypeError: not an integer.
        ValueError: below `least` or above `most`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}.")
    return int(value)


def check_choice(value: Any, choices: Iterable[str], what: str) -> Any:
    """Checks that a value is one of several names.

    Args:
        value: the value.
        choices: the names that are allowed.
        what: what the names are names of, for the error message: `"distance"` gives
            "Unknown distance 'l3'."

    Returns:
        The value.

    Raises:
        ValueError: not one of the names; the message lists similar names and all names.

    Example:
        >>> check_choice("mean", ("mean", "sum"), "reduction")
        'mean'
    """
    names = tuple(choices)
    if value not in names:
        raise ValueError(f"Unknown {what} {value!r}.{near_names(str(value), names)}")
    return value


def name_of_call(name: str, known: Iterable[str]) -> str:
    """Finds the name of an attack by its full text, or by the part before the parenthesis.

    Args:
        name: such as `"pgd"`, or one of the known names.
        known: names such as `"pgd(epsilon=0.1, step_size=0.01, num_steps=5)"`.

    Returns:
        The known name that equals `name`, or whose part before "(" does.

    Raises:
        ValueError: there is no such known name, or several.
    """
    known = list(known)
    if name in known:
        return name
    alike = [each for each in known if each.split("(")[0] == name]
    if len(alike) > 1:
        raise ValueError(f"Several attacks are {name!r}: choose one of {', '.join(alike)}.")
    if not alike:
        raise ValueError(f"No attack is named {name!r}." + near_names(name, known))
    return alike[0]


def near_names(name: str, known: Iterable[str]) -> str:
    """Makes the end of an error message about an unknown name.

    Args:
        name: the unknown name.
        known: all known names.

    Returns:
        Text that begins with a space and lists up to three similar names and all known names.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return f"{hint} Known: {', '.join(known)}."


def check_dataset(dataset: tf.data.Dataset, image_key: str | int = 0) -> tf.data.Dataset:
    """Checks that a data set is finite and consists of batches of images and labels.

    Args:
        dataset: data set whose elements are tuples `(images, labels)`, or dictionaries that hold
            `image` and `label`.
        image_key: the entry of an element that holds the images: 0 for tuples, `"image"` for
            dictionaries.

    Returns:
        The data set.

    Raises:
        TypeError: elements of another structure.
        ValueError: single images instead of batches, or a data set without end.
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
