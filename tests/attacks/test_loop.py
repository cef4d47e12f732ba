"""Random starts: published random bits, one start per (seed, index, restart) everywhere."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack, fgsm, pgd
from aad_tf.attacks.loop import _threefry, first_success, starts_again, unit_noise
from aad_tf.classifier import Classifier
from tests.networks import random_images, small_network

SHAPE = (5, 3, 2)


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_its_authors(key, counter, expected):
    def words(pair):
        return tuple(tf.constant([word], tf.uint32) for word in pair)

    found = _threefry(words(key), words(counter))
    assert [int(word[0]) for word in found] == list(expected)


def test_noise_is_uniform_and_differs_by_seed_index_and_restart():
    noise = unit_noise(3, [5, 6], 1, (64, 64, 3)).numpy()
    assert noise.dtype == np.float32 and noise.shape == (2, 64, 64, 3)
    assert noise.min() >= -1 and noise.max() < 1
    histogram, _ = np.histogram(noise[0], bins=8, range=(-1, 1))
    # Binomial counts of 12,288 draws in eight bins: 1536, standard deviation 37.
    assert np.abs(histogram - 1536).max() < 5 * 37
    others = [noise[1], *(unit_noise(*each, (64, 64, 3))[0] for each in ((4, [5], 1), (3, [5], 2)))]
    for other in others:
        assert abs(np.corrcoef(noise[0].ravel(), np.ravel(other))[0, 1]) < 0.05


@pytest.mark.parametrize("seed", [-1, 0, 2**31, 2**40 + 3])
def test_any_integer_is_a_seed(seed):
    noise = unit_noise(seed, [0], 0, (1001,)).numpy()
    assert np.isfinite(noise).all() and noise.std() > 0.5


def test_noise_depends_on_neither_batch_nor_graph():
    together = unit_noise(7, [0, 1, 2, 3], [0, 2, 0, 1], SHAPE).numpy()
    for row, (index, restart) in enumerate([(0, 0), (1, 2), (2, 0), (3, 1)]):
        np.testing.assert_array_equal(unit_noise(7, [index], restart, SHAPE)[0], together[row])
    graph = tf.function(lambda seed, shape: unit_noise(seed, [3, 0], [1, 0], shape))
    found = graph(tf.constant([7, 0]), tf.constant(SHAPE))
    np.testing.assert_array_equal(found, together[[3, 0]])


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
