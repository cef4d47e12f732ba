"""Classifier.from_keras on every kind of Keras model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import grad_cam, superpixels
from aad_tf.classifier import Classifier
from aad_tf.plots import displayable
from aad_tf.types import Bounds
from aad_tf.utils.ops import project_linf
from tests.networks import (
    SHAPE,
    SubclassedNetwork,
    TracedCalls,
    called,
    random_images,
    small_network,
)

layers = keras.layers
IMAGES = random_images()


def functional():
    images = keras.Input(SHAPE)
    features = layers.Conv2D(4, 3, activation="relu", name="conv")(images)
    return keras.Model(images, layers.Dense(3)(layers.Flatten()(features)))


def nested(**call):
    backbone = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
        ],
        name="backbone",
    )
    images = keras.Input(SHAPE)
    features = backbone(images, **call)
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(features)))


# Name: how to build it, attention layer, shape of its output.
KINDS = {
    "sequential": (small_network, "pool", (3, 3, 4)),
    "functional": (functional, "conv", (6, 6, 4)),
    "nested": (nested, "relu", (6, 6, 4)),
    "nested in inference mode": (lambda: nested(training=False), "relu", (6, 6, 4)),
    "nested twice": (lambda: keras.Sequential([keras.Input(SHAPE), nested()]), "relu", (6, 6, 4)),
    "subclassed": (lambda: called(SubclassedNetwork()), "conv", (6, 6, 4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_features_are_the_models_own(kind):
    build, layer, shape = KINDS[kind]
    model = build()
    classifier = Classifier.from_keras(model)
    assert classifier.attention_layer == layer
    assert (classifier.num_classes, classifier.input_shape) == (3, SHAPE)
    assert classifier.variables == model.variables
    assert classifier.trainable_variables == model.trainable_variables
    logits, features = classifier(tf.constant(IMAGES))
    np.testing.assert_array_equal(logits, model(IMAGES))
    assert features.shape == (4, *shape)
    assert grad_cam(classifier, IMAGES, [0, 1, 2, 0]).shape == (4, *shape[:2])


def test_features_are_those_of_the_named_layer():
    model = small_network()
    inner = keras.Model(model.inputs[0], model.get_layer("conv").output)
    classifier = Classifier.from_keras(model, attention_layer="conv")
    np.testing.assert_array_equal(classifier(tf.constant(IMAGES)).features, inner(IMAGES))


def test_a_nested_layer_and_a_nested_model_can_be_named():
    model = nested()
    assert Classifier.from_keras(model, "norm").attention_layer == "norm"
    assert Classifier.from_keras(model, "backbone")(IMAGES).features.shape == (4, 6, 6, 4)


def test_weights_are_shared():
    model = small_network()
    classifier = Classifier.from_keras(model)
    before = classifier.predict_logits(IMAGES).numpy()
    model.get_layer("scores").bias.assign([1.0, 2.0, 3.0])
    after = classifier.predict_logits(IMAGES).numpy()
    np.testing.assert_allclose(after - before, np.tile([1.0, 2.0, 3.0], (4, 1)), atol=1e-6)


def single_precision_softmax():
    return small_network(layers.Activation("softmax", dtype="float32"), dtype="mixed_bfloat16")


SOFTMAXES = {
    "dense": lambda: small_network(final="softmax"),
    "activation": lambda: small_network(layers.Activation("softmax")),
    "layer": lambda: small_network(layers.Softmax()),
    "mixed precision": single_precision_softmax,
    "nested": lambda: keras.Sequential([keras.Input(SHAPE), small_network(layers.Softmax())]),
}


@pytest.mark.parametrize("kind", SOFTMAXES)
def test_a_final_softmax_is_taken_off_while_the_classifier_runs(kind):
    model = SOFTMAXES[kind]()
    own = model(IMAGES)
    classifier = Classifier.from_keras(model)
    both = tf.function(lambda images: (classifier(images).logits, model(images)))
    compiled_logits, compiled_own = both(tf.constant(IMAGES))
    for logits in (classifier(IMAGES).logits, classifier.predict_logits(IMAGES), compiled_logits):
        logits = tf.cast(logits, tf.float32)
        assert np.abs(np.sum(logits, axis=-1) - 1).max() > 1e-2
        np.testing.assert_allclose(tf.nn.softmax(logits), own, atol=1e-6)
    # The model itself still ends in its softmax, eager and compiled.
    np.testing.assert_array_equal(model(IMAGES), own)
    np.testing.assert_allclose(compiled_own, own, atol=1e-6)


def test_the_model_is_left_as_it_was_when_a_call_fails():
    model = small_network(final="softmax")
    classifier = Classifier.from_keras(model)
    with pytest.raises(ValueError, match="incompatible"):
        classifier(tf.zeros((1, 8, 8, 5)))
    np.testing.assert_allclose(tf.reduce_sum(model(IMAGES), -1), np.ones(4), rtol=1e-6)
    assert not [layer.name for layer in model.layers if "call" in vars(layer)]


def test_an_unbuilt_model_takes_the_shape_it_is_given():
    classifier = Classifier.from_keras(SubclassedNetwork(), input_shape=SHAPE)
    assert classifier(tf.constant(IMAGES)).features.shape == (4, 6, 6, 4)
    assert Classifier.from_keras(SubclassedNetwork(), "conv", input_shape=SHAPE).num_classes == 3


def test_a_layer_called_twice_means_its_last_call_by_default():
    twice = layers.Conv2D(1, 3, padding="same", name="twice")
    images = keras.Input(SHAPE)
    features = twice(twice(images))
    model = keras.Model(images, layers.Dense(3)(layers.Flatten()(features)))
    explained = Classifier.from_keras(model)(tf.constant(IMAGES)).features
    np.testing.assert_allclose(explained, keras.Model(images, features)(IMAGES), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "images", "logits", "maps"),
    [
        ("float64", "float64", "float64", "float64"),
        ("mixed_bfloat16", "float32", "bfloat16", "float32"),
        ("mixed_float16", "float32", "float16", "float32"),
        ("bfloat16", "bfloat16", "bfloat16", "float32"),
        ("float16", "float16", "float16", "float32"),
    ],
)
def test_the_networks_dtype_is_followed(dtype, images, logits, maps):
    network, exact = small_network(dtype=dtype), Classifier.from_keras(small_network())
    network.set_weights(exact.model.get_weights())
    classifier = Classifier.from_keras(network)
    assert classifier.dtype == images
    assert classifier.image_spec == tf.TensorSpec((None, *SHAPE), images)
    found = classifier(tf.cast(IMAGES, images)).logits
    assert found.dtype == logits
    found_maps = grad_cam(classifier, IMAGES, [0, 1, 2, 0])
    assert found_maps.dtype == maps
    expected = exact(tf.constant(IMAGES)).logits, grad_cam(exact, IMAGES, [0, 1, 2, 0])
    # bfloat16 carries 8 bits.
    for ours, theirs in zip((found, found_maps), expected, strict=True):
        np.testing.assert_allclose(tf.cast(ours, "float32"), theirs, atol=0.02)


def test_sizes_may_be_open():
    tail = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(4, 3), *tail])
    classifier = Classifier.from_keras(model)
    assert classifier.input_shape == (None, None, 1)
    assert grad_cam(classifier, np.zeros((2, 12, 9, 1), "float32"), [0, 1]).shape == (2, 10, 7)
    assert Classifier.from_keras(model, input_shape=(9, 8, 1)).input_shape == (9, 8, 1)


@pytest.mark.parametrize("smallest", [75, 200])
def test_networks_of_open_size_may_need_large_images(smallest):
    pool = layers.AveragePooling2D((smallest - 2, 1), strides=1)
    # A Rescaling in front, as in EfficientNet, holds an empty tensor: the shape of its scale.
    tail = [
        layers.Rescaling(1.0),
        layers.Conv2D(2, 3),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ]
    model = keras.Sequential([keras.Input((None, None, 1)), pool, *tail])
    classifier = Classifier.from_keras(model)
    assert classifier.input_shape == (None, None, 1)
    images = random_images(2, (smallest + 3, 5, 1))
    assert grad_cam(classifier, images, [0, 1]).shape == (2, 4, 3)


def test_probabilities_of_a_network_of_open_size_are_refused():
    tail = [
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
        layers.Lambda(lambda z: z * 0 + 1 / 3),
    ]
    pool = layers.AveragePooling2D((71, 1), strides=1)
    model = keras.Sequential([keras.Input((None, None, 1)), pool, layers.Conv2D(2, 3), *tail])
    with pytest.raises(ValueError, match="outputs are probabilities"):
        Classifier.from_keras(model)


PASSED_ON = {
    "dropout": lambda: layers.Dropout(0.5),
    "spatial dropout": lambda: layers.SpatialDropout2D(0.5),
    "noise": lambda: layers.GaussianNoise(0.1),
    "identity": layers.Identity,
    "linear activation": lambda: layers.Activation("linear"),
    "penalty": lambda: layers.ActivityRegularization(0.1),
}


@pytest.mark.parametrize("kind", PASSED_ON)
def test_the_default_layer_is_none_that_only_passes_on(kind):
    images = keras.Input(SHAPE)
    conv = layers.Conv2D(4, 3, activation="relu", name="conv")(images)
    passed_on = PASSED_ON[kind]()(layers.Dropout(0.5)(conv))
    model = keras.Model(images, layers.Dense(3)(layers.Flatten()(passed_on)))
    classifier = Classifier.from_keras(model)
    assert classifier.attention_layer == "conv"
    features = classifier(tf.constant(IMAGES), training=True).features
    np.testing.assert_allclose(features, keras.Model(images, conv)(IMAGES), atol=1e-6)
    # Whoever wants the layer itself names it.
    name = model.layers[-3].name
    assert Classifier.from_keras(model, name).attention_layer == name


@pytest.mark.parametrize("bounds", [(0, 1), [0.0, 1.0], np.array([0.0, 1.0])])
def test_bounds_may_be_any_pair(bounds):
    model = small_network()
    assert Classifier.from_keras(model, bounds=bounds).bounds == Bounds(0.0, 1.0)
    conv = model.get_layer("conv")
    made = Classifier(model, conv, None, 3, SHAPE, bounds)
    assert (made.bounds.lower, made.bounds.upper) == (0.0, 1.0)
    images = random_images(1, (16, 16, 3))
    labels = superpixels(images, num_segments=4, bounds=bounds)
    np.testing.assert_array_equal(labels, superpixels(images, num_segments=4))
    np.testing.assert_array_equal(displayable(images[0], bounds), displayable(images[0]))
    np.testing.assert_array_equal(
        project_linf(tf.constant([2.0]), tf.constant([1.0]), 0.5, bounds), [1.0]
    )


def test_a_cached_function_is_made_and_traced_once():
    classifier = Classifier.from_keras(small_network())
    traces, specs = [], []

    def largest(images):
        traces.append(images)
        return tf.reduce_max(classifier(images).logits, axis=-1)

    def signature():
        specs.append(classifier.image_spec)
        return specs

    made = [classifier.cached_function(("largest", 1), largest, signature) for _ in range(2)]
    assert made[0] is made[1] is classifier.compiled[("largest", 1)]
    for size in (1, 4, 3):
        expected = tf.reduce_max(classifier(IMAGES[:size]).logits, axis=-1)
        np.testing.assert_allclose(made[0](IMAGES[:size]), expected, atol=1e-6)
    assert (len(traces), len(specs)) == (1, 1)
    for size in (1, 4, 3):
        classifier.predict_logits(IMAGES[:size])
    assert classifier.compiled["logits"].experimental_get_tracing_count() == 1


def test_wrapping_traces_a_network_once_for_its_logits_too():
    noted = TracedCalls()
    model = small_network(middle=[noted])
    before = noted.count
    Classifier.from_keras(model).predict_logits(IMAGES)
    assert noted.count == before + 1


class RunsAgainAside(keras.Model):
    """Its last convolution also runs off the way to the logits, after them."""

    def __init__(self):
        super().__init__()
        self.first = keras.layers.Conv2D(1, 3, padding="same", name="first")
        self.shared = keras.layers.Conv2D(1, 3, padding="same", name="shared")
        self.logits = keras.layers.Dense(3)

    def call(self, images):
        features = self.shared(self.first(images))
        scores = self.logits(tf.reshape(features, [-1, 64]))
        self.aside = self.shared(features)
        return scores


def test_a_layer_that_runs_again_off_the_way_to_the_logits_is_not_the_default():
    network = RunsAgainAside()
    network(tf.zeros((1, 8, 8, 1)))
    classifier = Classifier.from_keras(network)
    assert classifier.attention_layer == "first"
    logits, features = classifier(tf.zeros((2, 8, 8, 1)))
    assert logits.shape == (2, 3) and features.shape == (2, 8, 8, 1)
