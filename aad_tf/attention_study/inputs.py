"""What a study is given: batches of images, labels and boxes, checked at the edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.data.boxes import PADDING, check_boxes, object_masks
from aad_tf.records.fingerprints import array_fingerprint
from aad_tf.utils.checks import check_dataset

_KEYS = ("image", "label", "boxes", "box_labels")


class Batch(NamedTuple):
    """A checked batch.

    Attributes:
        first_index: index of its first example in the split.
        images: tensor `[batch, H, W, C]` in the classifier's dtype.
        labels: int32 tensor `[batch]`.
        boxes: for each example float32 `[n, 4]`, the boxes of its class.
        masks: bool `[batch, H, W]`, where the labelled objects are; all False without a box.
    """

    first_index: int
    images: tf.Tensor
    labels: tf.Tensor
    boxes: list[np.ndarray]
    masks: np.ndarray


class BoxedSource:
    """A data set of batches that can be opened anywhere.

    Args:
        dataset: a `tf.data.Dataset` of batches, dicts with image, label, boxes and box_labels as
            `aad_tf.data.boxed_batches` gives them, or a function from the index of an example,
            a multiple of `batch_size` after the first, to such a data set.
        batch_size: examples in every batch but the last.
        first_index: index of the first example in the split.

    Raises:
        TypeError: neither a data set of such dicts nor a function.
        ValueError: an endless or empty data set, or one of single images.
    """

    def __init__(self, dataset: Any, batch_size: int, first_index: int = 0) -> None:
        if not isinstance(dataset, tf.data.Dataset) and not callable(dataset):
            raise TypeError(
                f"dataset must be a tf.data.Dataset of batches, or a function that opens one, got "
                f"{type(dataset).__name__}."
            )
        self._dataset, self._batch_size = dataset, batch_size
        self._first_index = first_index
        first = next(iter(self._open(0).take(1).as_numpy_iterator()), None)
        if first is None:
            raise ValueError("The data set is empty: there is nothing to study.")
        self.first_example = array_fingerprint([np.asarray(first[key][:1]) for key in _KEYS[:2]])

    def batches(self, classifier: Classifier, done: int) -> Iterator[Batch]:
        """Checked batches after the first `done` examples, a multiple of the batch size."""
        index = self._first_index + done
        short = False
        for batch in self._open(done):
            if short:
                raise ValueError(
                    f"Every batch but the last must have {self._batch_size} examples; the one "
                    f"before example {index} has fewer."
                )
            checked = _checked(classifier, batch, index)
            count = len(checked.labels)
            if count > self._batch_size:
                raise ValueError(f"A batch has {count} examples, batch_size={self._batch_size}.")
            short = count < self._batch_size
            yield checked
            index += count

    def _open(self, done: int) -> tf.data.Dataset:
        if isinstance(self._dataset, tf.data.Dataset):
            dataset = self._dataset.skip(done // self._batch_size)
        else:
            opened: Callable[[int], tf.data.Dataset] = self._dataset
            dataset = opened(self._first_index + done)
        check_dataset(dataset, "image")
        return dataset


def _checked(classifier: Classifier, batch: Mapping[str, tf.Tensor], first_index: int) -> Batch:
    images, labels = checked_inputs(classifier, batch["image"], batch["label"])
    answers = labels.numpy()
    if "boxes" in batch:
        boxes = batch["boxes"].numpy()
        if "box_labels" in batch:
            kinds = batch["box_labels"].numpy()
        else:  # The boxes are of the images' labels; rows of -1 are padding.
            kinds = np.where((boxes == PADDING).all(-1), PADDING, answers[:, None])
        boxes = check_boxes(boxes, kinds, first_example=first_index)
    else:
        boxes = np.zeros((len(answers), 0, 4), np.float32)
        kinds = np.zeros((len(answers), 0), np.int32)
    masks = object_masks(boxes, kinds, answers, tuple(images.shape[1:3]))
    of_label = [boxes[i][kinds[i] == label] for i, label in enumerate(answers)]
    return Batch(first_index, images, labels, of_label, masks)
