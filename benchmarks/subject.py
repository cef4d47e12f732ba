"""The network that benchmarks measure, a LeNet trained for some steps on digits, and its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf import data, models
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel

SEED = 0
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Size:
    """How much benchmarks measure.

    Attributes:
        dataset: preferred data set; the embedded digits replace it if it is not installed.
        training_steps: steps of plain training before anything is measured.
        batch_size: images per batch, in training and attacks.
        images: test images that are attacked.
        attack_steps: steps of PGD.
        repetitions: timed repetitions of short contenders (steps, attention maps).
        long_repetitions: timed repetitions of long ones (whole attacks and evaluations).
        memory_steps: steps over which memory is measured.
        lime_samples: number of images with hidden superpixels that LIME classifies.
    """

    dataset: str
    training_steps: int
    batch_size: int
    images: int
    attack_steps: int
    repetitions: int
    long_repetitions: int
    memory_steps: int
    lime_samples: int


SIZES = {
    # Shows that everything runs; its numbers mean nothing.
    "small": Size("digits", 5, 10, 20, 3, 2, 1, 20, 40),
    "full": Size("mnist", 150, 100, 400, 40, 20, 3, 1000, 1000),
}


@dataclass(frozen=True)
class Subject:
    """A trained network with its images.

    Attributes:
        size: how much is measured.
        network: trained LeNet, float32.
        classifier: the same network as a `Classifier`.
        train_batch: images `[batch_size, H, W, C]` and labels, for timing training steps.
        test_batches: batches of test images and labels.
        source: one line on the data and the training.
    """

    size: Size
    network: keras.Model
    classifier: Classifier
    train_batch: tuple[tf.Tensor, tf.Tensor]
    test_batches: tuple[tuple[tf.Tensor, tf.Tensor], ...]
    source: str

    @property
    def test_images(self) -> tuple[np.ndarray, np.ndarray]:
        """All test images and labels as arrays."""
        images, labels = zip(*self.test_batches, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    def copy_of_network(self, dtype: str | None = None) -> keras.Model:
        """A LeNet with the same weights.

        Args:
            dtype: its dtype policy, such as "mixed_bfloat16"; None for Keras's global policy.
        """
        shape, classes = self.network.input_shape[1:], self.network.output_shape[-1]
        network = models.build("lenet", shape, classes, dtype=dtype)
        network.set_weights(self.network.get_weights())
        return network

    def hits(self, images: Any, labels: Any) -> np.ndarray:
        """Tells which images `[batch, H, W, C]` are classified correctly, bool `[batch]`."""
        logits = self.classifier.predict_logits(tf.convert_to_tensor(images))
        return logits.numpy().argmax(axis=-1) == np.asarray(labels)


def prepare(size: Size) -> Subject:
    """Builds and trains the network of a benchmark run.

    Args:
        size: how much is trained and measured.

    Returns:
        The network and its images.
    """
    keras.utils.set_random_seed(SEED)
    info = info_or_digits(data.info, size.dataset)
    network = models.build("lenet", info.image_shape, info.num_classes)
    model = StandardModel(network)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    batches = data.training_batches(info.name, size.batch_size, SEED)
    model.fit(batches, steps_per_epoch=size.training_steps, shuffle=False, verbose=0)
    test = data.evaluation_batches(info.name, "test", size.batch_size, limit=size.images)
    return Subject(
        size=size,
        network=network,
        classifier=model.classifier,
        train_batch=next(iter(batches)),
        test_batches=tuple(test),
        source=f"LeNet after {size.training_steps} plain steps on {info.source}",
    )


def info_or_digits(info: Callable[[str], data.DatasetInfo], name: str) -> data.DatasetInfo:
    """Describes a data set, or the embedded digits if it is not installed.

    Args:
        info: a function from the name of a data set to its description.
        name: name of the preferred data set.

    Returns:
        The description.
    """
    try:
        return info(name)
    except data.DatasetNotFoundError:
        return info("digits")


def fractions_unlike(reference: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Fraction of values of each array that differ from the reference by more than 1e-5.

    Args:
        reference: any array.
        others: arrays of the same shape, by name.

    Returns:
        Fractions in [0, 1] by name.
    """
    return {
        name: float((np.abs(values - reference) > 1e-5).mean()) for name, values in others.items()
    }
