"""Scikit-learn's handwritten digits: 1,797 real 8x8 images that need no download."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import tensorflow as tf

from aad_tf.data.description import DatasetInfo
from aad_tf.data.requests import BoxedRequest

_COUNTS = {"train": 1297, "validation": 140, "test": 360}
_SIZE = 28
_BRIGHTEST = 16.0


@functools.lru_cache(maxsize=1)
def _originals() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.float32), digits.target.astype(np.int32)


def _indices(split: str) -> np.ndarray:
    """Returns the indices of a split's examples in the original order."""
    # RandomState's stream is frozen by NumPy; that of default_rng may change.
    order = np.random.RandomState(0).permutation(sum(_COUNTS.values()))
    parts = np.split(order, np.cumsum(list(_COUNTS.values()))[:-1])
    return dict(zip(_COUNTS, parts, strict=True))[split]


@functools.lru_cache(maxsize=3)
def examples(split: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images and labels of a split of scikit-learn's handwritten digits.

    The 17 gray levels are divided by 16, and images of 8x8 pixels are resized bilinearly to 28x28,
    so that networks for MNIST take them.

    Args:
        split: "train", "validation" or "test".

    Returns:
        float32 images `[n, 28, 28, 1]` in [0, 1], and int32 labels `[n]`.
    """
    images, labels = _originals()
    indices = _indices(split)
    with tf.device("CPU:0"):
        resized = tf.image.resize(images[indices, :, :, None] / _BRIGHTEST, (_SIZE, _SIZE))
        return resized, tf.constant(labels[indices], tf.int32)


def stored(request: BoxedRequest) -> tf.data.Dataset:
    """Returns the requested examples one by one, without boxes.

    Args:
        request: split, and range of examples.

    Returns:
        A finite dataset of dictionaries of "image", float32 `[28, 28, 1]` in [0, 1], and "label",
        a scalar int32.

    Raises:
        TypeError, ValueError: a range of examples that is not valid.
    """
    images, labels = examples(request.split)
    first, end = request.span(len(labels))
    return tf.data.Dataset.from_tensor_slices(
        {"image": images[first:end], "label": labels[first:end]}
    )


def info() -> DatasetInfo:
    """Describes scikit-learn's handwritten digits, resized to 28x28 pixels.

    Returns:
        A `DatasetInfo`: image shape (28, 28, 1), 10 classes, 1297 examples for training, 140 for
        validation and 360 for test; the fingerprint is a hash of the 8x8 images and their labels.
    """
    images, labels = _originals()
    digest = hashlib.sha256(images.tobytes())
    digest.update(labels.tobytes())
    return DatasetInfo(
        name="digits",
        image_shape=(_SIZE, _SIZE, 1),
        num_classes=10,
        class_names=tuple(str(digit) for digit in range(10)),
        num_examples=dict(_COUNTS),
        source="scikit-learn digits 8x8 resized to 28x28",
        fingerprint=digest.hexdigest()[:16],
    )
