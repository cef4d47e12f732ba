"""Loops over iterations, and which restart is kept, in direct calls and in training."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack, fgsm, pgd
from aad_tf.attacks.loop import first_success, starts_again
from aad_tf.classifier import Classifier
from tests.networks import random_images, small_network


def test_direct_calls_and_training_begin_at_the_same_points():
    classifier = Classifier.from_keras(small_network())
    images, labels = random_images(), tf.constant([0, 1, 2, 0])
    # Steps of no length: what comes out is the start of the restart that is kept.
    attack = pgd(0.1, 0.0, 2, restarts=3)
    direct = attack(classifier, images, labels, seed=4)
    trained = tf.function(
        lambda images, seed: attack.last_in_graph(classifier, images, labels, seed),
        input_signature=[tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((2,), tf.int32)],
    )(images, tf.constant([4, 0]))
    np.testing.assert_array_equal(direct, trained)
    tail = attack(classifier, images[2:], labels[2:], seed=4, first_index=2)
    np.testing.assert_array_equal(tail, direct[2:])
    assert np.abs(direct - images).max() > 0.05


def test_who_starts_again_by_hand():
    misclassified = np.array([True, False, False, True, False])
    restart = np.array([0, 0, 1, 1, 2])
    assert starts_again(misclassified, restart, 3).tolist() == [False, True, True, False, False]


def test_the_first_success_is_kept_and_else_the_last_restart():
    # Example 0 ends misclassified in restarts 1 and 2, example 1 in none, example 2 in all.
    missed = np.array([[False, False, True], [True, False, True], [True, False, True]])

    def run(restart: int) -> tf.Tensor:
        return tf.fill([3, 1, 1, 1], restart)

    def misclassified(images: tf.Tensor) -> tf.Tensor:
        restarts = images.numpy().ravel()
        return tf.constant([missed[restart, row] for row, restart in enumerate(restarts)])

    assert first_success(run, misclassified, 3).numpy().ravel().tolist() == [1, 2, 0]


def test_long_loops_agree_with_short_ones_in_graphs():
    classifier = Classifier.from_keras(small_network(dtype="float64"))
    images, labels = random_images(dtype="float64"), np.array([0, 1, 2, 0], np.int32)
    long = GradientSignAttack(fgsm(0.1).objective, 0.01, 12, 0.08)
    short = dataclasses.replace(long, num_steps=6)
    graph = tf.function(lambda images: long.rounds_in_graph(classifier, images, labels, [0, 0]))
    every = graph(images)
    last = tf.function(
        lambda images: long.last_in_graph(classifier, images, labels, [0, 0]), autograph=False
    )(images)
    np.testing.assert_allclose(every, long.rounds(classifier, images, labels), atol=1e-9)
    np.testing.assert_allclose(every[:6], short.rounds(classifier, images, labels), atol=1e-9)
    np.testing.assert_allclose(last, every[-1], atol=1e-9)
