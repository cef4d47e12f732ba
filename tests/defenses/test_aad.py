"""AADModel: its loss by hand, its rounds, its updates, and batch statistics."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import fgsm, pgd, step_ll
from aad_tf.classifier import Classifier
from aad_tf.classifier.tracing import recording
from aad_tf.defenses import AADModel, AdversarialModel
from aad_tf.defenses.statistics import kept_statistics, moving_statistics
from aad_tf.losses import AADLosses
from tests.networks import SHAPE, batch_norm_network, bytes_of, random_images, small_network

layers = keras.layers
LABELS = np.array([0, 1, 2, 0], np.int32)

# The toy: a 1x1 convolution to two channels, global pooling, three classes.
CHANNELS = np.array([[1.0, -1.0], [0.5, 2.0]])
OFFSETS = np.array([0.1, -0.2])
WEIGHTS = np.array([[2.0, -1.0, 0.5], [-1.0, 3.0, -2.0]])


def toy(*, rescaled=False):
    """With `rescaled`, the same function of images that lie in [0, 1] instead of [-1, 1]."""
    images = keras.Input((2, 2, 2), dtype="float64")
    seen = layers.Rescaling(2.0, -1.0, dtype="float64")(images) if rescaled else images
    convolution = layers.Conv2D(2, 1, dtype="float64", name="features")
    pool = layers.GlobalAveragePooling2D(dtype="float64")
    scores = layers.Dense(3, use_bias=False, dtype="float64")
    model = keras.Model(images, scores(pool(convolution(seen))))
    convolution.set_weights([CHANNELS.reshape(1, 1, 2, 2), OFFSETS])
    scores.set_weights([WEIGHTS])
    return model


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def toy_logits_and_features(images):
    features = images @ CHANNELS + OFFSETS
    return features.mean(axis=(1, 2)) @ WEIGHTS, features


def soft_margin(labels, logits):
    signs = np.where(np.eye(3)[labels] > 0, -1.0, 1.0)
    return np.log1p(np.exp(signs * logits)).mean(axis=-1)


def paper_terms(images, labels, rounds):
    """Eqs. 1, 2 and 6-9 as printed."""
    classification = rectification = preservation = 0.0
    clean_map = None
    for version in (images, *rounds):
        logits, features = toy_logits_and_features(version)
        # Every cell of channel k has the gradient WEIGHTS[k, label] / 4, which is its mean too.
        maps = np.maximum((features * WEIGHTS.T[labels][:, None, None] / 4).sum(axis=-1), 0)
        area = maps > maps.mean(axis=(1, 2), keepdims=True)
        masked, _ = toy_logits_and_features(version * ~area[..., None])
        classification = classification + soft_margin(labels, logits)
        gap = softmax(logits) - softmax(masked)
        rectification = rectification - np.sqrt((gap**2).sum(axis=-1))
        if clean_map is None:
            clean_map = maps
        else:
            preservation = preservation + np.abs(clean_map - maps).sum(axis=(1, 2))
    return classification, rectification, preservation


def code_terms(images, labels, rounds):
    """The authors' code; its batches are the clean images and each round, and L_p is a sum."""
    classification = rectification = preservation = 0.0
    clean_map = None
    for version in (images, *rounds):
        logits, features = toy_logits_and_features(version)
        gradients = np.broadcast_to(WEIGHTS.T[labels][:, None, None] / 4, features.shape)
        scaled = gradients / np.sqrt((gradients**2).mean())
        scores = (features * scaled.mean(axis=(1, 2), keepdims=True)).sum(axis=-1)
        maps = softmax(scores.reshape(len(version), -1)).reshape(scores.shape)
        masked, _ = toy_logits_and_features(version * (maps <= maps.mean())[..., None])
        classification = classification - np.log(softmax(logits)[np.arange(len(labels)), labels])
        gaps = (softmax(logits) - softmax(masked)) ** 2
        rectification = rectification - gaps.mean(axis=-1)
        if clean_map is None:
            clean_map = maps
        else:
            preservation = preservation + ((clean_map - maps) ** 2).sum(axis=(1, 2))
    # The mean over the batch of this is the sum over the batch.
    return classification, rectification, len(images) * preservation


@pytest.mark.parametrize(
    ("preset", "by_hand"), [("paper", paper_terms), ("reference_code", code_terms)]
)
def test_presets_end_to_end(preset, by_hand):
    images = random_images(4, (2, 2, 2), dtype="float64")
    rounds = np.stack([random_images(4, (2, 2, 2), seed, "float64") for seed in (1, 2)])
    model = AADModel(toy(), attack=step_ll(0.1, 2), losses=preset)
    terms, logits = model.training_losses(tf.constant(images), LABELS, tf.constant(rounds), True)
    expected = by_hand(images, LABELS, rounds)
    for name, value in zip(AADModel.loss_names, expected, strict=True):
        np.testing.assert_allclose(terms[name], value, rtol=1e-7, err_msg=name)
    total = 8 * expected[0] + 4 * expected[1] + expected[2]
    np.testing.assert_allclose(terms["loss"], total, rtol=1e-7)
    np.testing.assert_allclose(logits["clean"], toy_logits_and_features(images)[0], rtol=1e-7)
    np.testing.assert_allclose(logits["adversarial"], toy_logits_and_features(rounds[-1])[0])


@pytest.mark.parametrize(
    ("weights", "passes", "makes_maps"),
    [
        ((8, 4, 1), 2, True),
        ((8, 4, 0), 2, True),
        ((8, 0, 1), 1, True),
        ((8, 0, 0), 1, False),
        ((0, 0, 0), 1, False),
    ],
)
def test_terms_of_weight_zero_are_not_computed(weights, passes, makes_maps):
    model = AADModel(toy(), attack=step_ll(0.1, 2), weights=weights, losses="paper")
    images = random_images(4, (2, 2, 2), dtype="float64")
    rounds = np.stack([random_images(4, (2, 2, 2), seed, "float64") for seed in (1, 2)])
    calls = []

    @tf.function(autograph=False)
    def losses(images, rounds):
        with recording([model.network.layers[-1]], calls.append):
            return model.training_losses(images, tf.constant(LABELS), rounds, True)[0]

    graph = losses.get_concrete_function(tf.constant(images), tf.constant(rounds)).graph
    assert len(calls) == passes
    # The gradient of the class score by the features multiplies by the transposed last kernel.
    products = [op for op in graph.get_operations() if op.type == "MatMul"]
    assert len(products) == passes + makes_maps
    terms = losses(tf.constant(images), tf.constant(rounds))
    expected = [
        value * (weight != 0 or name == "classification_loss")
        for name, value, weight in zip(
            AADModel.loss_names, paper_terms(images, LABELS, rounds), weights, strict=True
        )
    ]
    for name, value in zip(AADModel.loss_names, expected, strict=True):
        np.testing.assert_allclose(terms[name], value, rtol=1e-7, err_msg=name)
    np.testing.assert_allclose(terms["loss"], np.dot(weights, expected), rtol=1e-7)


def test_without_attention_terms_a_step_is_one_of_adversarial_training():
    options = {"attack": step_ll(0.1), "seed": 3}
    images = random_images()
    trained = [
        AADModel(batch_norm_network(), weights=(0.5, 0, 0), **options),
        AdversarialModel(batch_norm_network(), **options),
    ]
    for model in trained:
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        model.train_on_batch(images, LABELS)
    for ours, theirs in zip(*(model.get_weights() for model in trained), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_hidden_pixels_are_zero_to_the_network():
    """Masked by hand in the network's own range, where hidden pixels are 0."""
    images = random_images(4, (2, 2, 2), dtype="float64")
    rounds = random_images(4, (2, 2, 2), 1, "float64")[None]
    expected = paper_terms(2 * images - 1, LABELS, 2 * rounds - 1)[1]

    def rectification(**parts):
        losses = AADLosses.preset("paper").replace(**parts)
        model = AADModel(toy(rescaled=True), attack=step_ll(0.1), losses=losses)
        return model.training_losses(tf.constant(images), LABELS, tf.constant(rounds), True)[0][
            "rectification_loss"
        ].numpy()

    np.testing.assert_allclose(rectification(), expected, rtol=1e-7)
    np.testing.assert_array_equal(rectification(fill=(0.5, 0.5)), rectification())
    assert np.abs(rectification(fill=0.0) - expected).max() > 1e-2


def dropout_network():
    """Dropout before and behind the attention layer, and normalization by the batch."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.BatchNormalization(),
            layers.SpatialDropout2D(0.3, name="channels"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(),
            layers.Dropout(0.5, name="units"),
            layers.Dense(3, name="scores"),
        ]
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_noise_between_equal_images(compiled):
    """L_p of an image with itself is 0, and L_r if nothing is hidden, unless masks differ."""
    images = tf.constant(random_images())
    rounds = tf.stack([images, images])
    # No cell lies above so high a threshold.
    losses = AADLosses(threshold=1e9)

    def terms(noise):
        model = AADModel(
            dropout_network(), attack=step_ll(0.1), losses=losses, attention_noise=noise
        )

        def compute():
            return model.training_losses(images, tf.constant(LABELS), rounds, True)[0]

        values = (tf.function(compute, autograph=False) if compiled else compute)()
        return [np.abs(values[name].numpy()) for name in AADModel.loss_names]

    for noise in ("shared",) if compiled else ("shared", "none"):
        classification, rectification, preservation = terms(noise)
        assert classification.min() > 0
        np.testing.assert_allclose(rectification, 0, atol=1e-9)
        np.testing.assert_allclose(preservation, 0, atol=1e-5)
    if compiled:
        return
    _, rectification, preservation = terms("independent")
    assert rectification.max() > 1e-4 and preservation.max() > 1e-2


def test_shared_masks_are_new_in_each_step_and_differ_between_examples():
    network = dropout_network()
    model = AADModel(network, attack=step_ll(0.1), attention_noise="shared")
    images = tf.constant(random_images())
    outputs = []

    def dropped():
        """Of the pass for L_c and that of masked images: what is 0, by version and example."""
        with recording([network.get_layer("units")], outputs.append):
            model.training_losses(images, tf.constant(LABELS), images[None], True)
        return [each.output.numpy().reshape(2, 4, -1) == 0 for each in outputs[-2:]]

    (first, masked), (second, _) = dropped(), dropped()
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, masked)
    assert (first != second).any()
    assert (first[0, 0] != first[0, 1]).any()
    # The generator went on by one draw per step.
    assert int(network.get_layer("units").seed_generator.state.value[1]) == 2


def test_classification_is_trained_with_noise_whatever_attention_sees():
    images = tf.constant(random_images())
    found = []
    for noise in ("independent", "none"):
        network = dropout_network()
        model = AADModel(network, attack=step_ll(0.1), attention_noise=noise)
        terms, _ = model.training_losses(images, tf.constant(LABELS), images[None], True)
        found.append((terms["classification_loss"].numpy(), bytes_of(network.variables)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    # Statistics are updated once, from the pass for L_c; seeds advance by one pass more or less.
    network = dropout_network()
    network(tf.concat([images, images], 0), training=True)
    assert found[1][1] == bytes_of(network.variables)


def test_noise_that_cannot_be_shared_is_refused():
    class Noisy(layers.Layer):
        def __init__(self):
            super().__init__(name="noisy")
            self.seed_generator = keras.random.SeedGenerator(0)
            self.inner = layers.ReLU()

        def call(self, inputs):
            return self.inner(inputs)

    network = small_network(middle=[Noisy()])
    with pytest.raises(ValueError, match="'noisy' .Noisy. holds layers and draws random numbers"):
        AADModel(network, attack=step_ll(0.1), attention_noise="shared")
    with pytest.raises(ValueError, match="Unknown attention_noise 'share'. Did you mean 'shared'"):
        AADModel(network, attack=step_ll(0.1), attention_noise="share")


def test_balanced_maps_are_compared_as_fractions_of_their_sum():
    images = random_images(4, (2, 2, 2), dtype="float64")
    rounds = random_images(4, (2, 2, 2), 1, "float64")[None]
    model = AADModel(toy(), attack=step_ll(0.1))
    terms, _ = model.training_losses(tf.constant(images), LABELS, tf.constant(rounds), True)
    fractions = []
    for version in (images, rounds[0]):
        features = toy_logits_and_features(version)[1]
        maps = np.maximum((features * WEIGHTS.T[LABELS][:, None, None]).sum(axis=-1), 0)
        sums = maps.sum(axis=(1, 2), keepdims=True)
        fractions.append(np.divide(maps, sums, out=np.zeros_like(maps), where=sums > 0))
    expected = np.abs(fractions[0] - fractions[1]).sum(axis=(1, 2))
    np.testing.assert_allclose(terms["preservation_loss"], expected, rtol=1e-7)


def aad(network=None, attack=None, run_eagerly=True, **options):
    """Eager, since single steps take less time than compiling them."""
    model = AADModel(network or small_network(), attack=attack or step_ll(0.1, 2), **options)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=run_eagerly)
    return model


@pytest.mark.parametrize(
    ("attack", "rounds", "expected"),
    [
        (step_ll(0.1, 2), None, 2),
        (pgd(0.1, 0.05, 2), None, 1),
        (step_ll(0.1, 2), "last", 1),
        (pgd(0.1, 0.05, 2), "all", 2),
    ],
)
def test_rounds_that_are_trained_on(attack, rounds, expected):
    model = aad(attack=attack, rounds=rounds)
    images = tf.constant(random_images())
    adversarial = model.adversarial_images(images, tf.constant(LABELS))
    assert adversarial.shape == (expected, 4, 8, 8, 1)
    every = attack.rounds_in_graph(model.classifier, images, LABELS, model.attack_seed())
    np.testing.assert_allclose(adversarial, every[-expected:], atol=1e-6)


def test_one_step_equals_one_by_hand():
    model, images = aad(), tf.constant(random_images())
    adversarial = model.adversarial_images(images, tf.constant(LABELS))
    with tf.GradientTape() as tape:
        terms, _ = model.training_losses(images, LABELS, adversarial, True)
        total = tf.reduce_mean(terms["loss"])
    gradients = tape.gradient(total, [each.value for each in model.trainable_variables])
    expected = [
        variable.numpy() - 0.01 * gradient
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    ]
    logs = model.train_on_batch(images, LABELS, return_dict=True)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, atol=1e-6)
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)
    parts = [logs[name] for name in AADModel.loss_names]
    np.testing.assert_allclose(np.dot(parts, [8, 4, 1]), total, rtol=1e-5)


@pytest.mark.parametrize("attack", [step_ll(0.1, 2), pgd(0.1, 0.05, 2)])
def test_an_update_per_round_attacks_the_updated_weights(attack):
    one_by_one, images = aad(attack=attack, update_per_round=True), tf.constant(random_images())
    by_hand = aad(attack=attack)
    current = attack.start(by_hand.classifier, images, by_hand.attack_seed())
    for _ in range(2):
        current = attack.step_in_graph(by_hand.classifier, current, images, LABELS)
        with tf.GradientTape() as tape:
            terms, _ = by_hand.training_losses(images, LABELS, current[None], True)
            total = tf.reduce_mean(terms["loss"])
        variables = by_hand.trainable_variables
        by_hand.optimizer.apply(tape.gradient(total, [v.value for v in variables]), variables)
    one_by_one.train_on_batch(images, LABELS)
    assert int(one_by_one.optimizer.iterations) == 2
    for ours, theirs in zip(one_by_one.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_masked_and_attack_passes_teach_batch_normalization_nothing():
    network = batch_norm_network()
    model = aad(network)
    images, before = tf.constant(random_images()), bytes_of(network.variables)
    adversarial = model.adversarial_images(images, tf.constant(LABELS))
    assert bytes_of(network.variables) == before
    # One update of the statistics, from clean images and rounds as one batch; momentum 0.9.
    batch = tf.concat([images, *tf.unstack(adversarial)], axis=0)
    inputs = network.get_layer("conv1")(batch).numpy()
    norm = network.get_layer("norm1")
    model.train_on_batch(images, LABELS)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * inputs.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * inputs.var((0, 1, 2)), atol=1e-6)


class Counted(layers.Layer):
    """Counts the examples that it gets in training, with a layer inside or without one."""

    def __init__(self, *inner):
        super().__init__()
        self.inner = list(inner)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, inputs, training=False):
        if training:
            self.count.assign_add(tf.cast(tf.shape(inputs)[0], tf.float32))
        for layer in self.inner:
            inputs = layer(inputs)
        return inputs


@pytest.mark.parametrize("inner", [(), (layers.Conv2D(1, 1),)])
def test_masked_images_teach_no_layer_at_any_depth(inner):
    """One pass of the clean images and of two rounds, four images each, is trained on."""
    counted = Counted(*inner)
    network = keras.Sequential([keras.Input(SHAPE), counted, *small_network().layers])
    aad(network).train_on_batch(random_images(), LABELS)
    assert float(counted.count) == 12


def test_statistics_are_those_of_layers_that_are_trained():
    norm, frozen = layers.BatchNormalization(), layers.BatchNormalization()
    counted = Counted(norm, frozen)
    network = keras.Sequential([keras.Input(SHAPE), counted, layers.Dropout(0.5)])
    frozen.trainable = False
    expected = [counted.count, norm.moving_mean, norm.moving_variance]
    assert list(map(id, moving_statistics(network))) == list(map(id, expected))
    counted.trainable = False
    assert moving_statistics(network) == []


@pytest.mark.parametrize("compiled", [False, True])
def test_statistics_are_kept_in_training_only(compiled):
    network = batch_norm_network()
    statistics = [variable for variable in network.variables if "moving" in variable.path]
    assert len(statistics) == 4

    def run(images, keep):
        with kept_statistics(network, keep):
            return network(images, training=True)

    run = tf.function(run) if compiled else run
    before = bytes_of(statistics)
    run(tf.constant(random_images()), True)
    assert bytes_of(statistics) == before
    run(tf.constant(random_images()), False)
    assert bytes_of(statistics) != before


def test_statistics_are_kept_when_the_pass_fails():
    network = batch_norm_network()
    before = bytes_of(network.variables)
    with pytest.raises(ArithmeticError), kept_statistics(network, True):
        network(tf.constant(random_images()), training=True)
        raise ArithmeticError
    assert bytes_of(network.variables) == before


def test_networks_with_open_sizes_train():
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    network = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(4, 3), *head])
    model = aad(network, losses=AADLosses.preset("reference_code"), run_eagerly=False)
    spec = (tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((None,), tf.int32))
    batches = [(random_images(2, (9, 9, 1)), LABELS[:2]), (random_images(3, (7, 8, 1)), LABELS[:3])]
    data = tf.data.Dataset.from_generator(lambda: batches, output_signature=spec)
    assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weights": (8, 4)},
            r"weights must be three finite numbers \(alpha, beta, gamma\).*got \(8, 4\)",
        ),
        *(
            ({"weights": weights}, "weights must be three finite numbers .* >= 0, got")
            for weights in [(8, 4, -1), (8, np.nan, 1), (8, np.inf, 1), (1, 2, 3, 4), "841", 8]
        ),
        ({"rounds": "first"}, "rounds must be 'all', 'last' or None, got 'first'"),
        ({"losses": AADLosses(fill=1.5)}, r"fill must lie within .*\[0.0, 1.0\].*got 1.5"),
        ({"losses": AADLosses(fill=(0, 0))}, r"one for each of the 1 channels .* got \(0.0, 0.0\)"),
        ({"losses": "papper"}, "Unknown loss preset 'papper'. Did you mean 'paper'"),
        ({"attention_layer": "pol"}, "No layer is named 'pol'. Did you mean 'pool'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        AADModel(small_network(), attack=fgsm(0.1), **options)


def test_a_classifier_brings_its_own_attention_layer():
    classifier = Classifier.from_keras(small_network(), "conv")
    assert AADModel(classifier, attack=fgsm(0.1)).classifier is classifier
    with pytest.raises(ValueError, match="explains layer 'conv', so attention_layer='pool' has no"):
        AADModel(classifier, attack=fgsm(0.1), attention_layer="pool")
