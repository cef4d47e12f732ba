"""Resizes images and scales pixels to [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import tensorflow as tf

ImageSize = int | Sequence[int] | None
# Larger sides are taken for a mistake: one image would fill 200 MB.
LARGEST_SIDE = 4096


def sides(image_size: ImageSize) -> tuple[int, int] | None:
    """Converts an image size to (height, width).

    Args:
        image_size: one number for both sides, or (height, width), in pixels, each from 1 to 4096; 0
            or None for the size of the data.

    Returns:
        (height, width) in pixels; None for the size of the data.

    Raises:
        ValueError: anything else.

    Example:
        >>> sides(64)
        (64, 64)
    """
    if image_size is None or (_is_integer(image_size) and image_size == 0):
        return None
    both = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(both) != 2 or not all(_is_integer(side) and 1 <= side <= LARGEST_SIDE for side in both):
        raise ValueError(
            f"image_size must be 0 or None (the data's own size), an integer from 1 to "
            f"{LARGEST_SIDE}, or (height, width) of such, got {image_size!r}."
        )
    return int(both[0]), int(both[1])


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def resized(images: tf.Tensor, size: tuple[int, int] | None) -> tf.Tensor:
    """Resizes images bilinearly.

    Args:
        images: `[batch, height, width, channels]` or `[height, width, channels]`.
        size: (height, width) in pixels; None leaves the images as they are.

    Returns:
        float32 images of that size; of their own dtype without a size.
    """
    return images if size is None else tf.image.resize(images, size)


def unit_range(images: tf.Tensor) -> tf.Tensor:
    """Converts images of any shape to float32 in [0, 1].

    Args:
        images: uint8, which is divided by 255; or floating point that is in [0, 1] already, which
            is not checked.

    Returns:
        float32 of the same shape.
    """
    return tf.cast(images, tf.float32) / (255.0 if images.dtype == tf.uint8 else 1.0)
