"""EnsembleAdversarialModel: what is drawn, what it is attacked on, and what stays as it is."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AdversarialModel, Classifier, EnsembleAdversarialModel
from aad_tf.attacks import fgsm, pgd, step_ll
from aad_tf.training.checkpoints import ResumableCheckpoint
from tests.networks import (
    batch_norm_network,
    bytes_of,
    linear_network,
    random_images,
    small_network,
)

IMAGES = random_images(10)
LABELS = (np.arange(10) % 3).astype("int32")


@functools.cache
def two_sources() -> tuple[Classifier, Classifier]:
    """Wrapped once for all tests: training never changes them."""
    networks = small_network(seed=1), batch_norm_network(seed=2)
    return Classifier.from_keras(networks[0]), Classifier.from_keras(networks[1])


def ensemble(network=None, sources=None, attack=None, rate=0.1, **options):
    model = EnsembleAdversarialModel(
        network or small_network(),
        sources=two_sources() if sources is None else sources,
        attack=attack or fgsm(0.1),
        **options,
    )
    model.compile(keras.optimizers.SGD(rate))
    return model


def draws(model, steps):
    """Which network each of the first updates is attacked on."""
    iterations = model.optimizer.iterations

    def draw_at(step):
        iterations.assign(tf.cast(step, iterations.dtype))
        return model.draw()

    every = tf.function(lambda: tf.map_fn(draw_at, tf.range(steps), parallel_iterations=1))
    return every().numpy().tolist()


def fit(model, **options):
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, **options}
    return model.fit(IMAGES, LABELS, **options).history


def test_the_images_are_those_of_the_network_drawn_by_hand():
    # The network finds class 0 in bright images, the source in dark ones.
    network, source = linear_network([1.0, -1.0]), linear_network([-1.0, 1.0])
    model = ensemble(network, [source])
    images, labels = tf.fill((2, 2, 2, 1), 0.5), tf.constant([0, 1])
    on_source = 0.5 + 0.1 * np.array([1.0, -1.0]).reshape(2, 1, 1, 1) * np.ones((2, 2, 2, 1))
    on_network = 1.0 - on_source
    seen = set()
    for step, index in enumerate(draws(model, 6)):
        model.optimizer.iterations.assign(step)
        expected = (on_source, on_network)[index]
        np.testing.assert_allclose(model.adversarial_images(images, labels), expected, atol=1e-6)
        seen.add(index)
    assert seen == {0, 1}


@pytest.mark.parametrize("attack", [step_ll(0.1), pgd(0.1, 0.05, 2)], ids=["step_ll", "pgd"])
def test_the_images_are_those_of_the_attack_on_the_network_drawn(attack):
    model = ensemble(attack=attack)
    graph = tf.function(model.adversarial_images)
    images, labels = tf.constant(IMAGES), tf.constant(LABELS)
    every = draws(model, 12)
    for index in range(3):
        model.optimizer.iterations.assign(every.index(index))
        found, seed = graph(images, labels), model.attack_seed()
        distances = [
            np.abs(found - attack.last_in_graph(each, images, labels, seed)).max()
            for each in model.attacked_networks
        ]
        assert distances[index] < 1e-6
        assert min(distances[:index] + distances[index + 1 :]) > 0.01


def test_without_itself_a_network_with_one_source_is_trained_on_that_alone():
    source = two_sources()[0]
    model = ensemble(sources=[source], include_self=False)
    assert set(draws(model, 10)) == {0}
    expected = fgsm(0.1)(source, IMAGES, LABELS)
    found = model.adversarial_images(tf.constant(IMAGES), tf.constant(LABELS))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_networks_are_drawn_evenly_and_by_seed():
    model = ensemble()
    found = draws(model, 900)
    counts = Counter(found)
    # 300 of each are expected, with a standard deviation of 14.
    assert [abs(counts[index] - 300) < 45 for index in range(3)] == [True] * 3
    # No network follows another by rule: 100 of each pair are expected.
    pairs = Counter(zip(found, found[1:], strict=False))
    assert len(pairs) == 9
    assert all(abs(count - 100) < 35 for count in pairs.values())
    assert draws(ensemble(), 50) == found[:50]
    assert draws(ensemble(seed=1), 50) != found[:50]


def test_an_update_equals_one_by_hand_on_images_of_the_source():
    network, source = small_network(), two_sources()[0]
    model = ensemble(network, [source], include_self=False)
    attacked = fgsm(0.1)(source, IMAGES, LABELS)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        total = (entropy(LABELS, network(IMAGES)) + entropy(LABELS, network(attacked))) / 2
    gradients = tape.gradient(total, [each.value for each in network.trainable_variables])
    expected = [
        old - 0.1 * gradient for old, gradient in zip(network.get_weights(), gradients, strict=True)
    ]
    logs = model.train_on_batch(IMAGES, LABELS, return_dict=True)
    for ours, theirs in zip(network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert logs["loss"] == pytest.approx(float(total), 1e-5)


def test_sources_stay_as_they_are_and_out_of_the_model():
    dropping = small_network(seed=1, middle=[keras.layers.Dropout(0.5, seed=1)])
    network, sources = small_network(), [dropping, batch_norm_network(seed=2)]
    before = [bytes_of(source.variables) for source in sources]
    model = ensemble(network, sources)
    assert set(draws(model, 12)) == {0, 1, 2}
    model.optimizer.iterations.assign(0)
    own = bytes_of(network.variables)
    fit(model, epochs=4)
    model.evaluate(IMAGES, LABELS, verbose=0)
    assert [bytes_of(source.variables) for source in sources] == before
    assert bytes_of(network.variables) != own
    assert all(source.trainable for source in sources)
    assert model.trainable_variables == network.trainable_variables
    assert model.variables[: len(network.variables)] == network.variables
    theirs = {id(variable) for source in sources for variable in source.variables}
    assert not theirs & {id(variable) for variable in model.variables}


def test_weights_are_saved_without_the_sources(tmp_path: Path):
    model = ensemble(small_network(seed=5))
    model.save_weights(tmp_path / "defense.weights.h5")
    plain = AdversarialModel(small_network(seed=9), attack=fgsm(0.1))
    plain.compile(keras.optimizers.SGD(0.1))
    plain.load_weights(tmp_path / "defense.weights.h5")
    assert bytes_of(plain.network.variables) == bytes_of(model.network.variables)
    model.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert bytes_of(loaded.variables) == bytes_of(model.network.variables)


def test_a_resumed_run_goes_on_exactly(tmp_path: Path):
    attack = pgd(0.1, 0.05, num_steps=1)
    model = ensemble(attack=attack, seed=4)
    fit(model, epochs=2)
    ResumableCheckpoint(model, tmp_path, 1, steps_per_epoch=3).on_epoch_end(1)
    fit(model, initial_epoch=2, epochs=4)
    expected = bytes_of(model.network.variables)
    assert len(set(draws(model, 12))) == 3
    # Another network and other counts of updates: what matters comes from the checkpoint.
    model.network.set_weights(small_network(seed=7).get_weights())
    assert ResumableCheckpoint(model, tmp_path, 1, steps_per_epoch=3).restore() == (2, 0)
    fit(model, initial_epoch=2, epochs=4)
    assert bytes_of(model.network.variables) == expected


def test_evaluation_attacks_the_network_itself():
    network = small_network()
    plain = AdversarialModel(network, attack=fgsm(0.1))
    plain.compile("sgd")
    expected = plain.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    model = ensemble(network, include_self=False)
    for step in range(2):
        model.optimizer.iterations.assign(step)
        assert model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True) == expected


class CountingEnsemble(EnsembleAdversarialModel):
    """Counts how often the losses are traced."""

    traces = 0

    def training_losses(self, *arguments, **options):
        CountingEnsemble.traces += 1
        return super().training_losses(*arguments, **options)


def test_one_trace_serves_all_sources():
    model = CountingEnsemble(small_network(), sources=two_sources(), attack=fgsm(0.1))
    model.compile("sgd")
    fit(model, epochs=4)
    assert len(set(draws(model, 12))) == 3
    assert CountingEnsemble.traces == 1
