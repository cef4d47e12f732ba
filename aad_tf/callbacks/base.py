"""What all callbacks here have in common: when they measure, and on which network and examples."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aad_tf.classifier import Classifier
from aad_tf.defenses import DefenseModel
from aad_tf.distribute import broadcast_from_chief
from aad_tf.types import Bounds
from aad_tf.utils.checks import (
    check_bounds,
    check_count,
    check_dataset,
    check_images,
    label_vector,
)


class EpochCallback(keras.callbacks.Callback):
    """Measures something after every so many epochs and adds it to the epoch's logs.

    Keras hands one dictionary of logs to all callbacks in their order, so what comes after
    this one in the list (EarlyStopping, ModelCheckpoint) can watch what it adds.

    Args:
        every: epochs between two measurements.
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        self._every = check_count(every, "every")

    def measure(self, epoch: int) -> dict[str, float]:
        """What is added to the logs.

        Args:
            epoch: number of the epoch that just ended, counted from 0.
        """
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures; Keras calls it."""
        if (epoch + 1) % self._every:
            return
        # Each worker measures by itself; what is decided by must be the same everywhere.
        measured = broadcast_from_chief(self.model.distribute_strategy, self.measure(epoch))
        if logs is None:
            return
        taken = sorted(set(measured) & set(logs))
        if taken:
            raise ValueError(
                f"The logs of this epoch hold {', '.join(taken)} already. Give each callback a "
                f"different name (name=...)."
            )
        logs.update(measured)


class ClassifierCallback(EpochCallback):
    """An EpochCallback that needs logits or attention of the network.

    Args:
        attention_layer: layer that attention maps explain; that of the defence, or the one
            `Classifier.from_keras` finds, when None.
        bounds: pixel range the network takes.
        every: epochs between two measurements.
        output: which of several outputs counts, as in `Classifier.from_keras`; a defence has its
            own.
    """

    def __init__(
        self,
        attention_layer: str | None = None,
        bounds: Bounds = Bounds(0.0, 1.0),
        every: int = 1,
        output: str | int | None = None,
    ) -> None:
        super().__init__(every)
        self._output = output
        self.bounds = check_bounds(bounds)
        self._attention_layer = attention_layer
        self._wrapped: tuple[keras.Model, Classifier] | None = None

    @property
    def classifier(self) -> Classifier:
        """The network being trained; wrapped once, so compiled functions serve all epochs."""
        if self._wrapped is None or self._wrapped[0] is not self.model:
            self._wrapped = self.model, self._wrap(self.model)
        return self._wrapped[1]

    def _wrap(self, model: keras.Model) -> Classifier:
        if not isinstance(model, DefenseModel):
            # A subclassed model that `fit` has just built does not know its input shape.
            shape = None if getattr(model, "input_shape", None) else self.image_shape
            return Classifier.from_keras(
                model, self._attention_layer, self.bounds, shape, self._output
            )
        classifier = model.classifier
        if classifier.bounds != self.bounds:
            raise ValueError(
                f"{type(self).__name__} was given images in {tuple(self.bounds)}, but the network "
                f"takes {tuple(classifier.bounds)}. Pass bounds={tuple(classifier.bounds)} and "
                f"images in that range."
            )
        if self._attention_layer in (None, classifier.attention_layer):
            return classifier
        return Classifier.from_keras(
            classifier.model,
            self._attention_layer,
            self.bounds,
            classifier.input_shape,
            classifier.output,
        )

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """`(H, W, C)` of the callback's examples; None if they are in a dict."""
        raise NotImplementedError

    def check(self, classifier: Classifier) -> None:
        """Raises if the callback's examples are not what the network takes."""
        raise NotImplementedError

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the examples against the network before an epoch is spent; Keras calls it."""
        self.check(self.classifier)


def example_batches(dataset: Any, bounds: Bounds, batch_size: int) -> tf.data.Dataset:
    """Batches of images and labels to measure on, checked as far as is possible without a network.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`, or a pair of arrays.
        bounds: pixel range.
        batch_size: examples per batch where arrays are cut; the last batch may be shorter.

    Returns:
        A finite dataset of images `[batch, H, W, C]` and labels: a data set as it is, of arrays
        int32 labels `[batch]`.

    Raises:
        TypeError: neither a data set nor a pair of arrays, or images not floating point.
        ValueError: no examples, not batched, endless, pixels out of range.
    """
    check_count(batch_size, "batch_size")
    if isinstance(dataset, tf.data.Dataset):
        return check_dataset(dataset)
    if not isinstance(dataset, (tuple, list)) or len(dataset) != 2:
        raise TypeError(
            f"dataset must be a tf.data.Dataset of (images, labels) batches or a pair of "
            f"arrays (images, labels), got {type(dataset).__name__}."
        )
    images, labels = dataset
    arrays = checked_arrays(images, labels, bounds)
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)


def checked_arrays(images: Any, labels: Any, bounds: Bounds) -> tuple[tf.Tensor, tf.Tensor]:
    """Arrays as tensors, checked as far as is possible without the network.

    Args:
        images: float `[examples, H, W, C]` within `bounds`.
        labels: `[examples]`, class numbers.
        bounds: pixel range.

    Returns:
        The images in their dtype, and int32 labels.

    Raises:
        TypeError: images that are not floating point, or labels that are no numbers.
        ValueError: wrong rank, pixels out of range, or not one label per image.
    """
    images = tf.convert_to_tensor(images)
    images = check_images(images, bounds=bounds, image_shape=(None, None, None), dtype=images.dtype)
    labels = label_vector(labels)
    if labels.shape[0] != images.shape[0]:
        raise ValueError(
            f"images and labels must have one entry per example, got {images.shape[0]} and "
            f"{labels.shape[0]}."
        )
    return images, labels
