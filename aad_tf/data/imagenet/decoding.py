"""Stored ImageNet images meet their boxes and are decoded, cropped and changed.

Boxes are joined by file name and follow the central crop. For training, only the part of a
file that is kept is decoded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.data.augmentation import augmented, inception_image
from aad_tf.data.imagenet.boxes import BoxIndex

CENTRAL_FRACTION = 0.875
# Scaling a photograph for its annotators rounds its sides; another shape is another image.
_ASPECT_TOLERANCE = 0.02

Example = dict[str, tf.Tensor]


def joined(index: BoxIndex) -> Callable[[Example], Example]:
    """Returns the function that looks up a stored example's boxes by its file name.

    It takes "image" uint8, "label" and "file_name", and gives "image" float32 in [0, 1],
    "label", "boxes" and "box_labels"; no boxes for an image without annotation. In a graph
    it raises tf.errors.InvalidArgumentError for an annotation of an image of another shape.
    """
    count = len(index.stems)
    with tf.device("CPU:0"):
        rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(index.stems), tf.range(count, dtype=tf.int64)
            ),
            default_value=count,
        )
        # One row more, of no boxes and no size, for images without annotation.
        starts = tf.constant(np.append(index.starts, index.starts[-1]))
        sizes = tf.constant(np.concatenate([index.sizes, np.zeros((1, 2), np.int32)]))
        boxes, labels = tf.constant(index.boxes), tf.constant(index.labels)

    def join(example: Example) -> Example:
        stem = tf.strings.regex_replace(example["file_name"], r"^.*/|\.[^.]*$", "")
        row = rows.lookup(stem)
        first, end = starts[row], starts[row + 1]
        with tf.control_dependencies(_same_shape(stem, example["image"], sizes[row])):
            image = tf.cast(example["image"], tf.float32) / 255.0
        return {
            "image": image,
            "label": tf.cast(example["label"], tf.int32),
            "boxes": boxes[first:end],
            "box_labels": labels[first:end],
        }

    return join


def _same_shape(stem: tf.Tensor, image: tf.Tensor, annotated: tf.Tensor) -> list[tf.Operation]:
    """Refuses an annotation of an image of another shape (not of another size)."""
    stored = tf.shape(image)[:2]
    height, width = tf.unstack(tf.cast(stored, tf.float32))
    annotated_height, annotated_width = tf.unstack(tf.cast(annotated, tf.float32))
    # Of height x annotated width and width x annotated height; without annotation both are 0.
    one, other = height * annotated_width, width * annotated_height
    rounding = tf.maximum(height, width)
    close = tf.abs(one - other) <= _ASPECT_TOLERANCE * tf.maximum(one, other) + rounding
    message = tf.strings.format(
        "{}: the stored image is {} (height, width) and its annotation {}; the annotations "
        "belong to other images.",
        (stem, stored, annotated),
    )
    check = tf.debugging.Assert(close | tf.reduce_all(annotated == 0), [message])
    return [] if check is None else [check]


def central_window(size: tf.Tensor) -> tf.Tensor:
    """Returns the central 87.5% of each side.

    Args:
        size: int32 `[2]`: height and width in pixels.

    Returns:
        int32 `[4]`: top, left, height and width in pixels.
    """
    sides = tf.cast(size, tf.float32)
    offset = tf.cast((sides - sides * CENTRAL_FRACTION) / 2.0, tf.int32)
    return tf.concat([offset, size - 2 * offset], axis=0)


def central_crop(example: Example, image_size: tuple[int, int]) -> Example:
    """Prepares an image as InceptionV3 is evaluated; boxes follow.

    Args:
        example: "image" float `[H, W, C]`, "boxes" `[n, 4]` canonical, "box_labels" `[n]`.
        image_size: (height, width) of the result.

    Returns:
        The example with the central 87.5% of each side, resized bilinearly; boxes are cut
        at the crop's edges and given as its fractions, those wholly outside are left out.

    Example:
        >>> central_crop(example, (299, 299))["image"].shape
        TensorShape([299, 299, 3])
    """
    size = tf.shape(example["image"])[:2]
    window = central_window(size)
    offset, kept = window[:2], window[2:]
    image = tf.image.crop_to_bounding_box(example["image"], *tf.unstack(window))
    # tf.tile makes (height, width) fit (ymin, xmin, ymax, xmax).
    whole, first, length = (
        tf.tile(tf.cast(value, tf.float32), [2]) for value in (size, offset, kept)
    )
    boxes = tf.clip_by_value((example["boxes"] * whole - first) / length, 0.0, 1.0)
    visible = tf.reduce_all(boxes[:, :2] < boxes[:, 2:], axis=1)
    return {
        **example,
        "image": tf.image.resize(image, image_size),
        "boxes": tf.boolean_mask(boxes, visible),
        "box_labels": tf.boolean_mask(example["box_labels"], visible),
    }


def parser(builder: Any) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the function that reads the JPEG file and the int32 label of a stored example."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    undecoded = {"image": tfds.decode.SkipDecoding()}

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = features.deserialize_example(record, decoders=undecoded)
        return example["image"], tf.cast(example["label"], tf.int32)

    return parse


def central_image(jpeg: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The central 87.5% of each side as `central_crop` gives it.

    Args:
        jpeg: scalar string, a JPEG file.
        size: (height, width) of the result.

    Returns:
        float32 `[*size, 3]` in [0, 1].
    """
    # Decoded whole: the edges of a part would differ a little from those of the image's crop.
    image = tf.cast(tf.image.decode_jpeg(jpeg, channels=3), tf.float32) / 255.0
    window = central_window(tf.shape(image)[:2])
    central = tf.image.crop_to_bounding_box(image, *tf.unstack(window))
    return tf.image.resize(central, size)


def changed_image(jpeg: tf.Tensor, kind: str, key: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """An image for training.

    Args:
        jpeg: scalar string, a JPEG file.
        kind: one of `aad_tf.data.AUGMENTATIONS`; all but "inception" change the central part.
        key: int64 `[2]`; the same key gives the same image.
        size: (height, width) of the result.

    Returns:
        float32 `[*size, 3]` in [0, 1].
    """
    if kind == "inception":
        shape = tf.image.extract_jpeg_shape(jpeg)
        return inception_image(shape, functools.partial(_decoded, jpeg), key, size)
    return augmented(central_image(jpeg, size)[None], kind, key)[0]


def _decoded(jpeg: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    part = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3)
    return tf.cast(part, tf.float32) / 255.0
