"""What a Keras user expects of compile, fit, evaluate and predict, for every defence."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import fgsm, pgd, step_ll, trades_pgd
from aad_tf.classifier import Classifier
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    EnsembleAdversarialModel,
    PairingModel,
    StandardModel,
    TradesModel,
)
from tests.networks import SHAPE, bytes_of, random_images, small_network

COUNT = 10
IMAGES = random_images(COUNT)
LABELS = (np.arange(COUNT) % 3).astype("int32")


@functools.cache
def source() -> Classifier:
    """Wrapped once for all tests: training never changes it."""
    return Classifier.from_keras(small_network(seed=1))


# One round each keeps the graphs small; test_aad.py has more of them.
DEFENSES = {
    "standard": StandardModel,
    "adversarial": lambda network, **options: AdversarialModel(
        network, attack=pgd(0.1, 0.05, 1), **options
    ),
    "ensemble": lambda network, **options: EnsembleAdversarialModel(
        network, sources=[source()], attack=fgsm(0.1), **options
    ),
    "trades": lambda network, **options: TradesModel(
        # From far enough that rounding turns no sign of a gradient.
        network,
        attack=trades_pgd(0.1, 0.05, 1, deviation=0.1),
        **options,
    ),
    "pairing": lambda network, **options: PairingModel(network, attack=fgsm(0.1), **options),
    "aad": lambda network, **options: AADModel(network, attack=step_ll(0.1), **options),
}
ALWAYS = {"loss", "accuracy"}
ATTACKED = {"adversarial_loss", "adversarial_accuracy"}
TERMS = {"classification_loss", "rectification_loss", "preservation_loss"}
KEYS = {
    "standard": ALWAYS,
    "adversarial": ALWAYS | ATTACKED,
    "ensemble": ALWAYS | ATTACKED,
    "trades": ALWAYS | {"classification_loss", "divergence_loss", "adversarial_accuracy"},
    "pairing": ALWAYS | ATTACKED | {"logit_pairing_loss", "attention_pairing_loss"},
    "aad": ALWAYS | TERMS | {"adversarial_accuracy"},
}
every_defense = pytest.mark.parametrize("defense", DEFENSES)
# What stands in DefenseModel alone is looked at in the simplest and in the largest of them.
two_defenses = pytest.mark.parametrize("defense", ["standard", "aad"])


def compiled(defense, network=None, seed=0, **options):
    model = DEFENSES[defense](network or small_network(), seed=seed)
    model.compile(keras.optimizers.SGD(0.05), **options)
    return model


def eager(defense, network=None):
    """For single steps, which take less time than compiling them."""
    return compiled(defense, network, run_eagerly=True)


def fit(model, images=IMAGES, labels=LABELS, **options):
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, **options}
    return model.fit(images, labels, **options).history


@functools.cache
def first_step(defense):
    """What the first step on all images logs."""
    return eager(defense).train_on_batch(IMAGES, LABELS, return_dict=True)


@functools.cache
def plain_run(defense):
    """A model after one epoch in batches of four, and its history; tests only look at it."""
    model = compiled(defense)
    return model, fit(model)


def assert_same_weights(ours, theirs, tolerance=1e-6):
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance)


def assert_same_history(ours, theirs):
    for key, values in ours.items():
        np.testing.assert_allclose(values, theirs[key], rtol=1e-4, err_msg=key)


@every_defense
def test_history_validation_and_extra_metrics(defense):
    metrics = [keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")]
    # Compiled, the others are seen to train below.
    model = compiled(defense, metrics=metrics, run_eagerly=defense != "standard")
    history = fit(model, epochs=2, batch_size=5, validation_data=(IMAGES[:5], LABELS[:5]))
    expected = KEYS[defense] | {"top3"}
    assert set(history) == expected | {f"val_{key}" for key in expected}
    assert all(len(values) == 2 and np.isfinite(values).all() for values in history.values())
    # Every label is among three of three classes.
    assert history["top3"] == [1.0, 1.0]
    # In batches as in the fit, by which random starts differ.
    scores = model.evaluate(IMAGES[:5], LABELS[:5], 5, verbose=0, return_dict=True)
    assert set(scores) == expected
    for key, value in scores.items():
        assert value == pytest.approx(history[f"val_{key}"][-1], abs=1e-5), key


@every_defense
def test_the_network_is_trained_in_place(defense):
    network = small_network()
    before = network.get_weights()
    model = eager(defense, network)
    model.train_on_batch(IMAGES, LABELS)
    assert model.network is network
    assert model.trainable_variables == network.trainable_variables
    for old, new in zip(before, network.get_weights(), strict=True):
        assert np.abs(old - new).max() > 0
    np.testing.assert_allclose(model.predict(IMAGES, 3, verbose=0), network(IMAGES), atol=1e-6)
    np.testing.assert_array_equal(model(IMAGES), network(IMAGES))


@every_defense
def test_datasets_arrays_and_eager_mode_agree(defense):
    by_array, history = plain_run(defense)
    by_dataset = eager(defense)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS[:, None].astype("float32"))).batch(4)
    assert_same_history(by_dataset.fit(data, verbose=0).history, history)
    assert_same_weights(by_dataset, by_array)


@pytest.mark.parametrize("defense", ["standard", "adversarial", "aad"])
def test_several_steps_per_execution(defense):
    """Random starts differ between the steps of one execution."""
    at_once, (single, history) = compiled(defense, steps_per_execution=2), plain_run(defense)
    assert_same_history(fit(at_once), history)
    assert int(at_once.optimizer.iterations) == 3
    assert_same_weights(at_once, single)


class Counting:
    """Counts how often the losses are traced."""

    traces = 0

    def training_losses(self, *arguments, **options):
        self.traces += 1
        return super().training_losses(*arguments, **options)


class CountingAAD(Counting, AADModel):
    pass


class CountingAdversarial(Counting, AdversarialModel):
    pass


@pytest.mark.parametrize(
    ("make", "steps_per_execution"),
    [(CountingAAD, 1), (CountingAAD, 2), (CountingAdversarial, 2)],
)
def test_one_trace_per_step_whatever_the_batch_size(make, steps_per_execution):
    model = make(small_network(), attack=step_ll(0.1))
    model.compile("sgd", steps_per_execution=steps_per_execution)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    traces = []
    for batches in (data.batch(4), data.batch(7).repeat(2)):
        model.traces = 0
        model.fit(batches, epochs=2, verbose=0)
        traces.append(model.traces)
    # The last batch of each is a short one. Keras writes out the steps of one execution.
    assert traces[0] in (1, steps_per_execution)
    assert traces[1] == 0
    model.traces = 0
    model.evaluate(data.batch(4), verbose=0)
    model.evaluate(data.batch(6), verbose=0)
    assert model.traces in (1, steps_per_execution)


@every_defense
def test_weights_of_zero_leave_examples_out(defense):
    # The mean runs over the whole batch, as in Keras: weights of 2 and 0 make up for it.
    weights = np.repeat([2.0, 0.0], COUNT // 2).astype("float32")
    weighted, halved = eager(defense), eager(defense)
    one = weighted.train_on_batch(IMAGES, LABELS, weights, return_dict=True)
    other = halved.train_on_batch(IMAGES[:5], LABELS[:5], return_dict=True)
    if defense in ("adversarial", "trades"):
        # Its random starts come from one stream over the batch, so only statistics agree.
        assert one["accuracy"] == pytest.approx(other["accuracy"])
        return
    assert_same_weights(weighted, halved)
    assert_same_history(one, other)


@two_defenses
def test_class_weights_are_sample_weights(defense):
    by_class, by_sample = eager(defense), eager(defense)
    weights = np.array([0.5, 1.0, 3.0])
    one = fit(by_class, class_weight=dict(enumerate(weights)), batch_size=5)
    other = fit(by_sample, sample_weight=weights[LABELS], batch_size=5)
    assert_same_weights(by_class, by_sample)
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-5)


@every_defense
def test_mixed_precision_trains(defense):
    network = small_network(dtype="mixed_bfloat16")
    network.layers[-1].dtype_policy = "float32"
    model = eager(defense, network)
    steps = []
    for _ in range(3):
        model.reset_metrics()
        steps.append(model.train_on_batch(IMAGES, LABELS, return_dict=True))
    assert np.isfinite([list(step.values()) for step in steps]).all()
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert model.predict(IMAGES, verbose=0).dtype == np.float32
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert steps[0]["loss"] == pytest.approx(first_step(defense)["loss"], rel=0.05)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float16"])
def test_the_loss_of_other_precisions_is_that_of_float32(policy):
    network = small_network(dtype=policy)
    network.set_weights(small_network().get_weights())
    logs = eager("aad", network).train_on_batch(IMAGES, LABELS, return_dict=True)
    for key in TERMS:
        assert logs[key] == pytest.approx(first_step("aad")[key], rel=0.05, abs=1e-3), key


@two_defenses
def test_scaled_losses_of_half_precision_are_scaled_back(defense):
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), 1024.0)
    scaled, (plain, history) = DEFENSES[defense](small_network()), plain_run(defense)
    scaled.compile(optimizer, run_eagerly=True)
    np.testing.assert_allclose(fit(scaled)["loss"], history["loss"], rtol=1e-4)
    assert_same_weights(scaled, plain, 1e-5)


@pytest.mark.parametrize("defense", ["adversarial", "aad"])
def test_two_runs_of_one_seed_agree_bit_for_bit(defense):
    def run():
        network = small_network(middle=[keras.layers.Dropout(0.5, seed=1)])
        model = compiled(defense, network, seed=3, run_eagerly=defense == "aad")
        history = fit(model, shuffle=True, epochs=2, batch_size=5)
        return bytes_of(network.get_weights()), history

    assert run() == run()


def test_callbacks_see_and_save_the_defense(tmp_path):
    model = eager("aad")
    path = tmp_path / "best.weights.h5"
    callbacks = [
        keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=1, baseline=2.0),
        keras.callbacks.ModelCheckpoint(path, save_weights_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "network.keras"),
        keras.callbacks.CSVLogger(tmp_path / "history.csv"),
        keras.callbacks.TerminateOnNaN(),
    ]
    history = fit(model, epochs=9, callbacks=callbacks, validation_split=0.5)
    # No accuracy reaches the baseline of 2; patience of one ends after the second epoch.
    assert len(history["loss"]) == 2
    assert set(history) <= set((tmp_path / "history.csv").read_text().splitlines()[0].split(","))
    restored = compiled("aad", small_network(seed=9))
    restored.load_weights(path)
    assert_same_weights(restored.network, model.network, 0)
    # A saved defence is its network, which loads without this package.
    saved = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(saved(IMAGES), model.network(IMAGES), atol=1e-6)


def test_frozen_layers_stay():
    network = small_network()
    network.get_layer("conv").trainable = False
    before = bytes_of(network.get_layer("conv").variables)
    scores = bytes_of(network.get_layer("scores").variables)
    eager("aad", network).train_on_batch(IMAGES, LABELS)
    assert bytes_of(network.get_layer("conv").variables) == before
    assert bytes_of(network.get_layer("scores").variables) != scores


def test_a_float64_network_trains_in_float64():
    network = small_network(dtype="float64")
    model = AADModel(network, attack=pgd(0.1, 0.05, 1))
    model.compile(keras.optimizers.SGD(0.05))
    assert np.isfinite(model.train_on_batch(IMAGES, LABELS)).all()
    assert model.predict(IMAGES, verbose=0).dtype == np.float64
    assert {variable.dtype for variable in network.variables} == {"float64"}


def test_any_shape_of_image_trains():
    shape = (*SHAPE[:1], 11, 3)
    model = AADModel(small_network(shape=shape), attack=step_ll(0.1, 2), losses="reference_code")
    model.compile("adam", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(random_images(COUNT, shape), LABELS)).all()
