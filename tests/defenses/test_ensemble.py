"""EnsembleAdversarialModel: which network is drawn and attacked, and which sources it takes."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AdversarialModel, Classifier, EnsembleAdversarialModel
from aad_tf.attacks import fgsm, pgd
from aad_tf.training.checkpoints import ResumableCheckpoint
from tests.networks import (
    SHAPE,
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
    first, second = (Classifier.from_keras(small_network(seed=seed)) for seed in (1, 2))
    return first, second


def ensemble(network=None, sources=None, attack=None, run_eagerly=False, **options):
    model = EnsembleAdversarialModel(
        network or small_network(),
        sources=two_sources() if sources is None else sources,
        attack=attack or fgsm(0.1),
        **options,
    )
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=run_eagerly)
    return model


def draws(model, steps):
    """Which network each of the first updates is attacked on."""
    draw, found = tf.function(model.draw), []
    for step in range(steps):
        model.optimizer.iterations.assign(step)
        found.append(int(draw()))
    return found


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


def test_the_images_are_those_of_the_attack_on_the_network_drawn():
    attack = pgd(0.1, 0.05, 1)
    model = ensemble(attack=attack)
    graph = tf.function(model.adversarial_images, autograph=False)
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
    found = draws(model, 300)
    counts = Counter(found)
    # 100 of each are expected, with a standard deviation of 8.
    assert [abs(counts[index] - 100) < 27 for index in range(3)] == [True] * 3
    # No network follows another by rule: 33 of each pair are expected.
    pairs = Counter(zip(found, found[1:], strict=False))
    assert len(pairs) == 9
    assert all(abs(count - 33) < 20 for count in pairs.values())
    assert draws(ensemble(), 20) == found[:20]
    assert draws(ensemble(seed=1), 20) != found[:20]


class CountingEnsemble(EnsembleAdversarialModel):
    """Counts how often the losses are traced."""

    traces = 0

    def training_losses(self, *arguments, **options):
        CountingEnsemble.traces += 1
        return super().training_losses(*arguments, **options)


def test_one_trace_serves_all_sources_which_stay_as_they_are_and_out_of_the_model():
    dropping = small_network(seed=1, middle=[keras.layers.Dropout(0.5, seed=1)])
    network, sources = small_network(), [dropping, batch_norm_network(seed=2)]
    before = [bytes_of(source.variables) for source in sources]
    model = CountingEnsemble(network, sources=sources, attack=fgsm(0.1))
    model.compile(keras.optimizers.SGD(0.1))
    assert set(draws(model, 12)) == {0, 1, 2}
    model.optimizer.iterations.assign(0)
    start = bytes_of(network.variables)
    fit(model, epochs=4)
    assert CountingEnsemble.traces == 1
    model.evaluate(IMAGES, LABELS, verbose=0)
    assert [bytes_of(source.variables) for source in sources] == before
    assert bytes_of(network.variables) != start
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


@pytest.mark.parametrize("dtypes", [("float64", None), (None, "float64"), (None, "mixed_bfloat16")])
def test_sources_of_another_precision(dtypes):
    network, source = (small_network(seed=1, dtype=dtype) for dtype in dtypes)
    model = ensemble(network, [source], include_self=False, run_eagerly=True)
    assert np.isfinite(fit(model)["loss"]).all()
    images = tf.cast(IMAGES, model.classifier.dtype)
    found = model.adversarial_images(images, tf.constant(LABELS))
    assert found.dtype == images.dtype
    assert 0.05 < np.abs(found - images).max() < 0.1 + 1e-6


def test_a_source_of_open_size_takes_any():
    open_size = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    assert np.isfinite(fit(ensemble(sources=[open_size], run_eagerly=True))["loss"]).all()


def wide(network):
    return Classifier.from_keras(network, bounds=(-1.0, 1.0))


BAD_SOURCES = {
    "none": (list, ValueError, "holds no network.*use AdversarialModel"),
    "one": (small_network, TypeError, "must be a sequence .* got Sequential. Put a single"),
    "path": (lambda: "runs/plain", TypeError, "must be a sequence .* got str"),
    "paths": (lambda: ["runs/plain"], TypeError, r"sources\[0\] must be .* got str.*load_clas"),
    "size": (
        lambda: [small_network(), small_network(shape=(9, 9, 1))],
        ValueError,
        r"sources\[1\] has input_shape \(9, 9, 1\), but the network in training \(8, 8, 1\)",
    ),
    "classes": (
        lambda: [small_network(keras.layers.Dense(5))],
        ValueError,
        r"sources\[0\] has num_classes 5, but the network in training 3",
    ),
    "bounds": (
        lambda: [wide(small_network())],
        ValueError,
        r"sources\[0\] has bounds .*lower=-1.0",
    ),
    "defence": (
        lambda: [ensemble(sources=[small_network()])],
        TypeError,
        "pass its .classifier",
    ),
}


@pytest.mark.parametrize("problem", BAD_SOURCES)
def test_unsuitable_sources_are_refused(problem):
    make, error, message = BAD_SOURCES[problem]
    with pytest.raises(error, match=message):
        ensemble(sources=make())


def test_a_source_that_would_be_trained_is_refused():
    network = small_network()
    wrapped = keras.Sequential([keras.Input(SHAPE), network])
    for source in (network, Classifier.from_keras(network), wrapped):
        with pytest.raises(ValueError, match=r"sources\[0\] shares weights with the network"):
            ensemble(network, sources=[source])
