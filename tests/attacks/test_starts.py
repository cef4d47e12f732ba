"""Random starts: published random bits, one start per seed, index and restart, and other noise."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from aad_tf import AdversarialModel
from aad_tf.attacks import (
    AttackCascade,
    AwayFromLabel,
    GaussianNoise,
    GradientSignAttack,
    UniformNoise,
    apgd,
    fgsm,
    nfgsm,
    pgd,
    rs_fgsm,
    trades_pgd,
)
from aad_tf.attacks.starts import _threefry, standard_normal, unit_noise
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, evaluate_transfer
from aad_tf.types import Bounds
from tests.networks import linear_network, random_images, small_network

SHAPE = (5, 3, 2)


@pytest.fixture(scope="module")
def linear() -> Classifier:
    """Logits m and -m of images of mean m: FGSM darkens those of class 0."""
    return Classifier.from_keras(linear_network([1.0, 0.0, -1.0], size=16))


def gray(value):
    return np.full((2, 16, 16, 1), value, np.float32)


def test_nfgsm_steps_from_far_noise_and_is_not_projected(linear):
    attack, images, labels = nfgsm(0.1), gray(0.5), [0, 0]
    starts = attack.start(linear, images, 3).numpy()
    attacked = attack(linear, images, labels, seed=3).numpy()
    np.testing.assert_allclose(attacked, starts - 0.1, atol=1e-6)
    moved = attacked - images
    # From 0.5 + U(-0.2, 0.2) down by 0.1: in [-0.3, 0.1], and near both ends.
    assert -0.3 - 1e-6 <= moved.min() < -0.29 and 0.09 < moved.max() <= 0.1 + 1e-6


def test_rs_fgsm_steps_from_the_budget_and_is_projected(linear):
    attack, images, labels = rs_fgsm(0.1), gray(0.5), [0, 0]
    starts = attack.start(linear, images, 3).numpy()
    assert np.abs(starts - images).max() <= 0.1 + 1e-6
    attacked = attack(linear, images, labels, seed=3).numpy()
    np.testing.assert_allclose(attacked, np.maximum(starts - 0.125, 0.4), atol=1e-6)
    assert attack == pgd(0.1, 0.125, num_steps=1)


def test_without_noise_nfgsm_is_fgsm(linear):
    found = nfgsm(0.1, start_radius=0.0)(linear, gray(0.5), [0, 2])
    np.testing.assert_allclose(found, fgsm(0.1)(linear, gray(0.5), [0, 2]), atol=1e-7)
    np.testing.assert_allclose(found[:, 0, 0, 0], [0.4, 0.6], atol=1e-6)


def test_pixels_stay_in_range_before_and_after_the_step():
    wide = Classifier.from_keras(linear_network([1.0, 0.0, -1.0], size=16), bounds=Bounds(-1, 1))
    for value in (-1.0, 0.9):
        images = gray(value)
        for found in (
            nfgsm(0.3).start(wide, images, 0),
            nfgsm(0.3)(wide, images, [0, 2]),
        ):
            assert found.numpy().min() >= -1 and found.numpy().max() <= 1
    # The budget is a fraction of the width of the range.
    assert nfgsm(0.3).epsilon_after(bounds=Bounds(-1, 1)) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("noise", "cumulative"),
    [
        (UniformNoise(0.2), stats.uniform(-0.2, 0.4).cdf),
        (GaussianNoise(0.05), stats.norm(scale=0.05).cdf),
    ],
    ids=["uniform", "normal"],
)
def test_starts_have_the_distribution_they_are_named_by(noise, cumulative):
    images = tf.fill((1, 64, 64, 3), tf.constant(0.5, tf.float64))
    start = noise.around(images, Bounds(), 7, [5], 0)
    # Draws in the precision of float32.
    difference = (start - images).numpy().ravel()
    assert stats.kstest(difference, cumulative).pvalue > 0.01
    assert np.abs(difference).max() <= noise.reach
    other = noise.around(images, Bounds(), 7, [6], 0).numpy().ravel()
    assert abs(np.corrcoef(difference, other)[0, 1]) < 0.05
    # Neither the batch nor a graph changes them.
    twice = tf.function(lambda: noise.around(tf.tile(images, [2, 1, 1, 1]), Bounds(), 7, [9, 5], 0))
    np.testing.assert_array_equal(twice()[1], start[0])


def test_normal_noise_is_finite_where_uniform_noise_is_at_its_ends():
    found = standard_normal(tf.constant([-1.0, 0.0, 1.0 - 2.0**-23])).numpy()
    end = stats.norm.ppf(1 - 2.0**-25)
    np.testing.assert_allclose(found, [-end, stats.norm.ppf(0.5 + 2.0**-25), end], rtol=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="set random_start=True"):
        GradientSignAttack(AwayFromLabel(), 0.1, epsilon=0.1, noise=GaussianNoise(0.1))
    with pytest.raises(ValueError, match="radius must be finite and not negative"):
        nfgsm(0.1, start_radius=-0.1)
    with pytest.raises(ValueError, match="random_start needs an epsilon"):
        GradientSignAttack(AwayFromLabel(), 0.1, random_start=True)
    with pytest.raises(ValueError, match="radius.*16"):
        nfgsm(8 / 255, start_radius=16).check_sizes(Bounds())
    with pytest.raises(ValueError, match="deviation.*2"):
        trades_pgd(0.1, 0.05, 1, deviation=2.0).check_sizes(Bounds())
    with pytest.raises(ValueError, match="apgd starts at a random point"):
        dataclasses.replace(apgd(0.1), noise=UniformNoise(0.05))


def test_the_start_may_lie_outside_of_the_budget_until_the_first_step():
    attack = GradientSignAttack(
        AwayFromLabel(), 0.01, 2, 0.1, random_start=True, noise=UniformNoise(0.3)
    )
    assert [attack.epsilon_after(steps) for steps in range(3)] == [0.3, 0.1, 0.1]
    assert not attack.starts_in_budget and not trades_pgd(0.1, 0.05, 1).starts_in_budget
    assert nfgsm(0.1).starts_in_budget and pgd(0.1, 0.05, 1).starts_in_budget
    assert not fgsm(0.1).starts_in_budget


def test_a_start_outside_of_the_budget_does_not_count_as_success():
    # Logits (m, 0.9 - m) of the mean m: 0.5 is of class 0, and misclassified below 0.45 only.
    network = Classifier.from_keras(linear_network([1.0, -1.0], [0.0, 0.9]))
    images, labels = np.full((40, 2, 2, 1), 0.5, np.float32), np.zeros(40, np.int32)
    far = GradientSignAttack(
        AwayFromLabel(), 0.01, 1, 0.01, random_start=True, noise=UniformNoise(0.4)
    )
    starts = far.start(network, tf.constant(images), 0).numpy()
    assert (starts.mean((1, 2, 3)) < 0.44).any()
    report = evaluate_robustness(network, (images, labels), far, diagnostics=False, verbose=0)
    assert report.robust_accuracy(far.name) == 1.0


def test_adversarial_training_on_nfgsm_moves_images_from_step_to_step():
    images, labels = random_images(6), np.array([0, 1, 2, 0, 1, 2], np.int32)
    model = AdversarialModel(small_network(), attack="nfgsm(epsilon=0.3)", replace_clean=True)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    first = model.adversarial_images(tf.constant(images), tf.constant(labels)).numpy()
    assert 0.5 < np.abs(first - images).max() <= 0.9 + 1e-6
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert np.isfinite(logs["loss"]) and logs["loss"] == logs["adversarial_loss"]
    second = model.adversarial_images(tf.constant(images), tf.constant(labels)).numpy()
    assert np.abs(second - first).max() > 0.1


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
def test_any_integer_of_64_bits_is_a_seed(seed):
    noise = unit_noise(seed, [0], 0, (1001,)).numpy()
    assert np.isfinite(noise).all() and noise.std() > 0.5


@pytest.mark.parametrize(
    ("seed", "words"),
    [(7, [7, 0]), (2**40 + 3, [3, 256]), (-1, [-1, -1]), (2**63 - 1, [-1, 2**31 - 1])],
)
def test_two_words_are_the_low_and_high_bits_of_a_seed(seed, words):
    noise = unit_noise(seed, [0], 0, SHAPE)
    for other in (words, np.array(words), tf.constant(words)):
        np.testing.assert_array_equal(unit_noise(other, [0], 0, SHAPE), noise)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (1.5, TypeError, "seed must be an integer, got 1.5"),
        ("7", TypeError, "seed must be an integer, got '7'"),
        (2**63, ValueError, "seed must be at most 9223372036854775807, got 9223372036854775808"),
        (-(2**63) - 1, ValueError, "seed must be at least -9223372036854775808"),
    ],
)
def test_other_seeds_are_refused_though_no_random_number_is_drawn(seed, error, message):
    classifier = Classifier.from_keras(small_network())
    images, labels = random_images(2), np.array([0, 1])
    cascade = AttackCascade((fgsm(0.1),))
    with pytest.raises(error, match=message):
        unit_noise(seed, [0], 0, SHAPE)
    for attack in (fgsm(0.1), fgsm(0.1).rounds, cascade):
        with pytest.raises(error, match=message):
            attack(classifier, images, labels, seed=seed)
    with pytest.raises(error, match=message):
        evaluate_robustness(classifier, (images, labels), fgsm(0.1), seed=seed)
    with pytest.raises(error, match=message):
        evaluate_transfer({"one": classifier}, (images, labels), fgsm(0.1), seed=seed)


def test_noise_depends_on_neither_batch_nor_graph():
    together = unit_noise(7, [0, 1, 2, 3], [0, 2, 0, 1], SHAPE).numpy()
    for row, (index, restart) in enumerate([(0, 0), (1, 2), (2, 0), (3, 1)]):
        np.testing.assert_array_equal(unit_noise(7, [index], restart, SHAPE)[0], together[row])
    graph = tf.function(lambda seed, shape: unit_noise(seed, [3, 0], [1, 0], shape))
    found = graph(tf.constant([7, 0]), tf.constant(SHAPE))
    np.testing.assert_array_equal(found, together[[3, 0]])
