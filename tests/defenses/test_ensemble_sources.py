"""Which source networks EnsembleAdversarialModel takes, and what it says of the others."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier, EnsembleAdversarialModel
from aad_tf.attacks import fgsm
from tests.networks import SHAPE, random_images, small_network

IMAGES = random_images(10)
LABELS = (np.arange(10) % 3).astype("int32")


@functools.cache
def any_network() -> Classifier:
    """For tests that do not look at what it learns."""
    return Classifier.from_keras(small_network())


def ensemble(network=None, *, sources, **options):
    model = EnsembleAdversarialModel(
        network or any_network(), sources=sources, attack=fgsm(0.1), **options
    )
    model.compile(keras.optimizers.SGD(0.1))
    return model


def losses(model):
    return model.fit(IMAGES, LABELS, batch_size=4, verbose=0).history["loss"]


@pytest.mark.parametrize("dtypes", [("float64", None), (None, "float64"), (None, "mixed_bfloat16")])
def test_sources_of_another_precision(dtypes):
    own, other = dtypes
    source = small_network(seed=1, dtype=other)
    model = ensemble(small_network(dtype=own), sources=[source], include_self=False)
    assert np.isfinite(losses(model)).all()
    images = tf.cast(IMAGES, model.classifier.dtype)
    found = model.adversarial_images(images, tf.constant(LABELS))
    assert found.dtype == images.dtype
    assert 0.05 < np.abs(found - images).max() < 0.1 + 1e-6


def test_a_source_of_open_size_takes_any():
    open_size = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    assert np.isfinite(losses(ensemble(sources=[open_size]))).all()


def wide(network):
    return Classifier.from_keras(network, bounds=(-1.0, 1.0))


BAD_SOURCES = {
    "none": (list, ValueError, "holds no network.*use AdversarialModel"),
    "one": (small_network, TypeError, "must be a sequence .* got Sequential. Put a single"),
    "path": (lambda: "runs/plain", TypeError, "must be a sequence .* got str"),
    "paths": (lambda: ["runs/plain"], TypeError, r"sources\[0\] must be .* got str.*load_clas"),
    "size": (
        lambda: [small_network(), small_network(shape=(9, 9, 1))],
        ValueError,
        r"sources\[1\] has input_shape \(9, 9, 1\), but the network in training \(8, 8, 1\)",
    ),
    "classes": (
        lambda: [small_network(keras.layers.Dense(5))],
        ValueError,
        r"sources\[0\] has num_classes 5, but the network in training 3",
    ),
    "bounds": (
        lambda: [wide(small_network())],
        ValueError,
        r"sources\[0\] has bounds .*lower=-1.0",
    ),
    "defence": (
        lambda: [ensemble(sources=[small_network()])],
        TypeError,
        "pass its .classifier",
    ),
}


@pytest.mark.parametrize("problem", BAD_SOURCES)
def test_unsuitable_sources_are_refused(problem):
    make, error, message = BAD_SOURCES[problem]
    with pytest.raises(error, match=message):
        ensemble(sources=make())


def test_a_source_that_would_be_trained_is_refused():
    network = small_network()
    wrapped = keras.Sequential([keras.Input(SHAPE), network])
    for source in (network, Classifier.from_keras(network), wrapped):
        with pytest.raises(ValueError, match=r"sources\[0\] shares weights with the network"):
            ensemble(network, sources=[source])
