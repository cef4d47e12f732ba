"""TRADES: the loss and both of its gradients in NumPy, and the attack inside it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier, TradesModel
from aad_tf.attacks import AwayFromPrediction, fgsm, trades_pgd
from aad_tf.losses import kl_divergence
from tests.networks import linear_network, random_images, small_network

# Logits m * WEIGHTS for an image of mean m.
WEIGHTS = np.array([1.0, -0.5, 0.25])
BETA = 3.0


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(axis=-1, keepdims=True)


def loss_by_hand(weights, clean, attacked, labels, of_clean=True, of_attacked=True):
    """Mean loss of images of means `clean` and `attacked`, and its gradient by the weights.

    The divergence sum_c p_c (log p_c - log q_c) has the gradient p (log p - log q - KL) by the
    logits of p, and q - p by those of q. Either can be left out.
    """
    p, q = softmax(clean[:, None] * weights), softmax(attacked[:, None] * weights)
    hot = np.eye(3)[labels]
    entropy = -np.log((p * hot).sum(-1))
    divergence = (p * np.log(p / q)).sum(-1)
    by_clean = p - hot + of_clean * BETA * p * (np.log(p / q) - divergence[:, None])
    by_attacked = of_attacked * BETA * (q - p)
    gradient = np.mean(clean[:, None] * by_clean + attacked[:, None] * by_attacked, axis=0)
    return np.mean(entropy + BETA * divergence), gradient, entropy.mean(), divergence.mean()


def flat(values):
    return np.stack([np.full((2, 2, 1), value, np.float32) for value in values])


def test_the_loss_and_its_update_by_hand():
    clean, labels = np.array([0.3, 0.6]), np.array([0, 1])
    network = linear_network(WEIGHTS)
    # Label 0 lies highest, so FGSM darkens; of label 1 it brightens.
    attacked = clean + [-0.2, 0.2]
    model = TradesModel(network, attack=fgsm(0.2), beta=BETA)
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    logs = model.train_on_batch(flat(clean), labels, return_dict=True)
    total, gradient, entropy, divergence = loss_by_hand(WEIGHTS, clean, attacked, labels)
    expected = {"loss": total, "classification_loss": entropy, "divergence_loss": divergence}
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert (logs["accuracy"], logs["adversarial_accuracy"]) == (0.5, 0.5)
    moved = WEIGHTS - network.get_layer("scores").get_weights()[0].ravel()
    np.testing.assert_allclose(moved, gradient, atol=1e-6)
    # Neither prediction is taken for a constant: the gradient would be another one.
    for part in ("of_clean", "of_attacked"):
        other = loss_by_hand(WEIGHTS, clean, attacked, labels, **{part: False})[1]
        assert np.abs(other - gradient).max() > 1e-3


def test_the_divergence_by_hand():
    logits, others = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.25, 0.5]])
    # 0.5 log 2 + 0.25 log 1 + 0.25 log 1/2.
    found = kl_divergence(tf.constant(logits + 3.0), tf.constant(others - 1.0))
    np.testing.assert_allclose(found, [0.25 * np.log(2)], rtol=1e-12)
    assert kl_divergence(tf.constant(logits), tf.constant(logits)).numpy() == pytest.approx(0)
    # Far from even in half precision, too.
    far = kl_divergence(tf.constant([[90.0, 0.0]], tf.float16), tf.constant([[0.0, 90.0]]))
    np.testing.assert_allclose(far, [90.0])


def test_the_attack_leaves_the_prediction_whatever_the_label():
    classifier = Classifier.from_keras(linear_network([1.0, 0.0, -1.0]))
    # The mean of an image decides its prediction, so it goes on where its noise has led it.
    images = np.full((6, 2, 2, 1), 0.5, np.float32)
    attack = trades_pgd(0.1, 0.03, num_steps=5)
    starts = attack.start(classifier, images, 1)
    assert 0 < np.abs(starts - images).max() < 0.006
    attacked = attack(classifier, images, np.zeros(6, int), seed=1)
    np.testing.assert_array_equal(attacked, attack(classifier, images, np.ones(6, int), seed=1))
    signs = np.sign(np.mean(starts - images, axis=(1, 2, 3), keepdims=True))
    assert set(signs.ravel()) == {-1, 1}
    np.testing.assert_allclose(attacked, images + 0.1 * signs, atol=1e-6)
    assert attack.total_epsilon == pytest.approx(0.1)


def test_the_attack_climbs_the_divergence_and_needs_the_original_image():
    classifier = Classifier.from_keras(small_network(dtype="float64"))
    images, labels = tf.constant(random_images(4, dtype="float64")), tf.zeros(4, tf.int32)
    rounds = trades_pgd(0.2, 0.02, num_steps=5).rounds(classifier, images, labels)
    clean = classifier(images).logits
    reached = [kl_divergence(clean, classifier(each).logits) for each in rounds]
    assert (np.diff(reached, axis=0) > 0).all()
    objective = AwayFromPrediction()
    values, _ = objective(classifier, rounds[0], labels, clean)
    np.testing.assert_allclose(values, -reached[0], rtol=1e-12)
    with pytest.raises(ValueError, match="away_from_prediction needs the original images"):
        objective(classifier, rounds[0], labels)


@pytest.mark.parametrize(
    ("beta", "error", "message"),
    [
        (-1.0, ValueError, "beta must be at least 0, got -1.0"),
        (float("inf"), ValueError, "beta must be finite"),
        ("6", TypeError, "beta must be a number, got '6'"),
    ],
)
def test_a_weight_that_is_none_is_refused(beta, error, message):
    with pytest.raises(error, match=message):
        TradesModel(small_network(), attack=fgsm(0.1), beta=beta)
