"""Signed gradient attacks: signs, labels and budgets worked by hand on linear networks.

For logits `weights * mean(image)` the gradient of the cross-entropy of class y has in every pixel
the sign of sum_c p_c weights_c - weights_y, so attacked images can be written down.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import (
    GradientSignAttack,
    fgsm,
    ifgsm,
    iter_ll,
    nfgsm,
    parse_attack,
    pgd,
    step_ll,
)
from aad_tf.attacks.objectives import (
    AwayFromLabel,
    TowardsFirstLeastLikely,
    TowardsLeastLikely,
    attack_cross_entropy,
)
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from tests.networks import (
    EagerCalls,
    batch_norm_network,
    bytes_of,
    linear_network,
    random_images,
    small_network,
    traces,
)

# Logits m, 0, -m for an image of mean m.
THREE = (1.0, 0.0, -1.0)
# One of each kind: projected, accumulating, with a target kept, with random starts, with far ones.
PRESETS = {
    "ifgsm": ifgsm(0.1, num_steps=3),
    "step_ll": step_ll(0.05, num_steps=2),
    "iter_ll": iter_ll(0.1, num_steps=2),
    "pgd": pgd(0.1, 0.04, num_steps=2, restarts=3),
    "nfgsm": nfgsm(0.05),
}


@functools.cache
def linear(weights=THREE, biases=None, **options):
    """Tests attack the same network, whose compiled iterations they share."""
    return Classifier.from_keras(linear_network(weights, biases), **options)


@functools.cache
def small_classifier():
    return Classifier.from_keras(small_network())


@functools.cache
def normalized_classifier():
    return Classifier.from_keras(batch_norm_network())


def flat(values):
    return np.stack([np.full((2, 2, 1), value, np.float32) for value in values])


def values_of(images):
    """The gray level of flat images."""
    images = np.asarray(images)
    assert np.ptp(images, axis=(-3, -2, -1)).max() < 1e-6
    return images[..., 0, 0, 0]


def test_fgsm_leaves_the_true_label_by_hand():
    # Class 0: p0 - p2 - 1 < 0, its cross-entropy rises with darker images; class 2:
    # p0 - p2 + 1 > 0, with brighter ones; class 1: the sign of p0 - p2, which is that of m.
    images, labels = flat([0.5, 0.5, 0.5]), [0, 1, 2]
    np.testing.assert_allclose(values_of(fgsm(0.1)(linear(), images, labels)), [0.4, 0.6, 0.6])


def test_step_ll_goes_to_the_least_likely_class_whatever_the_label():
    # m > 0: class 2 is least likely, and darker images make it likelier.
    images = flat([0.5, 0.5, 0.5])
    attacked = step_ll(0.1)(linear(), images, [0, 1, 2])
    np.testing.assert_allclose(values_of(attacked), [0.4, 0.4, 0.4], rtol=1e-6)
    # A bias makes class 0 the least likely one: brighter.
    attacked = step_ll(0.1)(linear(biases=(-2.0, 0.0, 0.0)), images, [0, 1, 2])
    np.testing.assert_allclose(values_of(attacked), [0.6, 0.6, 0.6], rtol=1e-6)


def test_the_least_likely_class_is_chosen_again_in_each_round():
    # Logits +-(m - 0.5). At 0.55 class 1 is least likely, so darker: 0.45. There class 0 is, so
    # brighter: 0.55 again.
    classifier = linear((1.0, -1.0), (-0.5, 0.5))
    rounds = step_ll(0.1, num_steps=3).rounds(classifier, flat([0.55]), [0])
    np.testing.assert_allclose(values_of(rounds)[:, 0], [0.45, 0.55, 0.45], rtol=1e-5)


def test_step_ll_accumulates_and_iter_ll_stays_within_its_budget():
    rounds = step_ll(0.1, num_steps=3).rounds(linear(), flat([0.5]), [0])
    np.testing.assert_allclose(values_of(rounds)[:, 0], [0.4, 0.3, 0.2], rtol=1e-5)
    attack = iter_ll(0.1, num_steps=3, step_size=0.06)
    rounds = attack.rounds(linear(), flat([0.5]), [0])
    np.testing.assert_allclose(values_of(rounds)[:, 0], [0.44, 0.4, 0.4], rtol=1e-5)


def test_ifgsm_divides_its_budget_among_rounds():
    rounds = ifgsm(0.3, num_steps=3).rounds(linear(), flat([0.5]), [0])
    np.testing.assert_allclose(values_of(rounds)[:, 0], [0.4, 0.3, 0.2], rtol=1e-5)


@pytest.mark.parametrize("attack", [fgsm(0.2), step_ll(0.2), iter_ll(0.2, 1)])
def test_pixels_stop_at_the_bounds(attack):
    images = flat([0.05])
    np.testing.assert_array_equal(values_of(attack(linear(), images, [0])), [0.0])
    wider = linear(bounds=Bounds(-1.0, 1.0))
    np.testing.assert_allclose(values_of(attack(wider, images, [0])), [-0.15], rtol=1e-6)


@pytest.mark.parametrize("name", PRESETS)
def test_the_call_is_the_last_round_and_graphs_agree(name):
    attack, classifier = PRESETS[name], small_classifier()
    images, labels = random_images(), np.array([0, 1, 2, 0], np.int32)
    rounds = attack.rounds(classifier, images, labels, seed=3)
    assert rounds.shape == (attack.num_steps, *images.shape)
    np.testing.assert_array_equal(rounds[-1], attack(classifier, images, labels, seed=3))
    seed = tf.constant([3, 0])
    in_graph = tf.function(lambda x: attack.rounds_in_graph(classifier, x, labels, seed))
    last = tf.function(lambda x: attack.last_in_graph(classifier, x, labels, seed), autograph=False)
    # Two graphs may order sums differently, which turns a sign only where a gradient is nearly 0.
    assert np.mean(np.abs(in_graph(images) - rounds) > 1e-6) < 1e-3
    assert np.mean(np.abs(last(images) - rounds[-1]) > 1e-6) < 1e-3


def test_objectives_from_logits_by_hand():
    logits, labels = tf.constant([[2.0, 0.0], [0.0, 0.0]]), tf.constant([0, 1])
    away = AwayFromLabel().from_logits(logits, labels)
    np.testing.assert_allclose(away, [-np.log1p(np.exp(-2)), -np.log(2)], rtol=1e-6)
    # Of equal logits the first class counts as the least likely.
    towards = TowardsLeastLikely().from_logits(logits, labels)
    np.testing.assert_allclose(towards, [np.log1p(np.exp(2)), np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("objective", [AwayFromLabel(), TowardsLeastLikely()])
def test_a_step_follows_the_sign_of_a_finite_difference(objective):
    classifier = Classifier.from_keras(small_network(dtype="float64"))
    images, labels = random_images(2, dtype="float64"), tf.constant([0, 1])
    attacked = GradientSignAttack(objective, 0.01)(classifier, images, labels).numpy()
    before, _ = objective(classifier, tf.constant(images), labels)
    for row, column in [(0, 0), (3, 4), (5, 2)]:
        moved = images.copy()
        moved[:, row, column] += 1e-6
        slope = (objective(classifier, tf.constant(moved), labels)[0] - before).numpy() / 1e-6
        step = (attacked - images)[:, row, column, 0]
        np.testing.assert_allclose(step, -0.01 * np.sign(slope), atol=1e-12)


def test_label_smoothing_by_hand():
    logits, label = tf.constant([[1.0, 0.0]]), tf.constant([0])
    log_p = np.log([np.e / (1 + np.e), 1 / (1 + np.e)])
    np.testing.assert_allclose(attack_cross_entropy(logits, label), [-log_p[0]], rtol=1e-6)
    # Smoothing 0.2 over two classes: targets 0.9 and 0.1.
    smoothed = attack_cross_entropy(logits, label, 0.2)
    np.testing.assert_allclose(smoothed, [-0.9 * log_p[0] - 0.1 * log_p[1]], rtol=1e-6)
    assert parse_attack("fgsm(0.1, label_smoothing=0.1)").objective == AwayFromLabel(0.1)


def test_random_starts_come_from_the_seed():
    attack, classifier = pgd(0.1, 0.01, num_steps=1), small_classifier()
    images, labels = random_images(), [0, 1, 2, 0]
    same = attack(classifier, images, labels, seed=1)
    np.testing.assert_array_equal(same, attack(classifier, images, labels, seed=1))
    assert np.abs(same - attack(classifier, images, labels, seed=2)).max() > 0.05
    by_default = attack(classifier, images, labels)
    np.testing.assert_array_equal(by_default, attack(classifier, images, labels, seed=0))


def test_the_first_restart_that_ends_misclassified_is_kept():
    classifier = small_classifier()
    images = tf.constant(random_images(64, seed=1))
    labels = tf.argmax(classifier.predict_logits(images), -1, tf.int32)
    # Steps too small to matter by themselves: the start decides.
    one = pgd(0.1, 0.001, num_steps=2)
    tries = []
    for restart in range(3):
        current = one.start(classifier, images, 0, restart=restart)
        for _ in range(2):
            current = one.step_in_graph(classifier, current, images, labels)
        tries.append(current)
    missed = [tf.argmax(classifier(each).logits, -1, tf.int32) != labels for each in tries]
    chosen = np.where(missed[0], 0, np.where(missed[1], 1, 2))
    assert set(chosen) == {0, 1, 2}
    expected = np.stack([tries[which][index] for index, which in enumerate(chosen)])
    kept = pgd(0.1, 0.001, num_steps=2, restarts=3)(classifier, images, labels, seed=0)
    np.testing.assert_allclose(kept, expected, atol=1e-6)


def test_restarts_run_compiled_code_only():
    layer = EagerCalls()
    classifier = Classifier.from_keras(small_network(middle=[layer]))
    images, labels = random_images(), [0, 1, 2, 0]
    before = layer.count
    classifier(tf.constant(images))
    assert layer.count == before + 1
    attack = pgd(0.1, 0.04, num_steps=2, restarts=3)
    attack(classifier, images, labels)
    attack.rounds(classifier, images, labels)
    assert layer.count == before + 1


@pytest.mark.parametrize("name", PRESETS)
def test_weights_and_batch_statistics_stay_untouched(name):
    classifier = normalized_classifier()
    before = bytes_of(classifier.variables)
    PRESETS[name](classifier, random_images(), [0, 1, 2, 0])
    graph = tf.function(PRESETS[name].rounds_in_graph, autograph=False)
    graph(classifier, tf.constant(random_images()), tf.constant([0, 1, 2, 0]), tf.constant([0, 0]))
    assert bytes_of(classifier.variables) == before


def test_one_trace_whatever_the_batch_size_step_and_budget():
    classifier = Classifier.from_keras(small_network())
    for size, epsilon in [(4, 0.1), (1, 0.2), (3, 0.3)]:
        images, labels = random_images(size), np.zeros(size, int)
        for attack in (fgsm(epsilon), ifgsm(epsilon), pgd(epsilon, 0.01, 2, restarts=2)):
            attack(classifier, images, labels)
            attack.rounds(classifier, images, labels)
    assert any("attack_iterations" in key for key in classifier.compiled)
    assert traces(classifier) == {1}


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_the_networks_dtype_is_followed(dtype):
    classifier = Classifier.from_keras(small_network(dtype=dtype))
    attacked = pgd(0.1, 0.05, 6)(classifier, random_images(), [0, 1, 2, 0])
    assert attacked.dtype == ("float64" if dtype == "float64" else "float32")
    assert 0.05 < np.abs(attacked - random_images()).max() <= 0.1 + 1e-6


@pytest.mark.parametrize(("bias", "relabelled"), [(0.0, 0.1), (0.8, 0.5)])
def test_step_ll_may_keep_the_target_of_the_original_image(bias, relabelled):
    """Logits m and bias - m. At m = 0.5 class 1 is the target, so the first round takes m to 0.3.

    There class 1 is still the lower one without a bias; with 0.8 class 0 is the new target.
    """
    classifier = Classifier.from_keras(linear_network([1.0, -1.0], [0.0, bias]))
    images, labels = np.full((1, 2, 2, 1), 0.5, np.float32), [0]
    for attack, last in ((step_ll(0.2, 2), relabelled), (step_ll(0.2, 2, relabel=False), 0.1)):
        rounds = attack.rounds(classifier, images, labels).numpy()
        expected = np.broadcast_to(np.reshape([0.3, last], (2, 1, 1, 1, 1)), rounds.shape)
        np.testing.assert_allclose(rounds, expected, atol=1e-6)
        seed = tf.constant([0, 0])
        in_graph = attack.last_in_graph(classifier, tf.constant(images), tf.constant([0]), seed)
        np.testing.assert_allclose(in_graph, rounds[-1], atol=1e-6)


def test_the_first_target_needs_the_original_image():
    classifier = Classifier.from_keras(linear_network([1.0, -1.0]))
    with pytest.raises(ValueError, match="needs the original images"):
        TowardsFirstLeastLikely()(classifier, tf.zeros([1, 2, 2, 1]), tf.constant([0]))
