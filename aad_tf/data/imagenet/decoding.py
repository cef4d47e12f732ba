"""Decodes, crops and augments stored ImageNet images, and adds their boxes by file name.

Boxes are cropped together with their images. For training with the augmentation "inception", only
the part of a file that is used is decoded.
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
    """Returns a function that adds boxes to a stored example by its file name.

    Args:
        index: the boxes of an archive.

    Returns:
        A function for `tf.data`. It takes a dictionary of "image" uint8 `[H, W, 3]`, "label" and
        "file_name", and returns one of "image" float32 in [0, 1], "label" int32, "boxes" float32
        `[n, 4]` as (ymin, xmin, ymax, xmax) in fractions of the image, and "box_labels" int32
        `[n]`; n is 0 for an image without annotation. It raises tf.errors.InvalidArgumentError if
        image and annotation differ in their ratio of height to width.
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
    """Computes the window of the central crop, 87.5% of each side.

    Args:
        size: int32 `[2]`: height and width of the image in pixels.

    Returns:
        int32 `[4]`: top, left, height and width of the window in pixels.
    """
    sides = tf.cast(size, tf.float32)
    offset = tf.cast((sides - sides * CENTRAL_FRACTION) / 2.0, tf.int32)
    return tf.concat([offset, size - 2 * offset], axis=0)


def central_crop(example: Example, image_size: tuple[int, int]) -> Example:
    """Crops an example to the central 87.5% of each side, as in the evaluation of InceptionV3.

    Args:
        example: dictionary with "image" float `[H, W, C]`, "boxes" `[n, 4]` as (ymin, xmin, ymax,
            xmax) in fractions of the image, and "box_labels" `[n]`.
        image_size: (height, width) in pixels that the crop is resized to, bilinearly.

    Returns:
        The example with the cropped image. Boxes are clipped to the crop and given in its
        fractions; boxes wholly outside are removed.

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
    """Returns a function that reads serialized examples without decoding their images.

    Args:
        builder: builder object of TensorFlow Datasets.

    Returns:
        A function for `tf.data` from a scalar string tensor, the serialized example, to its JPEG
        file, a scalar string tensor, and its label, a scalar int32.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    undecoded = {"image": tfds.decode.SkipDecoding()}

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = features.deserialize_example(record, decoders=undecoded)
        return example["image"], tf.cast(example["label"], tf.int32)

    return parse


def central_image(jpeg: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Decodes a JPEG file, crops it to the central 87.5% of each side, and resizes it bilinearly.

    Args:
        jpeg: scalar string tensor, the content of a JPEG file.
        size: (height, width) of the result in pixels.

    Returns:
        float32 `[*size, 3]` in [0, 1].
    """
    # Decoded whole: the edges of a part would differ a little from those of the image's crop.
    image = tf.cast(tf.image.decode_jpeg(jpeg, channels=3), tf.float32) / 255.0
    window = central_window(tf.shape(image)[:2])
    central = tf.image.crop_to_bounding_box(image, *tf.unstack(window))
    return tf.image.resize(central, size)


def changed_image(jpeg: tf.Tensor, kind: str, key: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Decodes a JPEG file and augments the image for training.

    Args:
        jpeg: scalar string tensor, the content of a JPEG file.
        kind: augmentation: "inception", a random box of 8% or more of the whole image, mirrored
            with probability 1/2, with brightness and saturation changed. The others are applied to
            the central 87.5% of each side: "none"; "flip", mirrored with probability 1/2;
            "shift_flip", also moved by up to an eighth of the sides; "crop_flip", mirrored with
            probability 1/2 and cropped to a random half or more of the area.
        key: int64 `[2]`, random seed; the same key gives the same image.
        size: (height, width) of the result in pixels.

    Returns:
        float32 `[*size, 3]` in [0, 1].

    Raises:
        ValueError: an unknown augmentation.
    """
    if kind == "inception":
        shape = tf.image.extract_jpeg_shape(jpeg)
        return inception_image(shape, functools.partial(_decoded, jpeg), key, size)
    return augmented(central_image(jpeg, size)[None], kind, key)[0]


def _decoded(jpeg: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    part = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3)
    return tf.cast(part, tf.float32) / 255.0
