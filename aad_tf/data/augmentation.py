"""Random augmentation of training images, which a resumed run repeats exactly.

The augmentation "inception" is that of InceptionV3's public training code in its fast variant: a
random box of 8% to 100% of the image's area with a ratio of width to height of 3/4 to 4/3 is cut
out and resized bilinearly; mirrored with probability 1/2; brightness is changed by up to 32/255 and
then, for colour images, saturation by a factor of 0.5 to 1.5; values are clipped to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from aad_tf.data.images import resized
from aad_tf.utils.checks import check_choice

# Least part of the image's area that a crop keeps, and the widest ratio of its sides.
_LEAST_AREA = 0.5
_WIDEST_RATIO = 4.0 / 3.0

# "shift_flip": images are moved by up to one part of so many of their sides.
_SHIFT = 8

# "inception": area of the box, and its ratio of width to height; a box that does not fit is drawn
# again, up to so many times.
AREA = (0.08, 1.0)
RATIO = (3.0 / 4.0, 4.0 / 3.0)
_ATTEMPTS = 100
BRIGHTNESS = 32.0 / 255.0
SATURATION = (0.5, 1.5)

AUGMENTATIONS = ("none", "flip", "shift_flip", "crop_flip", "inception")


def augmented(
    images: tf.Tensor,
    kind: str,
    seed: tf.Tensor,
    *,
    size: tuple[int, int] | None = None,
    start: Any = 0,
    whole: Any = None,
) -> tf.Tensor:
    """Augments the images of a batch, or of a part of a batch.

    Random numbers are drawn for the whole batch, so the augmented parts of a batch, concatenated,
    equal the augmented batch bit for bit.

    Args:
        images: float32 `[batch, height, width, channels]` in [0, 1]: consecutive images of a batch.
        kind: `"none"`;
            `"flip"`: each image is mirrored left to right with probability 1/2;
            `"shift_flip"`: each image is also moved by up to an eighth of its height and width, and
                pixels outside become 0, as in a random crop of 32x32 images padded by 4;
            `"crop_flip"`: mirrored with probability 1/2, and a random box of at least half of the
                area is cut out and resized;
            `"inception"`: a random box of 8% or more of the area is cut out and resized, mirrored
                with probability 1/2, its brightness is changed by up to 32/255, and the saturation
                of colour images by a factor of 0.5 to 1.5.
        seed: int64 `[2]`; the same seed gives the same images.
        size: (height, width) that images are resized to, bilinearly; None keeps their size.
        start: index of the first of `images` in the batch.
        whole: number of images of the batch; None if `images` are the whole batch.

    Returns:
        float32 `[batch, *size, channels]` in [0, 1].

    Raises:
        ValueError: unknown kind.

    Example:
        >>> augmented(images, "flip", tf.constant([0, 7], tf.int64))
    """
    check_choice(kind, AUGMENTATIONS, "augmentation")
    if kind == "none":
        return resized(images, size)
    count = tf.shape(images)[0]
    start = tf.cast(start, tf.int32)
    if kind == "inception":
        return _each_as_inception(images, seed, start, size)
    drawn = count if whole is None else tf.cast(whole, tf.int32)
    local = slice(start, start + count)
    seeds = tf.random.experimental.stateless_split(seed, 4)
    mirrored = (tf.random.stateless_uniform([drawn], seeds[0]) < 0.5)[local]
    if kind == "flip":
        flipped = tf.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return resized(flipped, size)
    if kind == "shift_flip":
        return resized(_shifted(images, mirrored, seeds[1:3], drawn, local), size)
    boxes = tf.stack(_random_boxes(drawn, seeds[1:]), axis=1)[local]
    # A box with its sides exchanged is read mirrored, so one operation crops, flips and resizes.
    boxes = tf.where(mirrored[:, None], tf.gather(boxes, [0, 3, 2, 1], axis=1), boxes)
    box_size = tf.shape(images)[1:3] if size is None else size
    return tf.image.crop_and_resize(images, boxes, tf.range(count), box_size)


def _shifted(
    images: tf.Tensor, mirrored: tf.Tensor, seeds: tf.Tensor, drawn: tf.Tensor, local: slice
) -> tf.Tensor:
    """Each image moved by whole pixels, and mirrored where `mirrored` says so."""
    sides = tf.shape(images)[1:3]
    far = sides // _SHIFT
    moved = tf.pad(images, [[0, 0], [far[0], far[0]], [far[1], far[1]], [0, 0]])
    for axis in (0, 1):
        begin = tf.random.stateless_uniform(
            [drawn], seeds[axis], 0, 2 * far[axis] + 1, dtype=tf.int32
        )[local]
        places = tf.range(sides[axis])[tf.newaxis]
        if axis == 1:
            places = tf.where(mirrored[:, tf.newaxis], places[:, ::-1], places)
        moved = tf.gather(moved, begin[:, tf.newaxis] + places, axis=axis + 1, batch_dims=1)
    return tf.ensure_shape(moved, images.shape)


def _each_as_inception(
    images: tf.Tensor, seed: tf.Tensor, start: tf.Tensor, size: tuple[int, int] | None
) -> tf.Tensor:
    """Every image with its own seed, made of its index in the batch."""
    size = size or tuple(images.shape[1:3])

    def change(example: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, index = example
        key = tf.random.experimental.stateless_fold_in(seed, index)
        return inception_image(tf.shape(image), _cropping(image), key, size)

    indices = tf.cast(start + tf.range(tf.shape(images)[0]), seed.dtype)
    signature = tf.TensorSpec((*size, images.shape[3]), images.dtype)
    return tf.map_fn(change, (images, indices), fn_output_signature=signature)


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
    offset = tf.random.stateless_uniform([2, count], seeds[2])
    top, left = offset[0] * (1.0 - height), offset[1] * (1.0 - width)
    return top, left, top + height, left + width


def random_window(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws the random box of the augmentation "inception".

    It has 8% to 100% of the image's area and a ratio of width to height of 3/4 to 4/3; it is the
    whole image if no such box fits after 100 draws.

    Args:
        shape: int32 `[3]`: height, width and channels of the image.
        seed: int `[2]`; the same seed gives the same box.

    Returns:
        int32 `[4]`: top, left, height and width of the box in pixels, within the image.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.zeros([1, 0, 4]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=RATIO,
        area_range=AREA,
        max_attempts=_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def inception_image(
    shape: tf.Tensor,
    crop: Callable[[tf.Tensor], tf.Tensor],
    seed: tf.Tensor,
    size: tuple[int, int],
) -> tf.Tensor:
    """Augments one image by "inception", the augmentation of InceptionV3's training.

    A random box of 8% to 100% of the area is cut out and resized bilinearly. It is mirrored left to
    right with probability 1/2. Brightness is changed by up to 32/255, and then the saturation of
    colour images by a factor of 0.5 to 1.5.

    Args:
        shape: int32 `[3]`: height, width and channels of the image.
        crop: function from a box int32 `[4]` (top, left, height, width) in pixels to that part of
            the image, float32 in [0, 1]; it may decode this part of a file alone.
        seed: int `[2]`; the same seed gives the same image.
        size: (height, width) of the result in pixels.

    Returns:
        float32 `[*size, channels]`, clipped to [0, 1].
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)
    image = tf.image.resize(crop(random_window(shape, seeds[0])), size)
    mirrored = tf.random.stateless_uniform([], seeds[1]) < 0.5
    # A branch and tf.reverse take a tenth of the time of tf.where and a slice.
    image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    image += tf.random.stateless_uniform([], seeds[2], -BRIGHTNESS, BRIGHTNESS)
    # Gray images have no saturation.
    if image.shape[-1] == 3:
        factor = tf.random.stateless_uniform([], seeds[3], *SATURATION)
        image = saturated(image, factor)
    return tf.clip_by_value(image, 0.0, 1.0)


def saturated(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the saturation of an image, faster than `tf.image.adjust_saturation`.

    Args:
        image: float32 `[height, width, 3]`, RGB, not negative.
        factor: scalar by which the saturation of each pixel is multiplied. A saturation that would
            exceed 1 becomes 1.

    Returns:
        float32 `[height, width, 3]`; hue and largest channel of every pixel stay as they are.
    """
    red, green, blue = tf.unstack(image, axis=-1)
    value = tf.maximum(tf.maximum(red, green), blue)
    spread = value - tf.minimum(tf.minimum(red, green), blue)
    # Saturation is spread / value, so the factor that brings it to 1 is value / spread.
    most = tf.math.divide_no_nan(value, spread)
    return value[..., None] - (value[..., None] - image) * tf.minimum(factor, most)[..., None]
