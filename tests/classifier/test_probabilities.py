"""Binary classifiers as two logits, and which outputs are no logits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import aad_tf
from aad_tf import attacks
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.classifier.probabilities import two_logits, without_final_activation
from aad_tf.defenses import AADModel, StandardModel
from tests.networks import SHAPE, random_images, small_network

layers = keras.layers
IMAGES = random_images(12)


def binary(*tail, activation=None, outputs=1, dtype=None, seed=1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3, activation="relu", name="conv", dtype=dtype),
            layers.GlobalAveragePooling2D(dtype=dtype),
            layers.Dense(outputs, activation=activation, name="score", dtype=dtype),
            *tail,
        ]
    )


def brightness(weight=40.0, bias=-20.0, activation="sigmoid") -> keras.Model:
    """p = sigmoid(weight * mean + bias); the features are the picture itself."""
    copy = layers.Conv2D(1, 1, use_bias=False, name="copy")
    score = layers.Dense(1, activation=activation, name="score")
    model = keras.Sequential([keras.Input(SHAPE), copy, layers.GlobalAveragePooling2D(), score])
    copy.set_weights([np.ones((1, 1, 1, 1))])
    score.set_weights([np.array([[weight]]), np.array([bias])])
    return model


def test_two_logits_by_hand():
    logits = two_logits(tf.constant([[3.0], [-1.0]]))
    np.testing.assert_array_equal(logits, [[-1.5, 1.5], [0.5, -0.5]])
    p = 1 / (1 + np.exp([-3.0, 1.0]))
    np.testing.assert_allclose(tf.nn.softmax(logits), np.stack([1 - p, p], 1), rtol=1e-6)


BINARY = {
    "activation of a layer": lambda: binary(activation="sigmoid"),
    "activation layer": lambda: binary(layers.Activation("sigmoid")),
    "float32 behind bfloat16": lambda: binary(
        layers.Activation("sigmoid", dtype="float32"), dtype="mixed_bfloat16"
    ),
    "nested": lambda: keras.Sequential([keras.Input(SHAPE), binary(activation="sigmoid")]),
}


@pytest.mark.parametrize("kind", BINARY)
def test_the_softmax_of_both_logits_is_what_the_sigmoid_gives(kind):
    model = BINARY[kind]()
    p = np.array(model(IMAGES))
    classifier = Classifier.from_keras(model)
    assert (classifier.num_classes, classifier.attention_layer) == (2, "conv")
    for logits in (classifier(IMAGES).logits, classifier.predict_logits(IMAGES)):
        found = tf.nn.softmax(tf.cast(logits, tf.float32))
        np.testing.assert_allclose(found, np.concatenate([1 - p, p], 1), atol=1e-6)
        np.testing.assert_array_equal(np.argmax(logits, 1), p[:, 0] > 0.5)
    # The model itself still ends in its sigmoid.
    np.testing.assert_array_equal(model(IMAGES), p)


SCORES = {
    "dense": binary,
    "scaled": lambda: binary(layers.Lambda(lambda z: 1 - z / 3)),
    "reshaped": lambda: binary(layers.Reshape((1,))),
    "normalized": lambda: binary(layers.BatchNormalization()),
    "pooled": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(1, 3), layers.GlobalAveragePooling2D()]
    ),
}


@pytest.mark.parametrize("kind", SCORES)
def test_one_output_without_a_sigmoid_is_the_score_before_it(kind):
    model = SCORES[kind]()
    z = np.array(model(IMAGES))
    logits = Classifier.from_keras(model)(IMAGES).logits
    np.testing.assert_allclose(logits, np.concatenate([-z / 2, z / 2], 1), atol=1e-6)


def by_hand(z):
    return 1 / (1 + tf.exp(-z))


REFUSED = {
    "sigmoid function": (
        lambda: binary(layers.Lambda(tf.nn.sigmoid)),
        "ends in a sigmoid that cannot be taken off.*from_logits=True",
    ),
    "sigmoid by hand": (lambda: binary(layers.Lambda(by_hand)), "output is made by RealDiv"),
    "hard sigmoid": (lambda: binary(activation="hard_sigmoid"), "output is made by Relu6"),
    "behind a sigmoid": (
        lambda: binary(layers.Reshape((1,)), activation="sigmoid"),
        "output is made by Sigmoid.*activation='sigmoid'",
    ),
    "tanh": (lambda: binary(activation="tanh"), "output is made by Tanh"),
    "square": (lambda: binary(layers.Lambda(tf.square)), "output is made by Square"),
    "product": (lambda: binary(layers.Lambda(lambda z: z * z)), "output is made by Mul"),
    "softmax of one": (lambda: binary(activation="softmax"), "softmax of a single output"),
    "several labels": (
        lambda: binary(activation="sigmoid", outputs=5),
        "sigmoid of 5 outputs, so an image may have several labels.*one sigmoid output for two",
    ),
    "several labels by a hard sigmoid": (
        lambda: binary(activation="hard_sigmoid", outputs=5),
        r"outputs are probabilities \(they lie in \[0, 1\]\)",
    ),
    "several labels by hand": (
        lambda: binary(layers.Lambda(by_hand), outputs=5),
        r"outputs are probabilities \(they lie in \[0, 1\]\)",
    ),
    "one number per image": (
        lambda: binary(layers.Lambda(lambda z: z[:, 0])),
        r"got shape \(None,\) of float32. For two classes.*\[batch, 1\]",
    ),
    "class numbers": (
        lambda: binary(layers.Lambda(lambda z: tf.argmax(z, -1)[:, None]), outputs=3),
        r"must return logits .*got shape \(None, 1\) of int64.*floating-point",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_what_is_no_score_of_classes(kind):
    build, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(build())


def test_logits_that_happen_to_lie_between_0_and_1_are_logits():
    model = binary(outputs=3)
    model.get_layer("score").set_weights([np.zeros((4, 3)), np.array([0.1, 0.3, 0.5])])
    np.testing.assert_allclose(Classifier.from_keras(model)(IMAGES).logits[0], [0.1, 0.3, 0.5])


def test_log_probabilities_are_logits_as_they_are():
    model = small_network(final="log_softmax")
    classifier = Classifier.from_keras(model)
    logits = classifier(IMAGES).logits
    np.testing.assert_array_equal(logits, model(IMAGES))
    plain = Classifier.from_keras(small_network())
    np.testing.assert_allclose(tf.nn.softmax(logits), tf.nn.softmax(plain(IMAGES).logits), 1e-5)
    labels = np.arange(12) % 3
    attacked = [attacks.fgsm(0.1)(each, IMAGES, labels) for each in (classifier, plain)]
    np.testing.assert_allclose(*attacked, atol=1e-6)


def test_attacks_and_maps_of_a_binary_classifier_by_hand():
    classifier = Classifier.from_keras(brightness())
    images = np.full((2, *SHAPE), 0.5, "float32")
    images[:, :4] = 0.7
    # Class 1 is bright, so FGSM darkens images of class 1 and brightens those of class 0.
    attacked = attacks.fgsm(0.1)(classifier, images, [1, 0])
    np.testing.assert_allclose(attacked - images, [images[0] * 0 - 0.1, images[1] * 0 + 0.1], 1e-4)
    # Each pixel has a gradient of +-20 / 64 in the logits (-z / 2, z / 2), z = 40 mean - 20.
    maps = grad_cam(classifier, images, [1, 0])
    np.testing.assert_allclose(maps[0], 20 / 64 * images[0, ..., 0], rtol=1e-5)
    np.testing.assert_array_equal(maps[1], np.zeros((8, 8)))
    # What is dark speaks for class 0 where brightness has a negative weight.
    dark = Classifier.from_keras(brightness(-40.0, 20.0))
    np.testing.assert_allclose(grad_cam(dark, images, [0, 1])[0], maps[0], rtol=1e-5)


def test_robust_accuracy_of_a_binary_classifier_by_hand():
    levels = np.array([0.42, 0.3, 0.56, 0.8], "float32")
    images = np.ones((4, *SHAPE), "float32") * levels[:, None, None, None]
    # Brighter than 0.5 is class 1; within 0.1 of it FGSM turns the class over.
    report = aad_tf.evaluate_robustness(brightness(), (images, [0, 0, 1, 1]), attacks.fgsm(0.1))
    assert report.summary["attacks"][0]["clean_accuracy"] == 1.0
    assert report.robust_accuracy("fgsm") == 0.5


def test_training_is_that_of_binary_cross_entropy():
    labels = np.arange(12) % 2
    plain, held = binary(activation="sigmoid"), binary(activation="sigmoid")
    plain.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    model = StandardModel(held)
    model.compile(keras.optimizers.SGD(0.5), metrics=["accuracy"])
    options = {"batch_size": 6, "shuffle": False, "verbose": 0, "epochs": 2}
    expected = plain.fit(IMAGES, labels, **options).history["loss"]
    # Labels as image_dataset_from_directory(label_mode="binary") gives them.
    found = model.fit(IMAGES, labels[:, None].astype("float32"), **options).history["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for one, other in zip(plain.get_weights(), held.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert model.predict(IMAGES, verbose=0).shape == (12, 2)
    assert (model.network.output_shape, model.network.layers[-1].activation) == (
        (None, 1),
        keras.activations.sigmoid,
    )


def test_the_losses_of_a_defence_by_hand():
    images, labels = IMAGES[:4], np.array([0, 1, 1, 0])
    model = AADModel(brightness(), attack=attacks.step_ll(0.0), weights=(1, 0, 0))
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(images, labels, batch_size=4, verbose=0).history
    z = 40 * images.mean(axis=(1, 2, 3)) - 20
    cross_entropy = np.log1p(np.exp(np.where(labels == 1, -z, z))).mean()
    # Summed over the clean image and one round, which with a step of zero is the clean image.
    assert history["classification_loss"][0] == pytest.approx(2 * cross_entropy, rel=1e-5)
    assert history["accuracy"][0] == np.mean((z > 0) == labels)


def test_an_export_of_a_binary_classifier_serves_both_probabilities(tmp_path):
    model = binary(activation="sigmoid")
    path = aad_tf.export.export_saved_model(Classifier.from_keras(model), tmp_path / "exported")
    served = tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(IMAGES))
    p = np.array(model(IMAGES))
    np.testing.assert_allclose(served["probabilities"], np.concatenate([1 - p, p], 1), atol=1e-6)
    assert served["logits"].shape == (12, 2)


def test_the_functions_of_tensorflow_take_their_arguments_by_name():
    """By hand: softmax of (0, ln 3) is (1/4, 3/4), the sigmoid of ln 3 is 3/4; x and 1 - 2 x."""
    scores = tf.constant([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(tf.nn.softmax(logits=scores, axis=-1), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(tf.nn.sigmoid(x=scores), [[0.5, 0.75]], rtol=1e-6)
    mean, variance = tf.nn.moments(x=tf.constant([1.0, 3.0]), axes=[0])
    assert (float(mean), float(variance)) == (2.0, 1.0)


class NamedSoftmax(layers.Softmax):
    def call(self, inputs):
        return tf.nn.softmax(logits=inputs, axis=-1)


class NamedSigmoid(layers.Activation):
    def call(self, inputs):
        return tf.nn.sigmoid(x=inputs)


@pytest.mark.parametrize("layer", [NamedSoftmax(), NamedSigmoid("sigmoid")])
def test_a_layer_that_names_the_scores_is_stripped(layer):
    scores = tf.constant([[0.0, 1.0]])
    with without_final_activation(layer):
        np.testing.assert_array_equal(layer(scores), scores)
