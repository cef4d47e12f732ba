"""What users write inside a `tf.function` or a `train_step` of their own."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import auto_attack, fgsm, pgd
from aad_tf.attention import attention_maps, class_gradients, grad_cam, grad_cam_map, lime
from aad_tf.classifier import Classifier
from tests.networks import random_images, small_network

LABELS = np.array([0, 1, 2, 0], np.int32)


@pytest.mark.parametrize(
    "call",
    [fgsm(0.1), auto_attack(0.1), grad_cam, lime],
    ids=["attack", "cascade", "grad_cam", "lime"],
)
def test_what_checks_values_says_what_to_call_inside_a_function(call):
    classifier = Classifier.from_keras(small_network())
    for autograph in (True, False):
        function = tf.function(lambda x: call(classifier, x, LABELS), autograph=autograph)
        with pytest.raises(RuntimeError, match=r"outside.*attack\.last_in_graph.*Cascades"):
            function(random_images())


def test_what_is_made_for_functions_works_in_them_without_a_word():
    classifier, attack = Classifier.from_keras(small_network()), pgd(0.1, 0.05, 3)
    images = tf.constant(random_images())

    @tf.function
    def inside(x):
        adversarial = attack.last_in_graph(classifier, x, LABELS, tf.constant([3, 0]))
        maps = attention_maps(classifier, adversarial, LABELS)
        _, features, gradients = class_gradients(classifier, adversarial, LABELS)
        return adversarial, maps, grad_cam_map(features, gradients)

    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    try:
        adversarial, maps, again = inside(images)
    finally:
        logger.removeHandler(handler)
    assert said == []
    # Two graphs may order sums differently, which turns a sign only where a gradient is nearly 0.
    expected = attack(classifier, images, LABELS, seed=3)
    assert np.mean(np.abs(adversarial - expected) > 1e-6) < 1e-3
    np.testing.assert_allclose(maps, grad_cam(classifier, adversarial, LABELS), atol=1e-6)
    np.testing.assert_allclose(again, maps, atol=1e-6)
