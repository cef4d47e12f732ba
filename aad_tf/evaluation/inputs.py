"""What an evaluation is given, checked at the edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack, as_attack, with_unique_names
from aad_tf.classifier import Classifier, checked_inputs, held_classifier
from aad_tf.records.fingerprints import array_fingerprint
from aad_tf.utils.checks import check_dataset


def as_classifier(classifier: Classifier | keras.Model) -> Classifier:
    """Returns a Classifier: as it is, that of a defence, or a Keras model wrapped."""
    if isinstance(classifier, Classifier):
        return classifier
    return held_classifier(classifier) or Classifier.from_keras(classifier)


def check_attacks(
    attacks: Sequence[GradientSignAttack | str] | GradientSignAttack | str,
) -> tuple[GradientSignAttack, ...]:
    """Returns attacks, also those given as text, as a tuple under names that differ.

    Raises:
        TypeError: something else than an attack.
        ValueError: no attacks, the same one twice, or text that is no attack.
    """
    if isinstance(attacks, (GradientSignAttack, str)):
        attacks = (attacks,)
    chosen = tuple(as_attack(each) for each in attacks)
    if not chosen:
        raise ValueError("attacks is empty; give at least one, e.g. [aad_tf.attacks.fgsm(0.1)].")
    for attack in chosen:
        if not isinstance(attack, GradientSignAttack):
            raise TypeError(
                f"An evaluation runs attacks of the type GradientSignAttack, got {attack!r}."
            )
    return with_unique_names(chosen)


class Batches:
    """A data set as checked batches, with the index of each batch's first example. One pass.

    Args:
        classifier: tells what images and labels must be like.
        dataset: `tf.data.Dataset` of batches, or a pair of arrays.
        batch_size: to cut arrays by.
        num_examples: size of the data set if the caller knows it.
        first_index: index of the first example; of a part of a data set, where it begins.

    Attributes:
        first_index: as given.
        num_examples: size of the data set, or None if not known.
        counted: size of the data set as arrays or a known cardinality tell it, or None.
        first_example: hash of the first image and label.

    Raises:
        TypeError: neither a data set nor a pair of arrays.
        ValueError: no examples, endless, not batched.
    """

    def __init__(
        self,
        classifier: Classifier,
        dataset: Any,
        batch_size: int,
        num_examples: int | None,
        first_index: int = 0,
    ) -> None:
        self._classifier = classifier
        self.first_index = first_index
        if isinstance(dataset, tf.data.Dataset):
            check_dataset(dataset)
            self.counted = _cardinality(dataset)
            self._batches = iter(dataset)
        elif isinstance(dataset, (tuple, list)) and len(dataset) == 2:
            images, labels = _checked_arrays(*dataset)
            self.counted = len(images)
            self._batches = _slices(images, labels, batch_size)
        else:
            raise TypeError(
                f"dataset must be a tf.data.Dataset of (images, labels) batches or a pair of "
                f"arrays (images, labels), got {type(dataset).__name__}."
            )
        self.num_examples = num_examples if self.counted is None else self.counted
        first = next(self._batches, None)
        if first is None:
            raise ValueError("The data set is empty: there is nothing to evaluate.")
        self._first = self._checked(first)
        self.first_example = array_fingerprint([part[:1] for part in self._first])

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        start = self.first_index
        images, labels = self._first
        while True:
            yield start, images, labels
            start += len(labels)
            batch = next(self._batches, None)
            if batch is None:
                return
            images, labels = self._checked(batch)

    def count(self) -> int:
        """Number of examples; takes the pass over the data set if it cannot tell by itself."""
        if self.counted is None:
            self.counted = sum(len(labels) for _, _, labels in self)
        return self.counted

    def _checked(self, batch: Any) -> tuple[np.ndarray, np.ndarray]:
        images, labels, *_ = batch
        images, labels = checked_inputs(self._classifier, images, labels)
        return images.numpy(), labels.numpy()


def _cardinality(dataset: tf.data.Dataset) -> int | None:
    """Number of examples, or None where the last batch may be short or the end is not known."""
    batches, shape = int(dataset.cardinality()), getattr(dataset.element_spec[0], "shape", None)
    if batches < 0 or not shape or shape[0] is None:
        return None
    return batches * shape[0]


def _checked_arrays(images: Any, labels: Any) -> tuple[Any, Any]:
    images, labels = (a if tf.is_tensor(a) else np.asarray(a) for a in (images, labels))
    if len(images.shape) == 0 or len(labels.shape) == 0 or len(images) != len(labels):
        raise ValueError(
            f"images and labels must have one entry per example, got shapes "
            f"{tuple(images.shape)} and {tuple(labels.shape)}."
        )
    return images, labels


def _slices(images: Any, labels: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size], labels[start : start + batch_size]
