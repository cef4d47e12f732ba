"""An evaluation of gates that is interrupted in either of its passes, and goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_gates
from aad_tf.models import CBAM
from aad_tf.records import summary_path
from tests.networks import random_images

SHAPE = (8, 8, 1)
BATCHES, BATCH = 4, 5
ATTACK = "fgsm(epsilon=0.1)"


class Interrupted:
    """Batches that can be read often, with Ctrl-C after a number of them in all."""

    def __init__(self, batches: list[Any], after: int) -> None:
        self._batches, self._left = batches, after

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1
            yield batch


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    images = keras.Input(SHAPE)
    net = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(images)
    net = CBAM(reduction=2, kernel_size=3, name="cbam")(net)
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(net)))


def batches(first_seed: int, count: int) -> list[Any]:
    found = []
    for seed in range(first_seed, first_seed + count):
        labels = np.random.default_rng(seed).integers(0, 3, BATCH).astype("int32")
        found.append((random_images(BATCH, SHAPE, seed=seed), labels))
    return found


def test_a_run_interrupted_in_either_pass_ends_with_the_same_files(network, tmp_path) -> None:
    images, reference = batches(0, BATCHES), batches(100, 2)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    # A function that returns batches can be read often, too.
    expected = evaluate_gates(network, lambda: iter(images), reference, ATTACK, output=whole)
    partial = tmp_path / "cut.jsonl.partial"
    # Attacks of all four networks on every batch come first, then the gates of every batch.
    for after, kept in ((2, 2), (BATCHES + 2, BATCHES)):
        with pytest.raises(KeyboardInterrupt):
            given = Interrupted(images, after)
            evaluate_gates(network, given, reference, ATTACK, output=cut)
        assert len(partial.read_text().splitlines()) == 1 + kept * BATCH
        assert not summary_path(cut).exists()
    with pytest.raises(ValueError, match="another evaluation"):
        evaluate_gates(network, images, batches(200, 2), ATTACK, output=cut)
    # Finished, and read back.
    for _ in range(2):
        found = evaluate_gates(network, images, reference, ATTACK, output=cut)
        assert found.summary["gates"] == expected.summary["gates"]
    assert cut.read_bytes() == whole.read_bytes() and not partial.exists()
    written = json.loads(summary_path(cut).read_text())
    assert written["gates"] == expected.summary["gates"]


@pytest.mark.parametrize("kind", ["several_outputs", "open_size"])
def test_copies_are_wrapped_as_the_network_is(kind) -> None:
    keras.utils.set_random_seed(1)
    images = keras.Input((None, None, 1) if kind == "open_size" else SHAPE)
    net = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(images)
    net = keras.layers.GlobalAveragePooling2D()(CBAM(reduction=2, kernel_size=3)(net))
    scores = keras.layers.Dense(3)(net)
    plain = keras.Model(images, scores)
    given: Any = plain
    if kind == "several_outputs":
        two = keras.Model(images, {"class": scores, "box": keras.layers.Dense(4)(net)})
        given = Classifier.from_keras(two, output="class")
    data, reference = batches(0, 2), batches(100, 2)
    found = evaluate_gates(given, data, reference, ATTACK)
    fixed = Classifier.from_keras(plain, input_shape=SHAPE)
    expected = evaluate_gates(fixed, data, reference, ATTACK)
    assert found.summary["gates"] == expected.summary["gates"]
    assert list(found.records()) == list(expected.records())
