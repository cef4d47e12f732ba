"""Robust accuracy of gray images by hand; random starts are the same in every epoch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks
from aad_tf.callbacks import RobustAccuracy
from aad_tf.classifier import Classifier
from tests.callbacks.small_fits import (
    FGSM,
    brightness_network,
    grey,
    quadrants,
    small_network,
    trace_counts,
)

# FGSM of 0.1 moves 0.45 and 0.52 over the border at 0.5, and repairs none but the last, which
# is wrong when clean.
GREY = grey(0.3, 0.45, 0.52, 0.9, 0.2)
GREY_LABELS = np.array([0, 0, 1, 1, 1])
ROBUST = 2 / 5


@pytest.mark.parametrize("batch_size", [1, 2, 5, 128])
@pytest.mark.parametrize("softmax", [False, True])
def test_robust_accuracy_worked_by_hand(batch_size, softmax):
    classifier = Classifier.from_keras(brightness_network(softmax))
    arrays = RobustAccuracy((GREY, GREY_LABELS), FGSM, batch_size=batch_size)
    assert arrays.evaluate(classifier) == pytest.approx(ROBUST)
    batches = tf.data.Dataset.from_tensor_slices((GREY, GREY_LABELS)).batch(batch_size)
    assert RobustAccuracy(batches, FGSM).evaluate(classifier) == pytest.approx(ROBUST)
    assert set(trace_counts(classifier).values()) == {1}


def test_clean_accuracy_bounds_robust_accuracy():
    classifier = Classifier.from_keras(brightness_network())
    dataset = GREY, GREY_LABELS
    by_size = [RobustAccuracy(dataset, attacks.fgsm(size)) for size in (0.0, 0.03, 0.1, 0.5)]
    values = [callback.evaluate(classifier) for callback in by_size]
    assert values == pytest.approx([4 / 5, 3 / 5, 2 / 5, 0.0])


def test_random_starts_are_those_of_the_epoch_before():
    classifier = Classifier.from_keras(small_network())
    pgd = attacks.pgd(0.1, 0.05, 2)
    seen = []

    def attack(*arguments, **keywords):
        seen.append(pgd(*arguments, **keywords).numpy())
        return seen[-1]

    image = quadrants(1)[0]
    callback = RobustAccuracy((np.repeat(image, 4, axis=0), np.zeros(4, int)), attack, batch_size=2)
    callback.evaluate(classifier)
    callback.evaluate(classifier)
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], seen[3])
    assert not np.array_equal(seen[0], seen[1])
