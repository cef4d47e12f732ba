"""Small networks of each kind to export, and images for them."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from aad_tf.classifier import Classifier

SHAPE = (8, 8, 2)
CLASSES = 4
layers = keras.layers


def sequential(softmax=False):
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(5, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax" if softmax else None),
        ]
    )


def around_attention_layer():
    """A network with a path past the layer that is explained, moving statistics and swish."""
    images = keras.Input(SHAPE)
    stem = layers.Conv2D(5, 3, padding="same", activation="swish")(images)
    branch = layers.Conv2D(5, 3, padding="same", name="branch")(stem)
    joined = layers.BatchNormalization()(layers.Add()([stem, branch]))
    pooled = layers.GlobalAveragePooling2D()(layers.Activation("swish")(joined))
    return keras.Model(images, layers.Dense(CLASSES)(pooled))


def nested():
    inner_images = keras.Input(SHAPE)
    inner = layers.Conv2D(6, 3, strides=2, activation="gelu")(inner_images)
    backbone = keras.Model(inner_images, inner, name="backbone")
    images = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(backbone(images))
    return keras.Model(images, layers.Dense(CLASSES)(layers.Dropout(0.5)(pooled)))


class SharedConvolution(keras.Model):
    """A subclassed network that calls one convolution twice; the second call is explained."""

    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv2D(SHAPE[2], 3, padding="same", activation="relu")
        self.classify = layers.Dense(CLASSES)

    def call(self, images):
        features = self.convolution(self.convolution(images))
        return self.classify(tf.reshape(features, (-1, np.prod(SHAPE))))


def subclassed():
    model = SharedConvolution()
    model(np.zeros((1, *SHAPE), np.float32))
    return model


NETWORKS = {
    "sequential": (sequential, None),
    "softmax": (lambda: sequential(softmax=True), None),
    "around": (around_attention_layer, "branch"),
    "nested": (nested, None),
    "subclassed": (subclassed, None),
}


def classifier_of(name="sequential", seed=0):
    keras.utils.set_random_seed(seed)
    build, attention_layer = NETWORKS[name]
    return Classifier.from_keras(build(), attention_layer)


def some_images(count=3, shape=SHAPE, seed=1):
    return np.random.RandomState(seed).uniform(size=(count, *shape)).astype(np.float32)


LABELS = np.array([0, 3, 1], np.int32)
