"""Means over draws of networks with random layers, and AutoAttack of version "rand"."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks
from aad_tf.attacks.draws import MeanOverDraws, over_draws
from aad_tf.attacks.loop import Examples, objective_gradient
from aad_tf.attacks.margins import targets_per_example
from aad_tf.attacks.objectives import target_classes
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness
from tests.networks import NoisyPixels, small_network

SIDE = 10
PIXELS = SIDE * SIDE
KERNEL = np.random.default_rng(0).normal(size=(PIXELS, 2))
# Of gray images no class is favoured.
KERNEL -= KERNEL.mean(0)
SLOPE = KERNEL[:, 0] - KERNEL[:, 1]


def noisy_linear(scale: float, forward: bool = True) -> tuple[Classifier, NoisyPixels]:
    """Two logits that are noisy pixels times `KERNEL`; a convolution that copies stands before."""
    noisy = NoisyPixels(scale, forward, dtype="float64")
    copy = keras.layers.Conv2D(1, 1, use_bias=False, dtype="float64")
    scores = keras.layers.Dense(2, use_bias=False, dtype="float64")
    inputs = keras.Input((SIDE, SIDE, 1), dtype="float64")
    network = keras.Sequential([inputs, noisy, copy, keras.layers.Flatten(dtype="float64"), scores])
    copy.set_weights([np.ones((1, 1, 1, 1))])
    scores.set_weights([KERNEL])
    return Classifier.from_keras(network), noisy


def images_at(margins: np.ndarray) -> np.ndarray:
    """Gray images moved along the kernel until the logits differ by some margins."""
    gray = np.full(PIXELS, 0.5)
    shifts = (margins - gray @ SLOPE) / (SLOPE @ SLOPE)
    return (gray + shifts[:, np.newaxis] * SLOPE).reshape(-1, SIDE, SIDE, 1)


@pytest.mark.parametrize("compiled", [False, True], ids=["op by op", "in a graph"])
def test_values_gradients_and_logits_are_means_of_single_draws(compiled):
    classifier, noisy = noisy_linear(scale=1.5)
    images, labels = np.random.default_rng(1).uniform(size=(3, SIDE, SIDE, 1)), np.array([0, 1, 0])
    before = noisy.generator.state.numpy()
    draws = np.stack([noisy.noise(images.shape).numpy() for _ in range(5)])
    noisy.generator.state.assign(before)
    objective = MeanOverDraws(attacks.Margin(), num_draws=5)
    examples = Examples(tf.constant(images), tf.constant(labels, tf.int32))

    def run(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return objective_gradient(classifier, objective, images, examples)

    found = (tf.function(run) if compiled else run)(examples.images)
    factors = 1 + draws.mean(0)
    logits = (images * factors).reshape(3, PIXELS) @ KERNEL
    slopes = np.where(labels == 0, 1.0, -1.0)[:, np.newaxis] * SLOPE
    gradient = factors * slopes.reshape(images.shape)
    # The margin is linear, so that its mean is that of the mean logits. Rounding in float64.
    values = logits[np.arange(3), labels] - logits[np.arange(3), 1 - labels]
    for each, expected in zip(found, (values, gradient, logits), strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-10, atol=1e-12)
    # No draw is the other.
    assert np.ptp(draws, axis=0).min() > 0


def test_success_is_judged_by_mean_logits():
    classifier, noisy = noisy_linear(scale=0.5)
    images = images_at(np.array([0.3, 0.6]))
    before = noisy.generator.state.numpy()
    draws = np.stack([noisy.noise(images.shape).numpy() for _ in range(20)])
    noisy.generator.state.assign(before)
    found = attacks.apgd(0.1, num_draws=20).predict_logits(classifier, tf.constant(images))
    expected = (images * (1 + draws.mean(0))).reshape(2, PIXELS) @ KERNEL
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    single = (images * (1 + draws)).reshape(20, 2, PIXELS) @ SLOPE
    assert (single < 0).any(), "Single passes misclassify them."


def test_rand_breaks_what_one_draw_cannot():
    # The noise is in the gradients alone: of a single one hardly more signs are right than wrong.
    classifier, _ = noisy_linear(scale=15.0, forward=False)
    epsilon = 0.05
    reach = epsilon * np.abs(SLOPE).sum()
    images = images_at(np.linspace(0.5, 0.65, 8) * reach)
    labels = np.zeros(8, np.int32)
    averaged = attacks.auto_attack(epsilon, version="rand")
    single = attacks.AttackCascade(
        tuple(
            dataclasses.replace(stage, objective=stage.objective.objective)
            for stage in averaged.stages
        ),
        averaged.stage_names,
        name="single",
    )
    report = evaluate_robustness(
        classifier, (images, labels), [single, averaged], diagnostics=False
    )
    assert report.robust_accuracy("auto_attack") <= 1 / 8
    assert report.robust_accuracy("single") >= 7 / 8


def test_rand_is_that_of_the_original_code():
    cascade = attacks.auto_attack(8 / 255, version="rand")
    assert cascade.stage_names == ("apgd-ce", "apgd-dlr")
    for stage, loss in zip(cascade.stages, ("away_from_label", "dlr"), strict=True):
        assert (stage.num_steps, stage.restarts, stage.random_start) == (100, 1, True)
        assert (stage.objective.num_draws, stage.objective.objective.name) == (20, loss)


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("auto_attack(epsilon=0.1, version='rand')", "auto_attack(epsilon=0.1,version='rand')"),
        ("auto_attack(0.1, 'standard')", "auto_attack(epsilon=0.1)"),
        ("apgd(0.1, num_steps=7, num_draws=3)", "apgd(epsilon=0.1,num_steps=7,num_draws=3)"),
        ("pgd(0.1, 0.02, 5, num_draws=4)", None),
    ],
)
def test_text_and_records_tell_the_draws(text, shortest):
    attack = attacks.parse_attack(text)
    call = attacks.attack_call(attack)
    assert call == shortest or (shortest is None and call.endswith("num_draws=4)"))
    assert attacks.parse_attack(call) == attack
    assert attacks.attack_from_dict(attacks.attack_to_dict(attack)) == attack
    model = attack.threat_model()
    assert attacks.attack_from_record(model) == attack
    draws = {"rand": 20, "num_draws=3": 3, "num_draws=4": 4}
    assert model.get("draws") == next((n for key, n in draws.items() if key in text), None)


def test_pgd_and_targets_are_averaged_alike():
    classifier = Classifier.from_keras(small_network(dtype="float64"))
    images, labels = np.full((3, 8, 8, 1), 0.5), np.array([0, 1, 2])
    for build in (
        lambda **options: attacks.pgd(0.1, 0.02, 3, **options),
        lambda **options: attacks.apgd(0.1, 3, target=1, **options),
        lambda **options: attacks.apgd(0.1, 3, "targeted_dlr", **options).for_classes(3),
    ):
        # Without random layers all draws are the same.
        plain, averaged = build(), build(num_draws=2)
        found = [attack(classifier, images, labels) for attack in (plain, averaged)]
        np.testing.assert_allclose(*found, atol=1e-9)
    assert averaged.threat_model()["draws"] == 2 and "draws" not in plain.threat_model()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: attacks.apgd(0.1, num_draws=0), "num_draws"),
        (lambda: over_draws(MeanOverDraws(attacks.Margin(), 3), 2), "mean over 3 draws already"),
        (lambda: attacks.auto_attack(0.1, version="plus"), "Unknown version"),
    ],
)
def test_impossible_draws_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_targets_inside_of_two_objectives_are_known():
    inner = attacks.a3(attacks.pgd(0.1, 0.02, 3, target=1), 10)
    attack = dataclasses.replace(inner, objective=MeanOverDraws(inner.objective, 2))
    assert attack.threat_model()["target"] == 1
    assert target_classes(attack.objective, tf.constant([0, 2])).numpy().tolist() == [1, 1]
    nearest = attacks.a3(attacks.apgd(0.1, 3, "targeted_dlr", num_targets=4), 10)
    assert targets_per_example(MeanOverDraws(nearest.objective, 2)) == 4
