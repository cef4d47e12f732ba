"""Pictures that compare networks."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf import data, models
from aad_tf.attacks import fgsm
from aad_tf.classifier import Classifier
from aad_tf.pictures import compare_networks
from aad_tf.plots import png_bytes


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.from_keras(models.build("lenet", (28, 28, 1), 10))


def texts_of(figure) -> list[str]:  # type: ignore[no-untyped-def]
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for axes in figure.axes for text in axes.texts]


def test_each_network_has_its_columns_and_captions(classifier: Classifier) -> None:
    images, labels = next(iter(data.evaluation_batches("digits", "test", 2)))
    networks = {"plain": classifier, "again": classifier}
    figure = compare_networks(networks, images, labels, fgsm(0.1))
    assert len(figure.axes) == 2 * 7
    texts = texts_of(figure)
    for title in ("image", "plain: clean", "plain: attacked", "again: under attack"):
        assert title in texts
    predicted = np.argmax(classifier.predict_logits(images), axis=-1)
    for label in predicted:
        assert any(text.startswith(f"{label} 0.") for text in texts)
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_class_names_stand_under_the_maps(classifier: Classifier) -> None:
    images, labels = next(iter(data.evaluation_batches("digits", "test", 1)))
    names = tuple(f"digit-{number}" for number in range(10))
    figure = compare_networks({"plain": classifier}, images, labels, fgsm(0.1), class_names=names)
    assert any(text.startswith("digit-") for text in texts_of(figure))


def test_float64_networks_are_drawn() -> None:
    network = Classifier.from_keras(models.build("lenet", (28, 28, 1), 10, dtype="float64"))
    images, labels = next(iter(data.evaluation_batches("digits", "test", 1)))
    assert images.dtype == "float32"
    figure = compare_networks({"double": network}, images, labels, fgsm(0.1))
    predicted = int(np.argmax(network.predict_logits(np.asarray(images, np.float64))))
    assert any(text.startswith(f"{predicted} 0.") for text in texts_of(figure))
