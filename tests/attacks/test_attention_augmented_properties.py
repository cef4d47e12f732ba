"""A3 as an attack: the plain one at sigma 0, budgets, graphs, what it does to attention."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import a3, attack_to_dict, fgsm, ifgsm, iter_ll, parse_attack, pgd, step_ll
from aad_tf.attacks.attention_augmented import AttentionAugmented
from aad_tf.attacks.loop import (
    Examples,
    State,
    compiled_context,
    compiled_iteration,
    iteration,
)
from aad_tf.attacks.objectives import AwayFromLabel, TowardsLeastLikely
from aad_tf.attention import attention_area, grad_cam
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from tests.networks import curved_network, random_images

layers = keras.layers
PRESETS = {
    "fgsm": fgsm(0.1),
    "ifgsm": ifgsm(0.1, num_steps=3),
    "step_ll": step_ll(0.05, num_steps=2),
    "iter_ll": iter_ll(0.1, num_steps=2),
    "pgd": pgd(0.1, 0.04, num_steps=3),
    "pgd with restarts": pgd(0.1, 0.04, num_steps=1, restarts=3),
}
LABELS = np.array([0, 1, 2, 0], np.int32)


@pytest.fixture(scope="module")
def curved() -> Classifier:
    return curved_network()


def images_of(count: int = 4, seed: int = 0) -> np.ndarray:
    return random_images(count, (6, 6, 1), seed, "float64")


@pytest.mark.parametrize("name", PRESETS)
def test_sigma_zero_is_the_plain_attack(name, curved):
    plain, augmented = PRESETS[name], a3(PRESETS[name], 0)
    for run in ("__call__", "rounds"):
        expected = getattr(plain, run)(curved, images_of(), LABELS, seed=2)
        found = getattr(augmented, run)(curved, images_of(), LABELS, seed=2)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "sigma"), zip(PRESETS, itertools.cycle([10.0, -10.0])))
def test_budget_rounds_and_graphs(name, sigma, curved):
    attack, images = a3(PRESETS[name], sigma), images_of()
    plain = PRESETS[name]
    assert dataclasses.replace(attack, objective=plain.objective) == plain
    rounds = attack.rounds(curved, images, LABELS, seed=3).numpy()
    assert rounds.shape == (attack.num_steps, *images.shape)
    assert rounds.min() >= 0 and rounds.max() <= 1
    assert np.abs(rounds - images).max() <= attack.total_epsilon + 1e-12
    assert not np.array_equal(rounds, plain.rounds(curved, images, LABELS, seed=3))
    np.testing.assert_array_equal(rounds[-1], attack(curved, images, LABELS, seed=3))
    seed = tf.constant([3, 0])
    in_graph = tf.function(lambda x: attack.rounds_in_graph(curved, x, LABELS, seed))
    last = tf.function(lambda x: attack.last_in_graph(curved, x, LABELS, seed))
    np.testing.assert_allclose(in_graph(images), rounds, atol=1e-9)
    np.testing.assert_allclose(last(images), rounds[-1], atol=1e-9)


def test_long_loops_and_other_bounds_and_dtypes():
    attack = a3(pgd(0.3, 0.02, num_steps=12), 10.0)
    classifier = curved_network(Bounds(-1.0, 1.0), dtype="float32")
    images = (2 * images_of() - 1).astype(np.float32)
    eager = attack.rounds(classifier, images, LABELS, seed=1).numpy()
    assert eager.dtype == np.float32
    assert np.abs(eager - images).max() <= 0.3 + 1e-6 and np.abs(eager).max() <= 1
    in_graph = tf.function(
        lambda x: attack.rounds_in_graph(classifier, x, LABELS, tf.constant([1, 0]))
    )(images)
    # Two graphs may order sums differently, which turns a sign only where a gradient is nearly 0.
    assert np.mean(np.abs(in_graph - eager) > 1e-6) < 1e-2


def test_a_step_in_graph_is_the_first_round(curved):
    attack, images = a3(step_ll(0.05, num_steps=2), 10.0), tf.constant(images_of())
    labels = tf.constant(LABELS)
    rounds = attack.rounds(curved, images, labels)
    first = attack.step_in_graph(curved, images, images, labels)
    np.testing.assert_allclose(first, rounds[0], atol=1e-9)
    np.testing.assert_allclose(
        attack.step_in_graph(curved, first, images, labels), rounds[1], atol=1e-9
    )


@pytest.fixture(scope="module")
def digits():
    """A network trained on 8x8 digits, and test digits that it reads right."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = (data.images[..., np.newaxis] / 16).astype(np.float32), data.target
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(5e-3), loss)
    network.fit(images[:1400], labels[:1400], epochs=4, verbose=0)
    classifier, images, labels = (
        Classifier.from_keras(network),
        images[1400:1600],
        labels[1400:1600],
    )
    right = classifier.predict_logits(tf.constant(images)).numpy().argmax(-1) == labels
    assert right.mean() > 0.7
    return classifier, images[right], labels[right].astype(np.int32)


@pytest.mark.parametrize("plain", [step_ll(0.05, num_steps=3), pgd(0.1, 0.04, 4)])
def test_sigma_moves_attention_or_keeps_it(plain, digits):
    classifier, images, labels = digits
    clean = attention_area(grad_cam(classifier, images, labels))

    def moved(attack) -> float:
        maps = grad_cam(classifier, attack(classifier, images, labels), labels)
        return float(tf.reduce_mean(tf.abs(attention_area(maps) - clean)))

    away, between, kept = (moved(attack) for attack in (a3(plain, 100), plain, a3(plain, -100)))
    # Of two seeds of training: 0.21 to 0.26 of the cells, 0.14 to 0.21, and 0.04 to 0.12, each
    # step at least 0.045.
    assert kept + 0.02 < between < away - 0.02


class EagerCalls(layers.Layer):
    """Counts how often it runs op by op."""

    count = 0

    def call(self, images):
        self.count += tf.executing_eagerly()
        return images


def test_a_step_runs_the_network_once():
    layer = EagerCalls(dtype="float64")
    classifier, images = curved_network(first=[layer]), tf.constant(images_of())
    objective = AttentionAugmented(TowardsLeastLikely(), 10.0)
    before = layer.count
    context = objective.context(classifier, images, LABELS)
    assert layer.count == before + 1
    iteration(classifier, objective, State(images), Examples(images, LABELS, context), 0.1, 0.1)
    assert layer.count == before + 2


def test_one_trace_whatever_the_batch_size_step_and_budget():
    classifier = curved_network()
    for size, epsilon in [(4, 0.1), (1, 0.2), (3, 0.3)]:
        images, labels = images_of(size), np.zeros(size, int)
        for attack in (fgsm(epsilon), ifgsm(epsilon), pgd(epsilon, 0.01, 2, restarts=2)):
            a3(attack, 10)(classifier, images, labels)
            a3(attack, 10.0).rounds(classifier, images, labels)
    objective = AttentionAugmented(AwayFromLabel(), 10.0)
    assert sorted(key[0] for key in classifier.compiled if isinstance(key, tuple)) == [
        "attack_iteration",
        "objective_context",
    ]
    for function in (compiled_iteration, compiled_context):
        assert function(classifier, objective).experimental_get_tracing_count() == 1


def test_threat_models_name_loss_and_sigma():
    attack = a3(step_ll(4 / 255, num_steps=3), 10)
    model = attack.threat_model()
    plain = step_ll(4 / 255, num_steps=3).threat_model()
    changed = {
        "attack": "a3(step_ll,sigma=10)",
        "objective": "a3(towards_least_likely, sigma=10)",
        "parameters": attack_to_dict(attack),
    }
    assert model == {**plain, **changed}
    text = "a3(fgsm(4/255), -0.5, reduction='sum', threshold=0.2)"
    assert parse_attack(text).threat_model()["objective"] == (
        "a3(away_from_label, sigma=-0.5, reduction=sum, threshold=0.2)"
    )
