"""Trains networks with synchronised BatchNormalization on two logical devices of one process.

    python -m tests.defenses.synchronized_worker FILE.npz

Run by test_synchronized_batch_norm.py, in a separate process because logical devices must be set
before TensorFlow starts, and because a fault there is a hang, which is ended.
"""

from __future__ import annotations

import functools
import sys

import keras
import numpy as np
import tensorflow as tf

(CPU,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

from aad_tf import AADModel, AdversarialModel, StandardModel  # noqa: E402
from aad_tf.attacks import pgd, step_ll  # noqa: E402

IMAGES = np.random.default_rng(0).uniform(size=(8, 8, 8, 1)).astype("float32")
LABELS = (np.arange(8) % 3).astype("int32")


def network(final: str | None = None) -> keras.Model:
    """Normalization before and after the attention layer `conv`, in float64."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype="float64"),
            layers.Conv2D(3, 3, name="first"),
            layers.BatchNormalization(synchronized=True),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.BatchNormalization(synchronized=True),
            layers.Dense(3, activation=final),
        ]
    )


def plain(eager: bool) -> keras.Model:
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False, run_eagerly=eager)
    return model


def defended(make, eager: bool = False, **options) -> keras.Model:
    model = make(network(final="softmax"), **options)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=eager)
    return model


MODELS = {
    "plain": plain,
    "standard": functools.partial(defended, StandardModel),
    "aad": functools.partial(defended, AADModel, attack=step_ll(0.1), attention_layer="conv"),
}


def weights_after_two_steps(name: str, strategy: tf.distribute.Strategy) -> np.ndarray:
    with strategy.scope():
        # On one device a few steps take less time than compiling them.
        model = MODELS[name](eager=strategy.num_replicas_in_sync == 1)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    model.fit(data, verbose=0)
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def evaluations(strategy: tf.distribute.Strategy) -> np.ndarray:
    """Loss of one batch, of the same batch twice, and both once more; starts are random."""
    with strategy.scope():
        model = defended(AdversarialModel, attack=pgd(0.1, 0.0, num_steps=1))
    batch = tf.data.Dataset.from_tensors((IMAGES, LABELS))
    losses = [model.evaluate(batch.repeat(count), verbose=0) for count in (1, 2, 1, 2)]
    return np.array([values[0] for values in losses])


def main() -> None:
    keras.config.set_floatx("float64")
    strategies = {
        "one": tf.distribute.get_strategy(),
        "two": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    }
    found = {
        f"{name}_{devices}": weights_after_two_steps(name, strategy)
        for devices, strategy in strategies.items()
        for name in MODELS
    }
    found["evaluations_two"] = evaluations(strategies["two"])
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
