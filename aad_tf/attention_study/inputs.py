"""The input of an attention study: batches of images, labels and boxes, which are checked."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.data.boxes import PADDING, check_boxes, object_masks
from aad_tf.evaluation.inputs import open_batches
from aad_tf.records.fingerprints import array_fingerprint

_KEYS = ("image", "label")


class Batch(NamedTuple):
    """A checked batch of an attention study.

    Attributes:
        first_index: index of its first example in the split.
        images: tensor `[batch, H, W, C]` in the classifier's dtype.
        labels: int32 tensor `[batch]`, true labels.
        boxes: for each example float32 `[n, 4]`, the boxes of its label's class as
            (ymin, xmin, ymax, xmax) in fractions of the image.
        masks: bool `[batch, H, W]`, True inside these boxes; all False for an example without a
            box.
    """

    first_index: int
    images: tf.Tensor
    labels: tf.Tensor
    boxes: list[np.ndarray]
    masks: np.ndarray


class BoxedSource:
    """A data set of batches with or without bounding boxes, read once, from any example on.

    Args:
        dataset: a `tf.data.Dataset` or another iterable of batches, each a tuple `(images, labels)`
            or a dictionary with `image` and `label` and, if there are boxes, `boxes`
            `[batch, n, 4]` as (ymin, xmin, ymax, xmax) in fractions of the image and `box_labels`
            `[batch, n]`, both padded with -1; or a pair of arrays. Or a function that takes the
            index of an example and returns such a data set that starts at it; the index is
            `first_index` plus a multiple of `batch_size`, and all batches but the last must have
            `batch_size` examples. With a function, a resumed study does not read the examples it
            has measured already.
        batch_size: largest number of examples in a batch; arrays are divided by it.
        first_index: index of the first example in the split.
        num_examples: number of examples to use; None for all.

    Attributes:
        first_example: fingerprint of the first image and label.
        image_shape: `(H, W, C)` of the first batch's images.

    Raises:
        TypeError: a data set of another type.
        ValueError: an endless or empty data set, or one of single images.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        first_index: int = 0,
        num_examples: int | None = None,
    ) -> None:
        self._dataset, self._batch_size = dataset, batch_size
        self._first_index, self._num_examples = first_index, num_examples
        self._opened_anywhere = _takes_an_index(dataset)
        self._batches = self._open(0)
        first = next(self._batches, None)
        if first is None:
            raise ValueError("The data set is empty: there is nothing to study.")
        self._first = first
        self.first_example = array_fingerprint([np.asarray(first[key][:1]) for key in _KEYS])
        self.image_shape = first["image"].shape[1:]

    def batches(self, classifier: Classifier, done: int) -> Iterator[Batch]:
        """Yields the batches of which shapes, pixel range, labels and boxes have been checked.

        Batches all of whose examples have records already, from a run that was interrupted, are
        left out.

        Args:
            classifier: the network, whose input shape and bounds the images must fit.
            done: number of examples, from the first on, that have records. The first batch is the
                one that contains the next example; it is yielded as a whole.

        Yields:
            Each `Batch`: `first_index`, the index of its first example in the split; `images`
            `[batch, H, W, C]` in the classifier's dtype; `labels`, int32 `[batch]`; `boxes`, for
            each image float32 `[n, 4]`, the n bounding boxes of objects of its label's class, as
            (ymin, xmin, ymax, xmax) in fractions of the image; and `masks`, bool `[batch, H, W]`,
            True inside any of these boxes.

        Raises:
            TypeError: images that are not floating point, or labels that are not numbers.
            ValueError: images, labels or boxes that are not valid; a batch of more than
                `batch_size` examples; or fewer than `batch_size` in a batch before the last, if the
                data set is a function from the index of an example to the batches from there on.
        """
        begin = 0
        batches: Iterator[dict[str, Any]] = itertools.chain([self._first], self._batches)
        if self._opened_anywhere and done >= self._batch_size:
            begin = done - done % self._batch_size
            batches = self._open(begin)
        short = False
        for batch in batches:
            if short:
                raise ValueError(
                    f"Every batch but the last must have {self._batch_size} examples; the one "
                    f"before example {self._first_index + begin} has fewer."
                )
            count = len(batch["label"])
            if count > self._batch_size:
                raise ValueError(f"A batch has {count} examples, batch_size={self._batch_size}.")
            short = self._opened_anywhere and count < self._batch_size
            if begin + count > done:
                yield _checked(classifier, batch, self._first_index + begin)
            begin += count

    def _open(self, begin: int) -> Iterator[dict[str, Any]]:
        left = self._num_examples and self._num_examples - begin
        if left == 0:
            return iter(())
        dataset = self._dataset
        if self._opened_anywhere:
            dataset = dataset(self._first_index + begin)
        return open_batches(dataset, self._batch_size, left)[0]


def _takes_an_index(dataset: Any) -> bool:
    """Whether this is a function of an index; one that needs no argument is a generator."""
    if not callable(dataset) or isinstance(dataset, Iterable):
        return False
    try:
        inspect.signature(dataset).bind()
    except TypeError:
        return True
    return False


def _checked(classifier: Classifier, batch: Mapping[str, Any], first_index: int) -> Batch:
    images, labels = checked_inputs(classifier, batch["image"], batch["label"])
    answers = labels.numpy()
    if "boxes" in batch:
        boxes = np.asarray(batch["boxes"])
        if "box_labels" in batch:
            kinds = np.asarray(batch["box_labels"])
        else:  # The boxes are of the images' labels; rows of -1 are padding.
            kinds = np.where((boxes == PADDING).all(-1), PADDING, answers[:, None])
        boxes = check_boxes(boxes, kinds, first_example=first_index)
    else:
        boxes = np.zeros((len(answers), 0, 4), np.float32)
        kinds = np.zeros((len(answers), 0), np.int32)
    masks = object_masks(boxes, kinds, answers, tuple(images.shape[1:3]))
    of_label = [boxes[i][kinds[i] == label] for i, label in enumerate(answers)]
    return Batch(first_index, images, labels, of_label, masks)
