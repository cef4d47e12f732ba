"""Stored examples of ImageNet become pictures; of a file only what is kept is decoded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from aad_tf.data.augmentation import augmented
from aad_tf.data.imagenet_pictures import central_window
from aad_tf.data.inception import inception_picture


def parser(builder: Any) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the function that reads the JPEG file and the int32 label of a stored example."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    undecoded = {"image": tfds.decode.SkipDecoding()}

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = features.deserialize_example(record, decoders=undecoded)
        return example["image"], tf.cast(example["label"], tf.int32)

    return parse


def central_picture(jpeg: tf.Tensor, image_size: int) -> tf.Tensor:
    """The central 87.5% of each side as `imagenet_pictures.central_crop` gives it.

    Args:
        jpeg: scalar string, a JPEG file.
        image_size: side of the result.

    Returns:
        float32 `[image_size, image_size, 3]` in [0, 1].
    """
    # Decoded whole: the edges of a part would differ a little from those of the picture's crop.
    image = tf.cast(tf.image.decode_jpeg(jpeg, channels=3), tf.float32) / 255.0
    window = central_window(tf.shape(image)[:2])
    central = tf.image.crop_to_bounding_box(image, *tf.unstack(window))
    return tf.image.resize(central, (image_size, image_size))


def changed_picture(jpeg: tf.Tensor, kind: str, key: tf.Tensor, image_size: int) -> tf.Tensor:
    """A picture for training.

    Args:
        jpeg: scalar string, a JPEG file.
        kind: one of `aad_tf.data.AUGMENTATIONS`; all but "inception" change the central picture.
        key: int64 `[2]`; the same key gives the same picture.
        image_size: side of the result.

    Returns:
        float32 `[image_size, image_size, 3]` in [0, 1].
    """
    if kind == "inception":
        shape = tf.image.extract_jpeg_shape(jpeg)
        size = (image_size, image_size)
        return inception_picture(shape, functools.partial(_decoded, jpeg), key, size)
    return augmented(central_picture(jpeg, image_size)[None], kind, key)[0]


def _decoded(jpeg: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    part = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3)
    return tf.cast(part, tf.float32) / 255.0
