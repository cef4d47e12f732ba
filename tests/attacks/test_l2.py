"""FGSM and PGD in l2: worked values, budgets over generated cases, identity, training."""

from __future__ import annotations

import json
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import aad_tf
from aad_tf.attacks import (
    AttackCascade,
    AwayFromLabel,
    GradientSignAttack,
    UniformNoise,
    a3,
    aad_total,
    apgd,
    attack_call,
    attack_from_dict,
    attack_from_record,
    attack_to_dict,
    fgsm,
    ifgsm,
    parse_attack,
    pgd,
    step_ll,
    with_unique_names,
)
from aad_tf.attacks.auto_pgd import AutoPGD
from aad_tf.attacks.shared_work import attacked_by_each
from aad_tf.attacks.strength import comparisons
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from tests.attacks.test_budget_properties import ROUNDING, cases, check_range, classifier
from tests.networks import plain_sight, random_images, small_network


def lengths(moved, images) -> np.ndarray:
    """l2-norm of the change of each image, in float64."""
    return np.sqrt(np.square(np.float64(moved) - np.float64(images)).sum(axis=(-3, -2, -1)))


def weighted(weights=(3.0, 4.0)) -> Classifier:
    """Logits `weights @ pixels` and 0 of an image of one row, in float64."""
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((1, len(weights), 1), dtype="float64"),
            layers.Conv2D(1, 1, use_bias=False, dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dense(2, use_bias=False, dtype="float64"),
        ]
    )
    network.set_weights([np.ones((1, 1, 1, 1)), np.array([[weight, 0.0] for weight in weights])])
    return Classifier.from_keras(network)


def row(*pixels) -> np.ndarray:
    return np.array(pixels, np.float64).reshape(1, 1, -1, 1)


def test_the_step_of_the_fast_gradient_method_by_hand():
    # The gradient of the cross-entropy of class 0 is a multiple of (-3, -4).
    moved = fgsm(0.1, norm="l2")(weighted(), row(0.5, 0.5), [0])
    np.testing.assert_allclose(moved, row(0.44, 0.42), rtol=1e-12)
    moved = fgsm(0.1, target=0, norm="l2")(weighted(), row(0.5, 0.5), [1])
    np.testing.assert_allclose(moved, row(0.56, 0.58), rtol=1e-12)


def test_pgd_by_hand():
    # Three steps of 0.1 along (-0.6, -0.8), the last of which is brought back to 0.25.
    rounds = pgd(0.25, 0.1, 3, random_start=False, norm="l2").rounds(weighted(), row(0.5, 0.5), [0])
    np.testing.assert_allclose(
        rounds, np.stack([row(0.44, 0.42), row(0.38, 0.34), row(0.35, 0.30)]), rtol=1e-9
    )
    # Clipping leaves less of the budget, not more.
    moved = pgd(0.25, 0.25, 1, random_start=False, norm="l2")(weighted(), row(0.1, 0.5), [0])
    np.testing.assert_allclose(moved, row(0.0, 0.3), atol=1e-12)
    steps = ifgsm(0.2, num_steps=2, norm="l2").rounds(weighted(), row(0.5, 0.5), [0])
    np.testing.assert_allclose(steps, np.stack([row(0.44, 0.42), row(0.38, 0.34)]), rtol=1e-9)


def test_without_a_gradient_there_is_no_step():
    flat = plain_sight(weight=0.0, bias=5.0)
    images = random_images(3, (2, 2, 1), dtype="float64")
    moved = pgd(0.5, 0.1, 5, random_start=False, norm="l2")(flat, images, [0, 0, 0])
    np.testing.assert_array_equal(moved, images)


def test_steps_have_their_length_however_small_the_gradient():
    # The square of a gradient of 1e-30 is zero in float32.
    tiny = Classifier.from_keras(small_network())
    kernel, bias, dense, last = tiny.model.get_weights()
    tiny.model.set_weights([kernel, bias, 1e-30 * dense, last])
    images = np.full((2, 8, 8, 1), 0.5, np.float32)
    moved = fgsm(0.1, norm="l2")(tiny, images, [0, 1])
    np.testing.assert_allclose(lengths(moved, images), 0.1, rtol=1e-5)


@st.composite
def l2_attacks(draw) -> GradientSignAttack:
    sizes = st.floats(0.0, 4.0) | st.sampled_from([0.0, 1e-8, 1 / 255, 0.5, 1.0])
    epsilon, step_size = draw(sizes), draw(sizes)
    steps, random_start = draw(st.integers(1, 4)), draw(st.booleans())
    restarts = draw(st.integers(1, 3)) if random_start else 1
    return draw(
        st.sampled_from(
            [
                fgsm(epsilon, norm="l2"),
                ifgsm(epsilon, steps, step_size, norm="l2"),
                pgd(epsilon, step_size, steps, random_start, restarts, norm="l2"),
                pgd(epsilon, step_size, steps, loss="margin", norm="l2"),
                apgd(epsilon, steps, "dlr", norm="l2"),
            ]
        )
    )


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(attack=l2_attacks(), case=cases(), seed=st.integers(0, 2**31 - 1))
def test_attacks_stay_in_ball_and_range(attack, case, seed):
    bounds, images, labels = case
    network = classifier(bounds)
    rounds = attack.rounds(network, images, labels, seed=seed).numpy()
    check_range(rounds, bounds)
    moved = lengths(rounds, images)
    # Float32 rounds each of 25 pixels.
    assert moved.max() <= attack.epsilon + 5 * ROUNDING
    if not attack.random_start and not attack.keeps_best:
        reach = attack.step_size * np.arange(1, attack.num_steps + 1)[:, np.newaxis]
        assert (moved <= np.minimum(reach, attack.epsilon) + 5 * ROUNDING).all()


def test_random_starts_are_uniform_in_the_ball():
    images = np.full((2000, 2, 2, 1), 0.5, np.float64)
    start = pgd(0.25, 0.1, 1, norm="l2").start(plain_sight(), images, seed=3).numpy()
    moved = start - images
    radii = lengths(start, images)
    assert radii.max() <= 0.25 + 1e-7
    # In four dimensions the fourth power of a uniform point's radius is uniform.
    assert stats.kstest((radii / 0.25) ** 4, "uniform").pvalue > 0.01
    directions = moved.reshape(2000, 4) / radii[:, np.newaxis]
    # Squares of coordinates of uniform directions in four dimensions: Beta(1/2, 3/2).
    for column in directions.T:
        assert stats.kstest(column**2, stats.beta(0.5, 1.5).cdf).pvalue > 0.01
        assert abs(np.mean(column > 0) - 0.5) < 0.05


def test_starts_depend_on_seed_example_and_restart_alone():
    attack = pgd(0.5, 0.1, 1, norm="l2")
    network = classifier(Bounds(0.0, 1.0))
    images = random_images(6, (5, 5, 1))
    whole = attack.start(network, images, 7, np.arange(6), 2)
    parts = [attack.start(network, images[i : i + 1], 7, [i], 2) for i in range(6)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    graph = tf.function(lambda: attack.start(network, tf.constant(images), 7, tf.range(6), 2))
    np.testing.assert_allclose(graph(), whole, atol=1e-7)
    other = attack.start(network, images, 7, np.arange(6), 3)
    assert (np.abs(other - whole).max(axis=(1, 2, 3)) > 0.01).all()


class Counted(AwayFromLabel):
    """Cross-entropy that counts how often it is traced."""

    traces: ClassVar[list[str]] = []

    def __call__(self, network, images, labels):
        self.traces.append("trace")
        return super().__call__(network, images, labels)


def test_one_trace_serves_all_batches_and_sizes_of_a_norm():
    network = Classifier.from_keras(small_network())
    counts = []
    for norm in ("l2", "linf", "l2", "linf"):
        for count, epsilon in ((1, 0.5), (3, 0.25), (4, 0.125)):
            attack = GradientSignAttack(Counted(), epsilon / 4, 3, epsilon, norm=norm)
            attack(network, random_images(count), np.zeros(count, int))
            counts.append(len(Counted.traces))
    per_norm = counts[0]
    assert counts == 3 * [per_norm] + 9 * [2 * per_norm]


def test_apgd_starts_on_the_sphere():
    images = np.full((4, 5, 5, 1), 0.5, np.float32)
    start = apgd(0.25, norm="l2").start(classifier(Bounds(0.0, 1.0)), images, 3)
    np.testing.assert_allclose(lengths(start, images), 0.25, rtol=1e-5)


def test_apgd_steps_of_twice_the_budget_with_momentum_by_hand():
    attack = AutoPGD(AwayFromLabel(), 5, 0.1, random_start=False, norm="l2")
    rounds = attack.rounds(weighted(), row(0.5, 0.5), [0])
    # The first step of 0.2 is brought back to 0.1, where the loss is highest and it stays.
    np.testing.assert_allclose(rounds, np.stack(5 * [row(0.44, 0.42)]), rtol=1e-9)


def test_apgd_is_as_strong_as_pgd():
    network = Classifier.from_keras(small_network(seed=2))
    images = random_images(24)
    labels = np.argmax(network.predict_logits(tf.constant(images)), -1)

    def loss(moved):
        logits = network.predict_logits(tf.constant(moved))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy().mean()

    plain = pgd(0.5, 0.1, 10, norm="l2")(network, images, labels)
    assert loss(apgd(0.5, 20, norm="l2")(network, images, labels)) > 0.98 * loss(plain)


def test_text_and_identity():
    text = "pgd(epsilon=0.5,step_size=0.1,num_steps=20,norm='l2')"
    attack = pgd(0.5, 0.1, 20, norm="l2")
    assert attack_call(attack) == text
    assert parse_attack(text) == attack
    assert parse_attack('pgd(epsilon=0.5, step_size=0.1, num_steps=20, norm="l2")') == attack
    assert attack != pgd(0.5, 0.1, 20)
    assert attack_to_dict(attack)["norm"] == "l2" and "norm" not in attack_to_dict(fgsm(0.5))
    record = json.loads(json.dumps(attack.threat_model()))
    assert attack_from_dict(record["parameters"]) == attack == attack_from_record(record)
    assert attack_call(fgsm(0.5, norm="l2")) == "fgsm(epsilon=0.5,norm='l2')"
    assert attack_call(ifgsm(0.5, 2, norm="l2")) == "ifgsm(epsilon=0.5,num_steps=2,norm='l2')"
    losses = ("cross_entropy", "dlr", "targeted_dlr", "margin", "kl")
    for chosen in [apgd(0.5, loss=loss, norm="l2") for loss in losses]:
        assert parse_attack(attack_call(chosen)) == chosen != apgd(0.5)
        assert attack_from_dict(attack_to_dict(chosen)) == chosen
    by_distance = apgd(0.5, loss="targeted_dlr", nearest_by="distance", norm="l2")
    assert by_distance.objective.norm == "l2"
    assert parse_attack(attack_call(by_distance)) == by_distance
    named = with_unique_names([fgsm(0.5), fgsm(0.5, norm="l2")])
    assert [each.name for each in named] == ["fgsm(epsilon=0.5)", "fgsm(epsilon=0.5,norm='l2')"]


def test_the_threat_model_says_the_norm():
    threat = pgd(128 / 255, 0.1, 20, norm="l2").threat_model()
    assert (threat["norm"], threat["epsilon"], threat["steps"]) == ("l2", 128 / 255, 20)
    assert threat["epsilon_255"] == pytest.approx(128)
    gray = pgd(128, 25, 20, norm="l2").threat_model(Bounds(0, 255))
    assert (gray["epsilon"], gray["epsilon_255"]) == (128, pytest.approx(128))
    # Without a budget steps add up, with no end at the width of the range.
    steps = GradientSignAttack(AwayFromLabel(), 0.75, 3, norm="l2")
    assert [steps.epsilon_after(n) for n in (1, 2, 3)] == [0.75, 1.5, 2.25]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: pgd(0.5, 0.1, 5, norm="l1"), ValueError, "Unknown norm 'l1'. .*Known: l2, linf"),
        (lambda: fgsm(0.5, norm=2), ValueError, "Unknown norm 2"),
        (lambda: a3(fgsm(0.5, norm="l2"), 10), ValueError, "a3 takes attacks in l-inf"),
        (lambda: aad_total(pgd(0.5, 0.1, 5, norm="l2")), ValueError, "aad_total takes attacks in"),
        (lambda: step_ll(0.5, norm="l2"), TypeError, "unexpected keyword argument 'norm'"),
        (
            lambda: parse_attack("step_ll(epsilon=0.5, norm='l2')"),
            ValueError,
            "'step_ll' has no argument 'norm'. It is an attack in l-inf alone",
        ),
        (
            lambda: GradientSignAttack(
                AwayFromLabel(), 0.1, 1, 0.5, True, noise=UniformNoise(0.1), norm="l2"
            ),
            ValueError,
            "noise is that of l-inf attacks",
        ),
        (
            lambda: AttackCascade((fgsm(0.5), ifgsm(0.5, norm="l2"))),
            ValueError,
            "must have one norm, got l2, linf",
        ),
    ],
)
def test_what_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_budgets_may_exceed_the_width_of_the_range():
    network = Classifier.from_keras(small_network())
    images = random_images(2)
    moved = fgsm(2.0, norm="l2")(network, images, [0, 1])
    assert np.all(lengths(moved, images) > 1)
    # The images have 64 values, so that no two of them are farther apart than 8.
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 8\], the largest l2 distance"):
        fgsm(128, norm="l2")(network, images, [0, 1])
    with pytest.raises(ValueError, match="step_size must be in"):
        pgd(0.5, 9.0, 2, norm="l2")(network, images, [0, 1])
    with pytest.raises(ValueError, match="largest l2 distance"):
        aad_tf.AdversarialModel(small_network(), attack=fgsm(128, norm="l2"))


def test_norms_are_not_compared():
    weak, strong = fgsm(0.5), pgd(0.5, 0.1, 10, norm="l2")
    assert comparisons([weak, strong]) == []
    assert comparisons([fgsm(0.5, norm="l2"), strong])[0][:2] == ["pgd", "fgsm"]


def test_shared_first_steps_are_those_of_each_norm():
    network = Classifier.from_keras(small_network())
    images, labels = tf.constant(random_images(3)), tf.constant([0, 1, 2])
    attacks = with_unique_names(
        [fgsm(0.1), fgsm(0.5, norm="l2"), pgd(0.5, 0.1, 3, random_start=False, norm="l2")]
    )
    found = attacked_by_each(network, attacks, images, labels, 0, np.arange(3))
    for attack, moved in found:
        np.testing.assert_array_equal(moved, attack.run(network, images, labels, 0))


@pytest.mark.parametrize("kind", [aad_tf.AdversarialModel, aad_tf.TradesModel, aad_tf.AADModel])
def test_training(kind):
    attack = pgd(0.5, 0.2, 2, norm="l2")
    if kind is aad_tf.TradesModel:
        attack = pgd(0.5, 0.2, 2, loss="kl", norm="l2")
    model = kind(small_network(), attack=attack, seed=0)
    model.compile("sgd")
    images, labels = random_images(16), np.arange(16) % 3
    history = model.fit(images, labels, batch_size=8, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    # The images of a step are those of a direct call.
    seed = tf.constant([5, 0])
    in_graph = tf.function(
        lambda batch, classes: attack.last_in_graph(model.classifier, batch, classes, seed)
    )(images, labels.astype("int32"))
    np.testing.assert_allclose(
        in_graph, attack(model.classifier, images, labels, seed=5), atol=1e-5
    )
    assert lengths(in_graph, images).max() <= 0.5 + 1e-6
