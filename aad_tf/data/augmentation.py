"""Random changes of training images that a resumed run repeats exactly."""

from __future__ import annotations

import tensorflow as tf

# Least part of the picture's area that a crop keeps, and the widest ratio of its sides.
_LEAST_AREA = 0.5
_WIDEST_RATIO = 4.0 / 3.0

AUGMENTATIONS = ("none", "flip", "crop_flip")


def augmented(images: tf.Tensor, kind: str, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images and, for "crop_flip", cuts out and resizes a random part.

    Args:
        images: float32 `[batch, height, width, channels]`.
        kind: "none", "flip" or "crop_flip".
        seed: int64 `[2]`; the same seed gives the same images.

    Returns:
        float32, the shape of `images`; bilinear resizing keeps the range of values.

    Raises:
        ValueError: unknown kind.

    Example:
        >>> augmented(images, "flip", tf.constant([0, 7], tf.int64))
    """
    if kind not in AUGMENTATIONS:
        raise ValueError(f"Unknown augmentation {kind!r}. Known: {', '.join(AUGMENTATIONS)}.")
    if kind == "none":
        return images
    seeds = tf.random.experimental.stateless_split(seed, 4)
    count = tf.shape(images)[0]
    mirrored = tf.random.stateless_uniform([count], seeds[0]) < 0.5
    if kind == "flip":
        return tf.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    top, left, bottom, right = _random_boxes(count, seeds[1:])
    # A box with its sides exchanged is read mirrored, so one operation crops, flips and resizes.
    boxes = tf.stack(
        [top, tf.where(mirrored, right, left), bottom, tf.where(mirrored, left, right)], axis=1
    )
    return tf.image.crop_and_resize(images, boxes, tf.range(count), tf.shape(images)[1:3])


def _random_boxes(count: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Top, left, bottom and right of random boxes in [0, 1], `[count]` each."""
    area = tf.random.stateless_uniform([count], seeds[0], _LEAST_AREA, 1.0)
    log_ratio = tf.math.log(_WIDEST_RATIO)
    root = tf.exp(0.5 * tf.random.stateless_uniform([count], seeds[1], -log_ratio, log_ratio))
    height = tf.minimum(tf.sqrt(area) * root, 1.0)
    width = tf.minimum(tf.sqrt(area) / root, 1.0)
    place = tf.random.stateless_uniform([2, count], seeds[2])
    top, left = place[0] * (1.0 - height), place[1] * (1.0 - width)
    return top, left, top + height, left + width
