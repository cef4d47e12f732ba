"""FGSM and PGD without random start equal Foolbox's, in l-inf and in l2.

Both libraries add the step size times the sign of the same gradient. Where a gradient is zero up
to rounding, the two sum it in different orders and may disagree on its sign; only such pixels may
differ, and never more than `ALLOWED` of all.
"""

from __future__ import annotations

import foolbox
import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import models
from aad_tf.attacks import fgsm, ifgsm, pgd
from aad_tf.classifier import Classifier
from tests.networks import SHAPE, random_images, small_network

# Fraction of pixels whose gradient may be at rounding level.
ALLOWED = 5e-4
# A gradient below this fraction of the largest one is rounding: float32 has 24 bits.
ROUNDING_LEVEL = 1e-6

NETWORKS = {
    "small": (small_network, SHAPE, 64),
    "lenet": (lambda: lenet(), (28, 28, 1), 12),
    "softplus": (lambda: smooth_network(), SHAPE, 64),
}


def lenet() -> keras.Model:
    keras.utils.set_random_seed(0)
    return models.build("lenet", (28, 28, 1), 10)


def smooth_network() -> keras.Model:
    """No gradient of it is exactly zero."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(6, 3, activation="softplus"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(16, activation="softplus"),
            layers.Dense(4),
        ]
    )


def case(name):
    build, shape, count = NETWORKS[name]
    model = build()
    images = random_images(count, shape, seed=5)
    # Some pixels at the bounds, where clipping counts.
    images = np.clip(images * 1.2 - 0.1, 0.0, 1.0).astype("float32")
    labels = np.argmax(model(images), axis=-1).astype("int32")
    # True labels and others.
    labels[::3] = (labels[::3] + 1) % 3
    return model, images, labels


def by_foolbox(attack, model, images, labels, epsilon):
    wrapped = foolbox.TensorFlowModel(model, bounds=(0, 1))
    inputs = tf.constant(images), tf.constant(labels, tf.int64)
    # Its images are attacked whether or not they were classified correctly before, as here.
    _, clipped, _ = attack(wrapped, *inputs, epsilons=epsilon)
    return clipped.numpy()


def differing(ours, theirs, request):
    differs = np.abs(ours - theirs) > 1e-6
    print(f"{request.node.name}: {differs.sum()} of {differs.size} pixels differ")
    assert differs.mean() <= ALLOWED
    return differs


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("epsilon", [8 / 255, 0.3])
def test_fgsm(name, epsilon, request):
    model, images, labels = case(name)
    classifier = Classifier.from_keras(model)
    ours = fgsm(epsilon)(classifier, images, labels).numpy()
    theirs = by_foolbox(foolbox.attacks.FGSM(), model, images, labels, epsilon)
    differs = differing(ours, theirs, request)
    with tf.GradientTape() as tape:
        pixels = tf.constant(images)
        tape.watch(pixels)
        logits = model(pixels)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    gradient = np.abs(tape.gradient(loss, pixels))
    largest = gradient.max(axis=(1, 2, 3), keepdims=True)
    assert (gradient <= ROUNDING_LEVEL * largest)[differs].all()
    assert np.abs(ours - images).max() == pytest.approx(epsilon, abs=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("epsilon", "step_size", "num_steps"), [(0.1, 0.025, 10), (0.3, 0.2, 3), (0.05, 0.05, 1)]
)
def test_pgd_without_random_start(name, epsilon, step_size, num_steps, request):
    model, images, labels = case(name)
    attack = pgd(epsilon, step_size, num_steps, random_start=False)
    ours = attack(Classifier.from_keras(model), images, labels).numpy()
    peer = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=num_steps, random_start=False)
    differing(ours, by_foolbox(peer, model, images, labels, epsilon), request)


def test_iterated_fgsm(request):
    model, images, labels = case("small")
    ours = ifgsm(0.15, num_steps=3)(Classifier.from_keras(model), images, labels).numpy()
    peer = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.05, steps=3, random_start=False)
    differing(ours, by_foolbox(peer, model, images, labels, 0.15), request)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_the_fast_gradient_method_in_l2(name, epsilon):
    model, images, labels = case(name)
    ours = fgsm(epsilon, norm="l2")(Classifier.from_keras(model), images, labels).numpy()
    theirs = by_foolbox(foolbox.attacks.FGM(), model, images, labels, epsilon)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("epsilon", "step_size", "num_steps"), [(0.5, 0.125, 10), (3.0, 2.0, 3)])
def test_pgd_in_l2(name, epsilon, step_size, num_steps):
    model, images, labels = case(name)
    attack = pgd(epsilon, step_size, num_steps, random_start=False, norm="l2")
    ours = attack(Classifier.from_keras(model), images, labels).numpy()
    peer = foolbox.attacks.L2PGD(abs_stepsize=step_size, steps=num_steps, random_start=False)
    theirs = by_foolbox(peer, model, images, labels, epsilon)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
