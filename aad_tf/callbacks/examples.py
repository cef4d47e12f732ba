"""Examples that a callback measures on: checked when given, and against the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import (
    check_count,
    check_dataset,
    check_images,
    check_label_rank,
    check_labels,
)


class Examples:
    """Batches of images and labels that can be gone through again and again.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`, or a pair of arrays.
        bounds: pixel range.
        batch_size: to cut arrays by; the last batch may be shorter.

    Raises:
        TypeError: neither a data set nor a pair of arrays, or images not floating point.
        ValueError: no examples, not batched, endless, pixels out of range.
    """

    def __init__(self, dataset: Any, bounds: Bounds, batch_size: int = 128) -> None:
        check_count(batch_size, "batch_size")
        if isinstance(dataset, tf.data.Dataset):
            self._batches = check_dataset(dataset)
        elif isinstance(dataset, (tuple, list)) and len(dataset) == 2:
            images, labels = dataset
            arrays = checked_arrays(images, labels, bounds)
            self._batches = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
        else:
            raise TypeError(
                f"dataset must be a tf.data.Dataset of (images, labels) batches or a pair of "
                f"arrays (images, labels), got {type(dataset).__name__}."
            )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W, C)` as far as the data set tells; entries may be None."""
        return tuple(self._batches.element_spec[0].shape[1:])

    def check(self, classifier: Classifier) -> None:
        """Raises unless there are examples and the first batch is what the network takes."""
        for images, labels in self:
            check_batch(classifier, images, labels)
            return
        raise ValueError("The data set is empty: there is nothing to measure on.")

    def __iter__(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        for images, labels, *_ in self._batches:
            yield images, labels


def checked_arrays(images: Any, labels: Any, bounds: Bounds) -> tuple[tf.Tensor, tf.Tensor]:
    """Arrays as tensors, checked as far as is possible without the network."""
    images = tf.convert_to_tensor(images)
    images = check_images(images, bounds=bounds, image_shape=(None, None, None), dtype=images.dtype)
    labels = tf.convert_to_tensor(labels)
    check_label_rank(labels)
    if labels.shape[0] != images.shape[0]:
        raise ValueError(
            f"images and labels must have one entry per example, got {images.shape[0]} and "
            f"{labels.shape[0]}."
        )
    return images, labels


def check_batch(classifier: Classifier, images: Any, labels: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Images and labels as the network takes them, or says what is wrong with them."""
    images = check_images(
        images,
        bounds=classifier.bounds,
        image_shape=classifier.input_shape,
        dtype=classifier.dtype,
    )
    labels = check_labels(labels, batch_size=images.shape[0], num_classes=classifier.num_classes)
    return images, labels
