"""A3: signs worked out by hand, gradients against finite differences, and A3 as an attack.

The network of `plain_sight` has one feature channel, the image itself, and logits that are sums
of pixels. The map of class 0 is thus the image, and every gradient can be written down.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import a3, attack_to_dict, fgsm, ifgsm, iter_ll, parse_attack, pgd, step_ll
from aad_tf.attacks.attention_augmented import AttentionAugmented, divided_by_maximum
from aad_tf.attacks.loop import (
    Examples,
    State,
    iteration,
)
from aad_tf.attacks.objectives import AwayFromLabel, TowardsLeastLikely
from aad_tf.attention import TopCells, attention_area, grad_cam
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from tests.networks import EagerCalls, curved_network, plain_sight, random_images, traces

layers = keras.layers
PRESETS = {
    "step_ll": step_ll(0.05, num_steps=2),
    "iter_ll": iter_ll(0.1, num_steps=2),
    "pgd": pgd(0.1, 0.04, num_steps=1, restarts=2),
}
LABELS = np.array([0, 1, 2, 0], np.int32)


@pytest.fixture(scope="module")
def curved() -> Classifier:
    return curved_network()


def images_of(count: int = 4, seed: int = 0) -> np.ndarray:
    return random_images(count, (6, 6, 1), seed, "float64")


# Att = 1 0 0 1, the cells above the mean 0.475. With g = image / 0.8 the mean deviation is
# (0 + 0.1/0.8 + 0.4/0.8 + 1 - 0.6/0.8) / 4, so its slopes are, by the second, third and fourth
# pixel, 1/3.2, 1/3.2, -1/3.2 and, by the greatest one, -(0.1 + 0.4 - 0.6) / (4 * 0.64) = 1/25.6.
# Minus the cross-entropy of class 0 has the slope p_1 = 1 / (1 + e^1.9) = 0.1301 everywhere.
IMAGE = np.array([[0.8, 0.1], [0.4, 0.6]])[np.newaxis, ..., np.newaxis]


@pytest.mark.parametrize(
    ("sigma", "options", "signs"),
    [
        (0.0, {}, [-1, -1, -1, -1]),
        # 0.1301 * 3.2 = 0.416 turns the pixels outside the area, 0.1301 * 25.6 = 3.33 the peak.
        (0.41, {}, [-1, -1, -1, -1]),
        (0.42, {}, [-1, 1, 1, -1]),
        (3.3, {}, [-1, 1, 1, -1]),
        (3.4, {}, [1, 1, 1, -1]),
        (-0.41, {}, [-1, -1, -1, -1]),
        (-0.42, {}, [-1, -1, -1, 1]),
        # A sum over four cells weighs four times as much.
        (0.1025, {"reduction": "sum"}, [-1, -1, -1, -1]),
        (0.105, {"reduction": "sum"}, [-1, 1, 1, -1]),
        # g = image: slopes -1/4, 1/4, 1/4, -1/4, and 0.1301 * 4 = 0.5204.
        (0.51, {"scale": "none"}, [-1, -1, -1, -1]),
        (0.53, {"scale": "none"}, [-1, 1, 1, -1]),
        (-0.53, {"scale": "none"}, [1, -1, -1, 1]),
        # The greatest cell alone; or all above 0.45 of it, where its own slope is 0.9 / 2.56.
        (0.42, {"threshold": TopCells(1)}, [-1, 1, 1, 1]),
        (0.42, {"threshold": 0.45}, [1, 1, -1, -1]),
    ],
)
def test_signs_by_hand(sigma, options, signs):
    attacked = a3(fgsm(0.05), sigma, **options)(plain_sight(), IMAGE, [0]).numpy()
    np.testing.assert_allclose((attacked - IMAGE).ravel(), 0.05 * np.array(signs), rtol=1e-9)


def test_values_by_hand():
    classifier, labels = plain_sight(), tf.constant([0])
    objective = AttentionAugmented(AwayFromLabel(), 2.0)
    context = objective.context(classifier, tf.constant(IMAGE), labels)
    np.testing.assert_array_equal(context[0], [[[1, 0], [0, 1]]])
    # At half the brightness g is the same and log p_0 is -log(1 + e^-0.95).
    values, logits = objective(classifier, tf.constant(IMAGE / 2), labels, *context)
    deviation = (0.1 / 0.8 + 0.4 / 0.8 + 1 - 0.6 / 0.8) / 4
    np.testing.assert_allclose(values, [-np.log1p(np.exp(-0.95)) - 2 * deviation], rtol=1e-12)
    np.testing.assert_allclose(logits, [[0.95, 0.0]], rtol=1e-12)


def test_the_area_is_that_of_the_original_image_in_every_round():
    # The first round gives 1.0 0.3 0.6 0.4, whose own area would be 1 0 1 0. By that of the
    # original the slopes are -(0.3 + 0.6 - 0.4) / 4, 1/4, 1/4, -1/4, and p_1 is 0.0911.
    rounds = a3(ifgsm(0.4, num_steps=2), 3.4)(plain_sight(), IMAGE, [0])
    np.testing.assert_allclose(rounds.numpy().ravel(), [0.8, 0.5, 0.8, 0.2])


def test_a_map_of_zeros_leaves_the_plain_attack():
    # Channel weight -1: the map is zero, and darker images are of class 0.
    classifier = plain_sight(-1.0)
    attacked = a3(fgsm(0.05), 10.0)(classifier, IMAGE, [0])
    np.testing.assert_allclose(attacked, IMAGE + 0.05)


@pytest.mark.parametrize("peak", [0.0, 1e-30, 1e-15, 1e30])
def test_scaled_maps_and_their_gradients_are_finite(peak):
    maps = tf.constant([[[peak, peak / 2]]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        scaled = divided_by_maximum(maps)
        ratio = scaled[0, 0, 1]
    expected = [[[0.0, 0.0]]] if peak < 1e-18 else [[[1.0, 0.5]]]
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    expected = [[[0.0, 0.0]]] if peak < 1e-18 else [[[-0.5, 1.0]]]
    np.testing.assert_allclose(tape.gradient(ratio, maps) * peak, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("plain", "sigma", "options"),
    [
        (AwayFromLabel(0.1), 10.0, ()),
        (TowardsLeastLikely(), -10.0, ("sum",)),
        (AwayFromLabel(0.1), 3.0, ("mean", "none")),
        (TowardsLeastLikely(), 3.0, ("sum", "max", 0.2, "label")),
    ],
)
def test_gradients_agree_with_central_differences(curved, plain, sigma, options):
    objective, labels = AttentionAugmented(plain, sigma, *options), tf.constant([0, 1])
    original, step = images_of(2), 1e-5
    context = objective.context(curved, tf.constant(original), labels)
    moved = np.clip(original + 0.05 * np.sign(images_of(2, seed=1) - 0.5), 0, 1)
    variable = tf.constant(moved)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        values, _ = objective(curved, variable, labels, *context)
    gradient = tape.gradient(values, variable).numpy().reshape(2, 36)
    # Every pixel of both images, up and down: [2 signs, 36 pixels, 2 images] in one batch.
    shifts = step * np.stack([np.eye(36), -np.eye(36)]).reshape(2, 36, 1, 6, 6, 1)
    shifted = tf.constant((moved + shifts).reshape(144, 6, 6, 1))
    repeated = [tf.tile(part, [72] + [1] * (part.shape.rank - 1)) for part in (labels, *context)]
    up, down = objective(curved, shifted, *repeated)[0].numpy().reshape(2, 36, 2)
    # Errors of order step^2 and rounding / step, both near 1e-10 of the slopes' size.
    np.testing.assert_allclose((up - down).T / (2 * step), gradient, rtol=1e-5, atol=1e-7)


def test_the_class_explained_may_be_the_predicted_one(curved):
    images = images_of(12)
    predicted = curved.predict_logits(tf.constant(images)).numpy().argmax(-1)
    others = (predicted + 1) % 3
    plain = step_ll(0.05, num_steps=3)  # Its loss knows no labels.
    by_prediction = a3(plain, 50.0, explained="prediction")(curved, images, others)
    np.testing.assert_array_equal(by_prediction, a3(plain, 50.0)(curved, images, predicted))
    assert np.abs(by_prediction - a3(plain, 50.0)(curved, images, others)).max() > 0.01


@pytest.mark.parametrize("name", PRESETS)
def test_sigma_zero_is_the_plain_attack(name, curved):
    plain, augmented = PRESETS[name], a3(PRESETS[name], 0)
    for run in ("__call__", "rounds"):
        expected = getattr(plain, run)(curved, images_of(), LABELS, seed=2)
        found = getattr(augmented, run)(curved, images_of(), LABELS, seed=2)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "sigma"), [("step_ll", 10), ("iter_ll", -10), ("pgd", 10)])
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

    @tf.function(autograph=False)
    def in_graph(x):
        runs = (attack.rounds_in_graph, attack.last_in_graph)
        return [run(curved, x, LABELS, seed) for run in runs]

    every, last = in_graph(images)
    np.testing.assert_allclose(every, rounds, atol=1e-9)
    np.testing.assert_allclose(last, rounds[-1], atol=1e-9)


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
    """A network trained on 8x8 digits, and test digits that it classifies correctly."""
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
    network.compile(keras.optimizers.Adam(5e-3), loss, jit_compile=False)
    network.fit(images[:1400], labels[:1400], epochs=4, verbose=0)
    classifier, images, labels = (
        Classifier.from_keras(network),
        images[1400:1600],
        labels[1400:1600],
    )
    correct = classifier.predict_logits(tf.constant(images)).numpy().argmax(-1) == labels
    assert correct.mean() > 0.7
    return classifier, images[correct], labels[correct].astype(np.int32)


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
    assert sorted(key[0] for key in classifier.compiled if isinstance(key, tuple)) == [
        "attack_iterations",
        "objective_context",
    ]
    assert traces(classifier) == {1}


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
