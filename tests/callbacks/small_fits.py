"""Small networks of each kind, images with a bright quadrant, and short fits of them."""

from __future__ import annotations

import keras
import numpy as np

from aad_tf import attacks
from aad_tf.defenses import AADModel, StandardModel

layers = keras.layers
FGSM = attacks.fgsm(0.1)


def brightness_network(softmax=False):
    """Class 1 has logit 10 * mean(image) - 5, class 0 has 0; the map of class 1 is 10 x / 16."""
    images = keras.Input((4, 4, 1))
    cells = layers.Conv2D(1, 1, use_bias=False, name="cells")(images)
    pooled = layers.GlobalAveragePooling2D()(cells)
    logits = layers.Dense(2, activation="softmax" if softmax else None)(pooled)
    model = keras.Model(images, logits)
    model.set_weights([np.ones((1, 1, 1, 1)), np.array([[0.0, 10.0]]), np.array([0.0, -5.0])])
    return model


def grey(*levels):
    return np.stack([np.full((4, 4, 1), level, np.float32) for level in levels])


def quadrants(count=24, seed=0):
    """Noise with a bright quadrant, whose number is the label."""
    generator = np.random.RandomState(seed)
    images = generator.uniform(0, 0.5, (count, 8, 8, 1)).astype(np.float32)
    labels = np.arange(count) % 4
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 0.5
    return images, labels


def small_network(softmax=False):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="first"),
            layers.MaxPooling2D(2, name="second"),
            layers.BatchNormalization(name="third"),
            layers.Flatten(),
            layers.Dense(4, activation="softmax" if softmax else None),
        ]
    )


def compiled(model, learning_rate=1e-2, **kwargs):
    from_logits = getattr(model.layers[-1], "activation", None) is not keras.activations.softmax
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    # A few steps take less time than compiling one.
    kwargs.setdefault("run_eagerly", "steps_per_execution" not in kwargs)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"], **kwargs)
    return model


def fit(model, callbacks, epochs=1, **kwargs):
    images, labels = quadrants()
    options = {"batch_size": 10, "epochs": epochs, "verbose": 0, **kwargs}
    return model.fit(images, labels, callbacks=callbacks, **options).history


def plain():
    return compiled(small_network())


def plain_softmax_in_blocks():
    return compiled(small_network(softmax=True), steps_per_execution=2)


def standard():
    model = StandardModel(small_network())
    model.compile("adam", run_eagerly=True)
    return model


def aad():
    model = AADModel(small_network(), attack=attacks.step_ll(0.1, 2))
    model.compile("adam")
    return model


def trace_counts(classifier):
    return {key: f.experimental_get_tracing_count() for key, f in classifier.compiled.items()}
