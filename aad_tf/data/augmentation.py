"""Random changes of training images that a resumed run repeats exactly."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from aad_tf.data.inception import inception_picture

# Least part of the picture's area that a crop keeps, and the widest ratio of its sides.
_LEAST_AREA = 0.5
_WIDEST_RATIO = 4.0 / 3.0

AUGMENTATIONS = ("none", "flip", "crop_flip", "inception")


def augmented(
    images: tf.Tensor,
    kind: str,
    seed: tf.Tensor,
    *,
    image_size: int = 0,
    start: Any = 0,
    whole: Any = None,
) -> tf.Tensor:
    """Changes the images of a batch, or of a slice of it, at random.

    Random numbers are drawn for the whole batch and those of the slice used, so the slices of
    a batch, put together, equal the batch changed at once, bit for bit.

    Args:
        images: float32 `[batch, height, width, channels]`.
        kind: "none"; "flip", which mirrors half of the images; "crop_flip", which besides cuts
            out and resizes a random half or more; "inception", the changes InceptionV3 is
            trained with (see `aad_tf.data.inception`).
        seed: int64 `[2]`; the same seed gives the same images.
        image_size: side of the images returned; 0 keeps that of `images`.
        start: place of the first of `images` in their batch.
        whole: number of images of their batch; None if `images` are all.

    Returns:
        float32; bilinear resizing keeps the range of values.

    Raises:
        ValueError: unknown kind.

    Example:
        >>> augmented(images, "flip", tf.constant([0, 7], tf.int64))
    """
    if kind not in AUGMENTATIONS:
        raise ValueError(f"Unknown augmentation {kind!r}. Known: {', '.join(AUGMENTATIONS)}.")
    if kind == "none":
        return resized(images, image_size)
    count = tf.shape(images)[0]
    start = tf.cast(start, tf.int32)
    if kind == "inception":
        return _each_as_inception(images, seed, start, image_size)
    drawn = count if whole is None else tf.cast(whole, tf.int32)
    own = slice(start, start + count)
    seeds = tf.random.experimental.stateless_split(seed, 4)
    mirrored = (tf.random.stateless_uniform([drawn], seeds[0]) < 0.5)[own]
    if kind == "flip":
        flipped = tf.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return resized(flipped, image_size)
    boxes = tf.stack(_random_boxes(drawn, seeds[1:]), axis=1)[own]
    # A box with its sides exchanged is read mirrored, so one operation crops, flips and resizes.
    boxes = tf.where(mirrored[:, None], tf.gather(boxes, [0, 3, 2, 1], axis=1), boxes)
    size = [image_size, image_size] if image_size else tf.shape(images)[1:3]
    return tf.image.crop_and_resize(images, boxes, tf.range(count), size)


def resized(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes images bilinearly to a square; a size of 0 leaves them as they are."""
    return tf.image.resize(images, (image_size, image_size)) if image_size else images


def _each_as_inception(
    images: tf.Tensor, seed: tf.Tensor, start: tf.Tensor, image_size: int
) -> tf.Tensor:
    """Every image with a seed of its own, made of its place in the batch."""

    def change(example: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, place = example
        key = tf.random.experimental.stateless_fold_in(seed, place)
        return inception_picture(tf.shape(image), _cropping(image), key, size)

    size = (image_size, image_size) if image_size else tuple(images.shape[1:3])
    places = tf.cast(start + tf.range(tf.shape(images)[0]), seed.dtype)
    signature = tf.TensorSpec((*size, images.shape[3]), images.dtype)
    return tf.map_fn(change, (images, places), fn_output_signature=signature)


def _cropping(image: tf.Tensor):
    def crop(window: tf.Tensor) -> tf.Tensor:
        return tf.image.crop_to_bounding_box(image, *tf.unstack(window))

    return crop


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
