"""Streams over data sets small enough to be kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from aad_tf.data.augmentation import augmented, resized
from aad_tf.data.description import DatasetInfo
from aad_tf.data.sharding.requests import EvaluationRequest, PathLike, TrainingRequest
from aad_tf.data.sharding.shared_epoch import SharedEpoch


@dataclass(frozen=True)
class InMemory:
    """A data set whose splits are arrays.

    Attributes:
        describe: gives the `DatasetInfo` of the copy in a directory.
        read: gives images [n, height, width, channels], uint8 or float32 in [0, 1], and int32
            labels [n] of a split of the copy in a directory.
    """

    describe: Callable[[PathLike | None], DatasetInfo]
    read: Callable[[str, PathLike | None], tuple[tf.Tensor, tf.Tensor]]

    def info(self, data_dir: PathLike | None) -> DatasetInfo:
        """Describes the copy in a directory."""
        return self.describe(data_dir)

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Single examples in the stored order."""
        return tf.data.Dataset.from_tensor_slices(self.read(split, data_dir)).map(_in_unit_range)

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Each example once, in the stored order; slices are cut before images are touched."""
        images, labels = self.read(request.split, data_dir)
        start, stop = request.span(len(labels))
        cut = SharedEpoch(stop - start, request.batch_size, request.share)

        def batch(element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            places = cut.slice_of(element).places
            own = slice(start + places.start, start + places.stop)
            pictures, answers = _in_unit_range(images[own], labels[own])
            return resized(pictures, request.image_size), answers

        elements = tf.data.Dataset.range(cut.steps * request.share.count)
        return elements.map(batch).prefetch(tf.data.AUTOTUNE)

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Endless batches; all shares draw one order and one set of random numbers."""
        images, labels = self.read("train", data_dir)
        seed = tf.constant(request.seed, tf.int64)

        def gather(number: tf.Tensor, own: tf.Tensor, start: tf.Tensor, whole: tf.Tensor):
            pictures, answers = _in_unit_range(tf.gather(images, own), tf.gather(labels, own))
            key = tf.random.experimental.stateless_fold_in(tf.stack([seed, 1]), number)
            size, kind = request.image_size, request.augmentation
            changed = augmented(pictures, kind, key, image_size=size, start=start, whole=whole)
            return changed, answers

        count = min(len(labels), request.limit or len(labels))
        slices = _shuffled_slices(request, count, seed)
        batches = slices.map(gather, tf.data.AUTOTUNE, deterministic=True)
        return batches.prefetch(tf.data.AUTOTUNE)


def _shuffled_slices(request: TrainingRequest, count: int, seed: tf.Tensor) -> tf.data.Dataset:
    """(Number to draw from, examples, place of the first in its batch, the batch's size)."""
    cut = SharedEpoch(count, request.batch_size, request.share)
    first_epoch, first_step = request.first_step(cut.steps)
    fed = request.share.count

    def slices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([seed, epoch]), alg="philox"
        )

        def chosen(element: tf.Tensor) -> tuple[tf.Tensor, ...]:
            part = cut.slice_of(element)
            drawing = cut.drawing(epoch, part.step)
            return drawing, order[part.places], part.start, part.batch_size

        step = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
        return tf.data.Dataset.range(step * fed, cut.steps * fed).map(chosen)

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(slices)


def _in_unit_range(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    if images.dtype == tf.uint8:
        images = tf.cast(images, tf.float32) / 255.0
    return images, labels
