"""Base classes of the callbacks that measure after epochs, and checks of their examples."""

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
    """Base class of callbacks that measure something after an epoch and add it to the logs.

    A subclass defines the method `measure`, which gets the number of the epoch and returns a
    dictionary of numbers by their names in the logs. Keras passes one dictionary of logs to all
    callbacks in the order of their list, so a callback that comes later in the list, such as
    EarlyStopping or ModelCheckpoint, can monitor the values.

    Args:
        every: number of epochs from one measurement to the next.

    Raises:
        TypeError: a number that is not an integer.
        ValueError: a number below 1.
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        self._every = check_count(every, "every")

    def measure(self, epoch: int) -> dict[str, float]:
        """Measures the values that are added to the logs; subclasses implement it.

        `on_epoch_end` calls it after every epoch in which something is measured.

        Args:
            epoch: number of the epoch that has just ended, counted from 0.

        Returns:
            Values by their names in the logs.
        """
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures after every `every`-th epoch and adds the values to the logs; Keras calls it.

        Args:
            epoch: number of the epoch that has just ended, counted from 0.
            logs: the epoch's logs, which are changed in place.

        Raises:
            ValueError: the logs have a value of the same name already.
        """
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
    """Base class of callbacks that use the logits or attention maps of the trained network.

    Args:
        attention_layer: name of the layer that maps explain; None for that of the trained model if
            it is a defence such as `AADModel`, else for the last layer whose output is a grid of
            the image and through which every path from images to logits leads.
        bounds: pixel range that the network takes.
        every: number of epochs from one measurement to the next.
        output: name or number of the output with the class scores, for a network with several
            outputs; not used for a defence such as `AADModel`.

    Raises:
        TypeError: bounds that are not a pair of numbers, or an `every` that is not an integer.
        ValueError: an empty pixel range, or an `every` below 1.
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
        """The network that is trained, as a Classifier; the same object in all epochs.

        A `Classifier` gives the logits and the features of the layer that attention maps explain.

        Raises:
            ValueError: a defence such as `AADModel` is trained and has another pixel range than the
                callback, or `Classifier.from_keras` refuses the network.
        """
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
        """`(H, W, C)` of the images that the callback measures on; subclasses implement it.

        It is None if batches of the data set have their images in a dictionary, by the name of the
        network's input, as in `({"image": images}, labels)`.
        """
        raise NotImplementedError

    def check(self, classifier: Classifier) -> None:
        """Checks that the callback's examples fit the network; subclasses implement it.

        `on_train_begin` calls it, before the first epoch.

        Args:
            classifier: the network that is trained.

        Raises:
            TypeError: images that are not floating point, or labels that are not numbers.
            ValueError: examples that do not fit the network.
        """
        raise NotImplementedError

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks that the examples fit the network, before the first epoch; Keras calls it.

        Args:
            logs: not used.

        Raises:
            TypeError: images that are not floating point, or labels that are not numbers.
            ValueError: examples or a pixel range that do not fit the network.
        """
        self.check(self.classifier)


def example_batches(dataset: Any, bounds: Bounds, batch_size: int) -> tf.data.Dataset:
    """Makes the batches on which a callback measures, with the checks that need no network.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`; or a pair of arrays, images
            float `[examples, H, W, C]` within `bounds` and labels int `[examples]`.
        bounds: pixel range of the arrays.
        batch_size: examples per batch if arrays are given; the last batch may be shorter.

    Returns:
        The data set as it is given; for arrays, a data set of batches of images `[batch, H, W, C]`
        and labels `[batch]`.

    Raises:
        TypeError: neither a data set of tuples nor a pair of arrays; arrays of images that are not
            floating point or of labels that are not numbers; or a batch size that is no integer.
        ValueError: a data set of single images or without end; arrays without examples, of wrong
            rank, with NaN, out of range, or without one label per image; or a batch size below 1.
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
    """Converts images and labels to tensors, with the checks that need no network.

    Args:
        images: float `[examples, H, W, C]` within `bounds`.
        labels: `[examples]`, class numbers.
        bounds: pixel range of the images.

    Returns:
        The images in their own dtype, and the labels `[examples]`; booleans become int32.

    Raises:
        TypeError: images that are not floating point, or labels that are not numbers.
        ValueError: wrong rank, no examples, NaN, pixels out of range, or not one label per image.
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
