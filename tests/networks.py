"""Small networks and images for the tests."""

from __future__ import annotations

import functools

import keras
import numpy as np
import tensorflow as tf

from aad_tf.classifier import Classifier
from aad_tf.types import Bounds

layers = keras.layers
SHAPE = (8, 8, 1)


def random_images(count: int = 4, shape=SHAPE, seed: int = 0, dtype: str = "float32"):
    return np.random.default_rng(seed).uniform(size=(count, *shape)).astype(dtype)


def small_network(*tail, middle=(), final=None, dtype=None, shape=SHAPE, seed=0) -> keras.Model:
    """Convolution `conv`, layers of choice, pooling `pool`, dense `scores` of three classes."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(shape, dtype="float64" if dtype == "float64" else None),
            layers.Conv2D(4, 3, activation="relu", name="conv", dtype=dtype),
            *middle,
            layers.MaxPooling2D(2, name="pool", dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(3, name="scores", activation=final, dtype=dtype),
            *tail,
        ]
    )


def batch_norm_network(seed: int = 0) -> keras.Model:
    """Two convolutions with batch normalization; `norm2` is the attention layer."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(3, 3, name="conv1"),
            layers.BatchNormalization(momentum=0.9, name="norm1"),
            layers.ReLU(),
            layers.Conv2D(4, 3, name="conv2"),
            layers.BatchNormalization(momentum=0.9, name="norm2"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="scores"),
        ]
    )


def linear_network(weights, biases=None, size: int = 2, dtype: str = "float32") -> keras.Model:
    """Logit c is `weights[c] * mean(image) + biases[c]`; its gradient is weights[c] / size^2."""
    weights = np.asarray(weights, dtype)
    biases = np.zeros_like(weights) if biases is None else np.asarray(biases, dtype)
    scores = layers.Conv2D(len(weights), 1, name="scores", dtype=dtype)
    pool = layers.GlobalAveragePooling2D(dtype=dtype)
    model = keras.Sequential([keras.Input((size, size, 1), dtype=dtype), scores, pool])
    scores.set_weights([weights.reshape(1, 1, 1, -1), biases])
    return model


@functools.cache
def plain_sight(weight: float = 1.0, bias: float = 0.0) -> Classifier:
    """Logits `weight * sum(image) + bias` and 0; the map of class 0 is relu(weight * image)."""
    network = keras.Sequential(
        [
            keras.Input((2, 2, 1), dtype="float64"),
            layers.Conv2D(1, 1, use_bias=False, dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ]
    )
    kernel = weight * np.array([[1.0, 0.0]] * 4)
    network.set_weights([np.ones((1, 1, 1, 1)), kernel, np.array([bias, 0.0])])
    return Classifier.from_keras(network)


def curved_network(bounds=Bounds(0.0, 1.0), first=(), dtype="float64") -> Classifier:
    """Smooth, with second derivatives behind its attention layer of 4x4 cells and 5 channels."""
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [
            keras.Input((6, 6, 1), dtype=dtype),
            *first,
            layers.Conv2D(5, 3, activation="gelu", name="conv", dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(8, activation="tanh", dtype=dtype),
            layers.Dense(3, name="scores", dtype=dtype),
        ]
    )
    network.layers[-1].kernel.assign(3 * network.layers[-1].kernel)
    return Classifier.from_keras(network, bounds=bounds)


class SubclassedNetwork(keras.Model):
    """A network written as a class, whose layers are called as functions."""

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.conv = layers.Conv2D(4, 3, activation="relu", name="conv")
        self.flatten = layers.Flatten()
        self.scores = layers.Dense(3)
        self.softmax = softmax

    def call(self, images, training=False):
        logits = self.scores(self.flatten(self.conv(images)))
        return tf.nn.softmax(logits) if self.softmax else logits


def called(model: keras.Model) -> keras.Model:
    """The model after a first call, which builds it."""
    model(random_images())
    return model


def bytes_of(variables) -> list[bytes]:
    return [np.asarray(variable).tobytes() for variable in variables]


class EagerCalls(layers.Layer):
    """Counts how often it runs op by op."""

    count = 0

    def call(self, images):
        self.count += tf.executing_eagerly()
        return images


class TracedCalls(layers.Layer):
    """Counts how often it is traced into a graph, with batches of any size."""

    count = 0

    def call(self, images):
        self.count += tf.is_tensor(images) and images.shape[0] is None
        return images


class CountPasses(layers.Layer):
    """Counts in `passes` how often the network runs, in graphs too; what it takes it returns."""

    def build(self, shape):
        self.passes = self.add_weight(dtype="int32", initializer="zeros", trainable=False)

    def call(self, inputs):
        self.passes.assign_add(1)
        return inputs


class NoisyPixels(layers.Layer):
    """Pixels times 1 + `scale` normal noise, in inference mode as well.

    Args:
        scale: of the noise.
        forward: whether the noise is in the outputs; else it is in their gradients alone.
    """

    def __init__(self, scale: float, forward: bool = True, **options):
        super().__init__(**options)
        self.scale, self.forward = scale, forward
        self.generator = keras.random.SeedGenerator(1)

    def noise(self, shape):
        """The next draw."""
        return self.scale * keras.random.normal(shape, seed=self.generator, dtype=self.dtype)

    def call(self, inputs):
        noise = inputs * self.noise(tf.shape(inputs))
        return inputs + noise if self.forward else inputs + noise - tf.stop_gradient(noise)


def traces(classifier: Classifier) -> set[int]:
    """How often the functions that a classifier has compiled were traced: {1} is as it should."""
    compiled = classifier.compiled.values()
    return {function.experimental_get_tracing_count() for function in compiled}
