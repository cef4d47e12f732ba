"""A network whose attention can be worked out by hand, and four images for it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier

LABELS = np.array([0, 1, 0, 1], np.int32)
# Of the label's class: the left half; the upper left quarter; none; the whole image.
BOXES = np.array([[[0, 0, 1, 0.5]], [[0, 0, 0.5, 0.5]], [[0, 0, 1, 1]], [[0, 0, 1, 1]]], np.float32)
BOX_LABELS = np.array([[0], [1], [1], [1]], np.int32)


def mean_network() -> keras.Model:
    """Ten times the mean of each of two channels; attention layer: the channels themselves.

    The gradient of a logit by its channel is 10/16 in each of the 16 cells, so Grad-CAM is
    10/16 of that channel.
    """
    images = keras.Input((4, 4, 2))
    layers = keras.layers
    features = layers.Conv2D(2, 1, use_bias=False, name="features")(images)
    logits = layers.Dense(2, use_bias=False)(layers.GlobalAveragePooling2D()(features))
    model = keras.Model(images, logits)
    model.set_weights([np.eye(2)[None, None], 10 * np.eye(2)])
    return model


def four_images() -> np.ndarray:
    """The label's channels rise from 0.20 to 0.35 by row, or fall; the other channel is flat."""
    rising = 0.20 + 0.01 * np.arange(16).reshape(4, 4)
    images = np.zeros((4, 4, 4, 2), np.float32)
    for index, (label, labelled, other) in enumerate(
        zip(
            LABELS,
            (rising.T, rising[::-1, ::-1], rising, rising),
            (0.1, 0.2, 0.1, 0.5),
            strict=True,
        )
    ):
        images[index, :, :, label] = labelled
        images[index, :, :, 1 - label] = other
    return images


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier.from_keras(mean_network(), "features")


def batches_of(batch_size: int = 2, images=None, **changes) -> tf.data.Dataset:
    """The four images as `boxed_batches` would give them."""
    examples = {
        "image": four_images() if images is None else images,
        "label": LABELS,
        "boxes": BOXES,
        "box_labels": BOX_LABELS,
        **changes,
    }
    return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size)
