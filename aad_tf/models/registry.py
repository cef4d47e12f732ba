"""Networks by name: registering builders, and building a network that a configuration names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any

import keras

from aad_tf.utils.checks import check_choice, check_count, near_names

Builder = Callable[..., keras.Model]

_BUILDERS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Makes a function that builds a network available to `build` under a name.

    Args:
        name: non-empty string, not yet taken.

    Returns:
        A decorator for a function `(input_shape, num_classes, **options) -> keras.Model`.
        The model takes images in [0, 1] and returns logits.

    Raises:
        ValueError: if the name is empty or taken.

    Example:
        >>> @aad_tf.models.register("linear")
        ... def linear(input_shape, num_classes):
        ...     layers = [keras.Input(input_shape), keras.layers.Flatten(),
        ...               keras.layers.Dense(num_classes)]
        ...     return keras.Sequential(layers)
    """
    if not name:
        raise ValueError("A network's name must not be empty.")

    def add(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(
                f"The network name {name!r} is taken by {_BUILDERS[name].__module__}."
                f"{_BUILDERS[name].__qualname__}. Choose another name."
            )
        _BUILDERS[name] = builder
        return builder

    return add


def available() -> tuple[str, ...]:
    """Returns the names of networks that `build` takes, in alphabetical order.

    Returns:
        The names.

    Example:
        >>> aad_tf.models.available()
        ('cbam_resnet50', 'cifarnet', 'inception_small', 'inception_v3', 'lenet', 'resnet50',
         'vgg16')
    """
    return tuple(sorted(_BUILDERS))


def build(name: str, input_shape: Sequence[int], num_classes: int, **options: Any) -> keras.Model:
    """Builds a registered network with newly initialized weights.

    Args:
        name: one of `available()`.
        input_shape: (height, width, channels) of the images.
        num_classes: number of classes, at least 2.
        **options: passed on to the network's own function, for instance
            `dropout_rate=0.5`, `weight_decay=0.0`, `dtype="mixed_bfloat16"`.

    Returns:
        A Keras model from images [batch, height, width, channels] in [0, 1] to
        logits [batch, num_classes].

    Raises:
        ValueError: for an unknown name (the message lists the near ones), or a
            shape or number of classes that the network cannot take.
        TypeError: for an option that the network does not have, or a number of classes that is
            no integer.

    Example:
        >>> aad_tf.models.build("lenet", (28, 28, 1), 10).output_shape
        (None, 10)
    """
    builder = _BUILDERS[check_choice(name, available(), "network")]
    _check_options(name, builder, options)
    return builder(input_shape, num_classes, **options)


def check_image_shape(
    network: str,
    input_shape: Sequence[int],
    smallest: int,
    reason: str = "halves the image twice and must keep a feature map of at least 2x2",
    pad_to: int | None = None,
) -> tuple[int, int, int]:
    """Checks that a network can take images of a shape.

    Args:
        network: name of the network, for messages.
        input_shape: (height, width, channels).
        smallest: least height and width that the network can take.
        reason: why they must be so large, as the message says it after the network's name.
        pad_to: least height and width that the network itself pads images to; None if it does not.

    Returns:
        (height, width, channels) as ints.

    Raises:
        TypeError: if `pad_to` is no integer.
        ValueError: if the shape is not three positive integers, or is too small even when padded.
    """
    padded = 0 if pad_to is None else check_count(pad_to, f"pad_to of {network}")
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else input_shape
    if not _is_image_shape(shape):
        raise ValueError(
            f"{network} expected input_shape=(height, width, channels), three positive "
            f"integers without the batch axis; got {shape!r}."
        )
    if max(min(shape[:2]), padded) < smallest:
        raise ValueError(
            f"{network} {reason}: height and width must be at least {smallest}, got "
            f"{shape[0]}x{shape[1]}{f', padded to {padded}' if padded else ''}. Resize the images."
        )
    height, width, channels = map(int, shape)
    return height, width, channels


def _is_image_shape(shape: Any) -> bool:
    """Whether it is three positive integers; True and False are none."""
    return (
        isinstance(shape, tuple)
        and len(shape) == 3
        and all(isinstance(size, Integral) and not isinstance(size, bool) for size in shape)
        and min(shape) > 0
    )


def check_num_classes(network: str, num_classes: int) -> int:
    """Checks a number of classes.

    Args:
        network: name of the network, for messages.
        num_classes: number of classes, at least 2.

    Returns:
        The number as an int.

    Raises:
        TypeError: not an integer.
        ValueError: below 2.
    """
    return check_count(num_classes, f"num_classes of {network}", 2)


def _check_options(name: str, builder: Builder, options: dict[str, Any]) -> None:
    parameters = inspect.signature(builder).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    known = [key for key in parameters if key not in ("input_shape", "num_classes")]
    for key in options:
        if key not in known:
            raise TypeError(f"{name} has no option {key!r}.{near_names(key, known)}")
