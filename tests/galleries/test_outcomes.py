"""Which images stand for the outcomes of an attack on two networks, worked by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from aad_tf.attacks import fgsm
from aad_tf.classifier import Classifier
from eval.galleries.outcomes import compare_outcomes

ATTACK = fgsm(0.1)


def threshold(value: float) -> Classifier:
    """Class 1 above a gray level, class 0 below: FGSM moves every image by 0.1 towards it."""
    model = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            keras.layers.Conv2D(1, 1, use_bias=False, name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    model.get_layer("conv").set_weights([np.ones((1, 1, 1, 1))])
    model.layers[-1].set_weights([np.array([[-5.0, 5.0]]), np.array([5.0 * value, -5.0 * value])])
    return Classifier.from_keras(model, "conv")


def gray(*levels: float) -> np.ndarray:
    return np.repeat(np.array(levels, np.float32), 4).reshape(-1, 2, 2, 1)


# A network falls where a gray level is within 0.1 of its threshold, on the right side of it.
NETWORKS = {"low": threshold(0.4), "high": threshold(0.6)}
LEVELS = (0.95, 0.65, 0.68, 0.33, 0.05, 0.36, 0.52)
LABELS = np.array([1, 1, 1, 0, 0, 0, 1], np.int32)


def batches(size: int):
    images = gray(*LEVELS)
    starts = range(0, len(LEVELS), size)
    return [(images[start : start + size], LABELS[start : start + size]) for start in starts]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_both_ways_are_counted_and_shown_by_the_first_of_each_class(size):
    seen = []
    found = compare_outcomes(NETWORKS, batches(size), ATTACK, 4, seen.append)
    assert found.images == 7 and seen[-1] == 7
    # The last image is right by "low" even after the attack, but wrong by "high" without any.
    assert found.correct == {"low": 7, "high": 6} and found.all_correct == 6
    assert found.robust == {"low": 5, "high": 4}
    low, high = found.outcomes
    assert (low.name, low.images) == ("low fooled, high not", 2)
    assert (high.name, high.images) == ("high fooled, low not", 2)
    assert [(one.index, one.label) for one in low.examples] == [(3, 0)]
    assert [(one.index, one.label) for one in high.examples] == [(1, 1)]
    (example,) = high.examples
    np.testing.assert_array_equal(example.image, gray(0.65)[0])
    np.testing.assert_allclose(example.adversarial["high"], gray(0.55)[0], atol=1e-6)
    np.testing.assert_allclose(example.adversarial["low"], gray(0.55)[0], atol=1e-6)


def test_of_three_networks_the_first_and_the_last_are_compared():
    """All must be right without an attack; whether the one between them falls does not matter."""
    three = {"low": NETWORKS["low"], "between": threshold(0.55), "high": NETWORKS["high"]}
    found = compare_outcomes(three, batches(7), ATTACK, 2)
    # The image of 0.65 falls by 0.55 as well, or is on the edge; 0.52 is wrong by both others.
    assert [group.images for group in found.outcomes] == [2, 2]
    assert [group.examples[0].index for group in found.outcomes] == [3, 1]
    assert set(found.outcomes[1].examples[0].adversarial) == set(three)


def test_of_an_odd_number_the_first_network_has_one_more():
    found = compare_outcomes(NETWORKS, batches(7), ATTACK, 1)
    assert [len(group.examples) for group in found.outcomes] == [1, 0]


def test_one_network_has_nothing_to_compare():
    with pytest.raises(ValueError, match="two networks or more can be compared, got 1"):
        compare_outcomes({"low": NETWORKS["low"]}, batches(7), ATTACK, 2)
