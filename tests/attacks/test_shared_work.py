"""Attacks that share work end, bit for bit, where each ends by itself, at the cost expected."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import (
    attack_call,
    fgsm,
    ifgsm,
    iter_ll,
    pgd,
    step_ll,
    with_unique_names,
)
from aad_tf.attacks.shared_work import attacked_by_each
from aad_tf.classifier import Classifier
from tests.networks import CountPasses, batch_norm_network, random_images, small_network

FIXED = {"random_start": False}
ATTACKS = [
    *(fgsm(epsilon) for epsilon in (0.05, 0.1, 0.3)),
    *(pgd(0.2, 0.03, steps, **FIXED) for steps in (7, 3, 1)),
    *(pgd(0.1, 0.02, steps) for steps in (4, 2)),
    pgd(0.1, 0.02, 3, restarts=2),
    ifgsm(0.1, num_steps=3),
    *(step_ll(0.03, steps) for steps in (1, 2)),
    iter_ll(0.1, num_steps=3),
    fgsm(0.1, target=2),
]
NETWORKS = {"convolution": small_network, "batch_norm": batch_norm_network}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_images_are_bit_for_bit_those_of_each_attack_by_itself(network):
    classifier = Classifier.from_keras(network())
    images = random_images(13, dtype=classifier.dtype.name)
    labels = np.arange(13, dtype=np.int32) % 3
    attacks = with_unique_names([attack.for_classes(3) for attack in ATTACKS])
    given = tf.constant(images), tf.constant(labels)
    found = dict(
        (attack.name, attacked.numpy())
        for attack, attacked in attacked_by_each(classifier, attacks, *given, 4, 20 + np.arange(13))
    )
    assert found.keys() == {attack.name for attack in attacks}
    for attack in attacks:
        alone = attack(classifier, images, labels, seed=4, first_index=20)
        assert found[attack.name].tobytes() == alone.numpy().tobytes(), attack.name


@pytest.mark.parametrize(
    ("attacks", "passes"),
    [
        ([fgsm(0.05), fgsm(0.1), fgsm(0.3)], 1),
        ([pgd(0.2, 0.01, steps, **FIXED) for steps in (10, 5, 20)], 20),
        ([fgsm(0.1), *(pgd(0.2, 0.01, steps, **FIXED) for steps in (5, 10, 20))], 20),
        # Other points, other objectives, another step size: nothing is shared.
        ([pgd(0.2, 0.01, 5), pgd(0.2, 0.01, 5, **FIXED)], 10),
        ([fgsm(0.1), step_ll(0.1)], 2),
        ([pgd(0.2, 0.01, 5), pgd(0.2, 0.02, 5)], 10),
        ([pgd(0.2, 0.01, 5), pgd(0.2, 0.01, 8)], 8),
    ],
    ids=lambda each: " ".join(map(attack_call, each)) if isinstance(each, list) else str(each),
)
def test_gradients_are_counted(attacks, passes, counted):
    classifier, counter = counted
    images, labels = tf.constant(random_images(2)), tf.constant([0, 1])
    list(attacked_by_each(classifier, attacks, images, labels, 0, range(2)))
    before = int(counter.passes)
    list(attacked_by_each(classifier, attacks, images, labels, 0, range(2)))
    assert int(counter.passes) - before == passes


@pytest.fixture(scope="module")
def counted() -> tuple[Classifier, CountPasses]:
    """A network and its layer that counts forward passes."""
    counter = CountPasses()
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((8, 8, 1)), counter, layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)]
    )
    return Classifier.from_keras(network), counter
