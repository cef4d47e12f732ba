"""Galleries of a random network on the embedded digits, with boxes made up for the tests."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier, data
from aad_tf.attacks import step_ll
from aad_tf.attention_study import Options, study_attention
from eval.galleries import GALLERIES, Source
from tests.networks import small_network

SHAPE = (8, 8, 1)
COUNT, BATCH = 60, 20
OPTIONS = Options(cells=(5, 10, 20), features=(8,))
# Built in Python, so its name is no call.
ATTACK = step_ll(0.05, num_steps=5)
DATASET = {"name": "made up", "split": "test", "fingerprint": "0123"}


@functools.cache
def images() -> np.ndarray:
    batches = data.evaluation_batches("digits", "test", COUNT)
    found, _ = next(iter(batches))
    return tf.image.resize(found, SHAPE[:2]).numpy()


@functools.cache
def labels_of_a_network() -> np.ndarray:
    """Labels that the first network gives four of five images."""
    labels = network().model.predict(images(), verbose=0).argmax(-1).astype(np.int32)
    labels[::5] = (labels[::5] + 1) % 3
    return labels


def opened(start: int = 0) -> tf.data.Dataset:
    """Images with labels from an index on, and a box in three of four."""
    pixels, labels = images(), labels_of_a_network()
    boxes = np.tile(np.array([0.25, 0.125, 0.875, 0.75], np.float32), (COUNT, 1, 1))
    kinds = labels[:, None].copy()
    boxes[3::4], kinds[3::4] = -1, -1
    examples = {"image": pixels, "label": labels, "boxes": boxes, "box_labels": kinds}
    dataset = tf.data.Dataset.from_tensor_slices(examples)
    return dataset.skip(start).batch(BATCH)


def network(seed: int = 0) -> Classifier:
    """A random network, its biases such that every class is predicted at times."""
    model = small_network(shape=SHAPE, seed=seed)
    scores = model.get_layer("scores")
    scores.bias.assign(-model.predict(images(), verbose=0).mean(0))
    return Classifier.from_keras(model, "conv")


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return network()


def study(classifier, path, attack=ATTACK, options=OPTIONS):
    """Records of the first network's images."""
    study_attention(
        classifier,
        opened(),
        attack,
        output=path,
        batch_size=BATCH,
        options=options,
        description={"dataset": DATASET},
        class_names=("zero", "one, a digit", "two and a half dozen"),
    )
    return path


@pytest.fixture(scope="session")
def records(classifier, tmp_path_factory):
    return study(classifier, tmp_path_factory.mktemp("records") / "plain.jsonl.gz")


def source(path, classifier, number=1) -> Source:
    return Source(GALLERIES[number].read(path), classifier, opened)
