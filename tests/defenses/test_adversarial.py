"""StandardModel and AdversarialModel: equal to plain Keras and to updates by hand; bad input."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import fgsm, pgd, step_ll
from aad_tf.classifier import Classifier
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    EnsembleAdversarialModel,
    PairingModel,
    StandardModel,
    TradesModel,
)
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
WEIGHTS = np.linspace(0.0, 2.0, 10).astype("float32")


def close(ours, theirs, **tolerance):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, **(tolerance or {"atol": 1e-6}))


def regularized_network():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
            layers.Flatten(),
            layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1)),
        ]
    )


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_standard_training_equals_plain_keras(weights):
    plain, network = regularized_network(), regularized_network()
    ours = StandardModel(network)
    ours.compile(keras.optimizers.Adam(0.01))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(keras.optimizers.Adam(0.01), loss, weighted_metrics=["accuracy"])
    arguments = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    histories = [
        model.fit(IMAGES, LABELS, sample_weight=weights, **arguments).history
        for model in (ours, plain)
    ]
    close(network.get_weights(), plain.get_weights())
    for key in ("loss", "accuracy"):
        np.testing.assert_allclose(histories[0][key], histories[1][key], rtol=1e-5)
    scores = [model.evaluate(IMAGES, LABELS, 4, verbose=0) for model in (ours, plain)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    np.testing.assert_allclose(ours.predict(IMAGES, verbose=0), network(IMAGES), atol=1e-6)


@pytest.mark.parametrize("replace_clean", [False, True])
def test_an_adversarial_update_equals_one_by_hand(replace_clean):
    network, attack = small_network(), fgsm(0.1)
    model = AdversarialModel(network, attack=attack, replace_clean=replace_clean)
    model.compile(keras.optimizers.SGD(0.1))
    attacked = attack(model.classifier, IMAGES, LABELS)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        clean_loss, loss = entropy(LABELS, network(IMAGES)), entropy(LABELS, network(attacked))
        total = loss if replace_clean else (clean_loss + loss) / 2
    gradients = tape.gradient(total, [each.value for each in network.trainable_variables])
    before = network.get_weights()
    clean_hits = np.mean(np.argmax(network(IMAGES), -1) == LABELS)
    attacked_hits = np.mean(np.argmax(network(attacked), -1) == LABELS)
    logs = model.train_on_batch(IMAGES, LABELS, return_dict=True)
    close(network.get_weights(), [old - 0.1 * g for old, g in zip(before, gradients, strict=True)])
    expected = {
        "loss": total,
        "adversarial_loss": loss,
        "accuracy": clean_hits,
        "adversarial_accuracy": attacked_hits,
    }
    assert logs == pytest.approx({name: float(value) for name, value in expected.items()}, 1e-5)


@pytest.mark.parametrize("replace_clean", [False, True])
def test_batch_normalization_learns_what_is_trained_on_and_nothing_else(replace_clean):
    network = batch_norm_network()
    model = AdversarialModel(network, attack=pgd(0.1, 0.05, 1), replace_clean=replace_clean)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = bytes_of(network.variables)
    attacked = model.adversarial_images(tf.constant(IMAGES), tf.constant(LABELS))
    assert bytes_of(network.variables) == before
    batch = attacked if replace_clean else tf.concat([IMAGES, attacked], axis=0)
    inputs = network.get_layer("conv1")(batch).numpy()
    model.train_on_batch(IMAGES, LABELS)
    norm = network.get_layer("norm1")
    np.testing.assert_allclose(norm.moving_mean, 0.1 * inputs.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * inputs.var((0, 1, 2)), atol=1e-6)
    # Evaluating, attack included, teaches it nothing.
    before = bytes_of(network.variables)
    model.evaluate(IMAGES, LABELS, verbose=0)
    assert bytes_of(network.variables) == before


def test_random_starts_differ_from_step_to_step_and_follow_the_seed():
    def starts(seed):
        attack = pgd(0.1, 0.01, num_steps=1)
        model = AdversarialModel(small_network(), attack=attack, seed=seed)
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        found = []
        for _ in range(2):
            found.append(model.adversarial_images(tf.constant(IMAGES), tf.constant(LABELS)))
            model.train_on_batch(IMAGES, LABELS)
        return np.array(found)

    first = starts(seed=5)
    assert np.abs(first[0] - first[1]).max() > 0.05
    np.testing.assert_array_equal(first, starts(seed=5))
    assert np.abs(first - starts(seed=6)).max() > 0.05


class Brightness(keras.layers.Layer):
    """Adds 1000 times the mean of what it sees to the loss."""

    def call(self, inputs):
        self.add_loss(1000 * tf.reduce_mean(inputs))
        return inputs


def ensemble_of_itself(network, attack, **options):
    """Attacked on a copy, so that adversarial images are those of the network."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return EnsembleAdversarialModel(
        network, sources=[copy], include_self=False, attack=attack, **options
    )


@pytest.mark.parametrize(
    ("make", "attack", "with_clean"),
    [
        (AADModel, step_ll(0.05, 2), True),
        (AdversarialModel, fgsm(0.2), True),
        (functools.partial(AdversarialModel, replace_clean=True), fgsm(0.2), False),
        (ensemble_of_itself, fgsm(0.2), True),
        (TradesModel, fgsm(0.2), True),
        (PairingModel, fgsm(0.2), True),
        (functools.partial(PairingModel, attention_weight=1.0), fgsm(0.2), True),
    ],
    ids=["aad", "adversarial", "madry", "ensemble", "trades", "logits", "pairing"],
)
def test_penalties_are_those_of_the_images_trained_on(make, attack, with_clean):
    # Neither those of masked images nor of clean ones that serve the logs alone.
    losses = {}
    for penalised in (False, True):
        network = small_network()
        if penalised:
            network = keras.Sequential([keras.Input(SHAPE), Brightness(), network])
        model = make(network, attack=attack, attention_layer="conv")
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        for step in ("train_on_batch", "test_on_batch"):
            model.reset_metrics()
            logs = getattr(model, step)(IMAGES, LABELS, return_dict=True)
            losses[penalised, step] = logs["loss"]
    rounds = list(attack.rounds(model.classifier, IMAGES, LABELS))
    trained_on = [IMAGES, *rounds] if with_clean else rounds
    expected = 1000 * float(tf.reduce_mean(tf.stack(trained_on)))
    for step in ("train_on_batch", "test_on_batch"):
        assert losses[True, step] - losses[False, step] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: AdversarialModel(small_network(), **options),
        lambda **options: AADModel(small_network(), **options),
        lambda **options: TradesModel(small_network(), **options),
        lambda **options: EnsembleAdversarialModel(
            small_network(), sources=[small_network(seed=1)], **options
        ),
    ],
    ids=["adversarial", "aad", "trades", "ensemble"],
)
def test_random_starts_differ_between_batches_of_an_evaluation_which_repeats(make):
    # With a step of size 0 the adversarial image is its random start.
    model = make(attack=pgd(0.1, 0.0, num_steps=1), seed=5)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    images, labels = IMAGES[:5], LABELS[:5]
    once = tf.data.Dataset.from_tensors((images, labels))
    first = model.evaluate(once, verbose=0, return_dict=True)
    twice = model.evaluate(once.repeat(2), verbose=0, return_dict=True)
    # The mean over two equal batches is that of one, unless they are attacked differently.
    name = model.loss_names[-1]
    assert abs(twice[name] - first[name]) > 1e-4 * abs(first[name])
    assert model.evaluate(once.repeat(2), verbose=0, return_dict=True) == twice
    # Neither updates nor an evaluation before it change the starts of an evaluation.
    model.optimizer.iterations.assign_add(7)
    assert model.evaluate(once, verbose=0, return_dict=True) == first


def test_an_uncompiled_defense_still_attacks():
    model = AdversarialModel(small_network(), attack=pgd(0.1, 0.05, 2))
    assert model.adversarial_images(tf.constant(IMAGES), tf.constant(LABELS)).shape == IMAGES.shape


BROKEN = IMAGES.copy()
BROKEN[3, 2, 1] = np.nan
BAD_INPUT = {
    "range": (
        IMAGES * 255,
        LABELS,
        r"images must be finite and in \[0.0, 1.0\].*0..255 pixels: divide by 255",
    ),
    "bytes": ((IMAGES * 255).astype("uint8"), LABELS, "divide by 255"),
    "nan": (BROKEN, LABELS, "images must be finite"),
    "rank": (IMAGES[..., 0], LABELS, r"images must have rank 4, .*got shape \((None|10), 8, 8\)"),
    "size": (IMAGES[:, :7], LABELS, r"have shape \[batch, 8, 8, 1\], got \((None|10), 7, 8"),
    "unknown class": (IMAGES, LABELS + 1, r"labels must be whole numbers in \[0, 3\)"),
    "negative class": (IMAGES, LABELS - 1, r"labels must be whole numbers in \[0, 3\)"),
    "fraction": (IMAGES, LABELS + 0.5, r"labels must be whole numbers in \[0, 3\)"),
    "one-hot": (IMAGES, np.eye(3)[LABELS], r"class numbers of shape .*one-hot: .*tf.argmax"),
}
# What only values tell, and XLA would leave out.
BAD_VALUES = [name for name in BAD_INPUT if name not in ("rank", "size", "one-hot")]


@functools.cache
def never_trained():
    """A network whose trainers refuse every batch that they get, quick to compile by XLA."""
    return Classifier.from_keras(linear_network([1.0, -2.0, 3.0], size=8))


@functools.cache
def never_updated(eager, shapes):
    """One model for all batches of the same shapes."""
    model = StandardModel(never_trained())
    model.compile("sgd", run_eagerly=eager)
    return model


@pytest.mark.parametrize("problem", BAD_INPUT)
@pytest.mark.parametrize("eager", [False, True], ids=["graph", "eager"])
def test_bad_input_of_fit(problem, eager):
    images, labels, message = BAD_INPUT[problem]
    model = never_updated(eager, (images.shape, labels.shape))
    before = bytes_of(model.trainable_variables)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        model.fit(images, labels, batch_size=10, verbose=0)
    assert bytes_of(model.trainable_variables) == before


def after_a_good_batch(images, labels):
    pairs = ((IMAGES, LABELS.astype("float32")), (images, labels))
    good, bad = (tf.data.Dataset.from_tensor_slices(pair).batch(len(pair[0])) for pair in pairs)
    return good.concatenate(bad)


STEPS = {
    "fit": lambda model, images, labels: model.fit(images, labels, batch_size=10, verbose=0),
    "evaluate": lambda model, images, labels: model.evaluate(images, labels, verbose=0),
    "train_on_batch": lambda model, images, labels: model.train_on_batch(images, labels),
    "test_on_batch": lambda model, images, labels: model.test_on_batch(images, labels),
    "a later batch": lambda model, images, labels: model.fit(
        after_a_good_batch(images, labels), verbose=0
    ),
}


@pytest.fixture(scope="module")
def with_xla():
    """Models compiled by XLA that train by nothing, one for all batches that they refuse."""
    models = {}
    for steps in (1, 2):
        models[steps] = StandardModel(never_trained())
        models[steps].compile(
            keras.optimizers.SGD(0.0), jit_compile=True, steps_per_execution=steps
        )
    return models


@pytest.mark.parametrize(
    ("step", "steps_per_execution", "problem"),
    [
        # Every check in one kind of step; one of images and one of labels in the others.
        *(("train_on_batch", 1, problem) for problem in BAD_VALUES),
        *((step, 1, "range") for step in STEPS if step != "train_on_batch"),
        *((step, 1, "fraction") for step in STEPS if step != "train_on_batch"),
        ("a later batch", 2, "range"),
        ("a later batch", 2, "fraction"),
    ],
)
def test_xla_leaves_no_check_out(problem, step, steps_per_execution, with_xla):
    images, labels, message = BAD_INPUT[problem]
    model = with_xla[steps_per_execution]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        STEPS[step](model, images.astype("float32"), labels.astype("float32"))
    assert model.jit_compile


def test_xla_trains_as_without_it():
    weights = {}
    for jit_compile in (False, True):
        model = StandardModel(linear_network([1.0, -2.0, 3.0], size=8))
        model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
        model.fit(IMAGES, LABELS, batch_size=5, shuffle=False, verbose=0)
        weights[jit_compile] = np.concatenate([w.ravel() for w in model.get_weights()])
        with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be whole numbers"):
            model.train_on_batch(IMAGES[:5], LABELS[:5] + 1)
        after = np.concatenate([w.ravel() for w in model.get_weights()])
        np.testing.assert_array_equal(after, weights[jit_compile])
    np.testing.assert_allclose(weights[True], weights[False], atol=1e-6)


def test_images_of_another_size_are_refused_after_training_too():
    model = StandardModel(small_network())
    model.compile("sgd")
    model.fit(IMAGES, LABELS, verbose=0)
    for images in (IMAGES[:, :7], IMAGES[..., 0]):
        with pytest.raises(
            (ValueError, tf.errors.InvalidArgumentError), match="(?i)shape.*8.*8.*1"
        ):
            model.fit(images, LABELS, verbose=0)


@pytest.mark.parametrize("update_per_round", [False, True])
def test_a_defense_with_an_attack_checks_what_fit_and_evaluate_are_given(update_per_round):
    model = AADModel(small_network(), attack=step_ll(0.1), update_per_round=update_per_round)
    model.compile("sgd", run_eagerly=True)
    for run in (model.fit, model.evaluate):
        with pytest.raises(tf.errors.InvalidArgumentError, match="divide by 255"):
            run(IMAGES * 255, LABELS, verbose=0)
        with pytest.raises(ValueError, match="AADModel needs labels"):
            run(IMAGES, verbose=0)


def test_a_loss_given_to_compile_is_refused():
    model = StandardModel(small_network())
    for arguments, options in [(("sgd", "mse"), {}), (("sgd",), {"loss": "mse"})]:
        with pytest.raises(ValueError, match="computes its own loss; call compile.optimizer."):
            model.compile(*arguments, **options)


def test_weights_of_losses_given_to_compile_are_refused():
    model = AADModel(small_network(), attack=step_ll(0.1))
    for arguments, options in [(("sgd", None, [1.0]), {}), (("sgd",), {"loss_weights": [1.0]})]:
        with pytest.raises(ValueError, match=r"without loss_weights.*AADModel\(weights=...\)"):
            model.compile(*arguments, **options)
    # Files of earlier versions may hold some.
    model.compile("sgd", loss_weights=None)
    config = model.get_compile_config()
    model.compile_from_config({**config, "loss_weights": [1.0]})
    assert model.get_compile_config()["loss_weights"] is None


def test_unsuitable_networks_are_refused():
    layers = keras.layers
    flat = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ValueError, match="No layer of this model has spatial features"):
        StandardModel(flat)


def test_a_final_softmax_stays_on_the_network_and_off_the_losses():
    network, logits = small_network(final="softmax"), small_network()
    models = [StandardModel(each) for each in (network, logits)]
    for model in models:
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(IMAGES, LABELS, batch_size=5, shuffle=False, verbose=0)
    close(network.get_weights(), logits.get_weights())
    np.testing.assert_allclose(network(IMAGES), tf.nn.softmax(logits(IMAGES)), atol=1e-6)
