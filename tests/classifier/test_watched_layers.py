"""Wrapping a network leaves its layers as their owner made them, patches included."""

from __future__ import annotations

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.classifier import Classifier, tracing
from aad_tf.classifier.probabilities import without_final_activation
from aad_tf.classifier.second_order import exact_moments
from aad_tf.export.module import NetworkModule
from tests.networks import SHAPE, random_images, small_network

IMAGES = tf.constant(random_images())
layers = keras.layers


class DoubledByCall(layers.Conv2D):
    """Its class was patched, as a probe or an adapter of weights would."""


DoubledByCall.call = lambda self, inputs: 2 * layers.Conv2D.call(self, inputs)


class DoubledAround(layers.Conv2D):
    """Patched one level further out."""

    def __call__(self, *args, **kwargs):
        return 2 * super().__call__(*args, **kwargs)


class DoubledAfterwards(layers.Conv2D):
    """Its class was patched where Keras looks calls up."""


DoubledAfterwards.__call__ = lambda self, *args, **kwargs: (
    2 * keras.Layer.__call__(self, *args, **kwargs)
)
CLASSES = {"class": DoubledByCall, "around": DoubledAround, "afterwards": DoubledAfterwards}


def patched_network(kind: str) -> keras.Model:
    conv = CLASSES.get(kind, layers.Conv2D)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            conv(4, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", name="scores"),
        ]
    )
    if kind == "instance":
        conv_layer = model.get_layer("conv")
        unpatched = conv_layer.call
        conv_layer.call = lambda inputs: 2 * unpatched(inputs)
    if kind == "softmax":
        scores = model.get_layer("scores")
        unscaled = scores.call
        scores.call = lambda inputs, **options: unscaled(2 * inputs, **options)
    return model


def state_of(model: keras.Model) -> list[dict]:
    return [
        {name: id(value) for name, value in vars(layer).items() if name in ("call", "activation")}
        for layer in model._flatten_layers()
    ]


@pytest.mark.parametrize("kind", ["none", "instance", "softmax", *CLASSES])
def test_what_an_owner_put_on_a_layer_stays_and_takes_part(kind: str) -> None:
    model = patched_network(kind)
    before, state = model(IMAGES).numpy(), state_of(model)
    classifier = Classifier.from_keras(model)
    logits, features = classifier(IMAGES)
    NetworkModule(classifier)
    assert state_of(model) == state
    np.testing.assert_array_equal(model(IMAGES), before)
    np.testing.assert_allclose(tf.nn.softmax(logits), before, atol=1e-6)
    assert classifier.attention_layer == "conv"
    # What stands around a layer's call comes after the output of the layer.
    ratio = {"instance": 2.0, "class": 2.0}.get(kind, 1.0)
    plain = patched_network("none").get_layer("conv")
    np.testing.assert_allclose(features, ratio * plain(IMAGES), atol=1e-6)


def test_a_patch_on_a_layer_inside_a_nested_model_stays() -> None:
    inner = patched_network("instance")
    images = keras.Input(SHAPE)
    model = keras.Model(images, inner(images))
    before, state = model(IMAGES).numpy(), state_of(model)
    classifier = Classifier.from_keras(model)
    logits, features = classifier(IMAGES)
    NetworkModule(classifier)
    assert state_of(model) == state
    np.testing.assert_array_equal(model(IMAGES), before)
    np.testing.assert_allclose(tf.nn.softmax(logits), before, atol=1e-6)
    np.testing.assert_array_equal(features, inner.get_layer("conv")(IMAGES))


def test_a_layer_that_fails_is_left_alone_and_the_next_call_works() -> None:
    model = patched_network("none")
    classifier = Classifier.from_keras(model)
    conv = model.get_layer("conv")
    expected = classifier(IMAGES)

    def broken(*args, **kwargs):
        raise ArithmeticError("a probe failed")

    conv.call = broken
    with pytest.raises(ArithmeticError, match="a probe failed"):
        classifier(IMAGES)
    assert conv.call is broken
    del conv.call
    for found, value in zip(classifier(IMAGES), expected, strict=True):
        np.testing.assert_array_equal(found, value)


def test_nested_recordings_see_the_same_calls() -> None:
    model = small_network()
    conv, outer, inner = model.get_layer("conv"), [], []
    with tracing.recording([conv], outer.append):
        model(IMAGES)
        with tracing.recording([conv], inner.append):
            model(IMAGES)
    model(IMAGES)
    assert (len(outer), len(inner)) == (2, 1)
    assert outer[1].output is inner[0].output


def test_of_nested_contexts_the_inner_gets_what_the_outer_returns() -> None:
    model = small_network()
    conv, found = model.get_layer("conv"), []
    expected = conv(IMAGES)
    with (
        tracing.around_calls([conv], lambda layer, call: 2 * call()),
        tracing.recording([conv], found.append),
    ):
        model(IMAGES)
    np.testing.assert_array_equal(found[0].output, 2 * expected)


def test_threads_meet_inside_a_call_and_do_not_see_each_others_contexts() -> None:
    model = patched_network("none")
    logits = Classifier.from_keras(model)(IMAGES).logits.numpy()
    probabilities = model(IMAGES).numpy()
    found: dict[str, list] = {"first": [], "second": []}
    outputs: dict[str, np.ndarray] = {}
    meeting = threading.Barrier(3, timeout=30)
    conv, scores = model.get_layer("conv"), model.get_layer("scores")

    def run(name: str) -> None:
        def meet(layer, call):
            meeting.wait()
            return call()

        with (
            exact_moments(),
            without_final_activation(scores),
            tracing.around_calls([conv], meet),
            tracing.recording([conv], found[name].append),
        ):
            outputs[name] = model(IMAGES).numpy()

    threads = [threading.Thread(target=run, args=(name,)) for name in found]
    for thread in threads:
        thread.start()
    # Both are inside a layer now; a third thread has the network as it is.
    outputs["plain"] = model(IMAGES).numpy()
    meeting.wait()
    for thread in threads:
        thread.join()
    assert [len(calls) for calls in found.values()] == [1, 1]
    np.testing.assert_array_equal(outputs["first"], logits)
    np.testing.assert_array_equal(outputs["second"], logits)
    np.testing.assert_array_equal(outputs["plain"], probabilities)
    np.testing.assert_array_equal(model(IMAGES), probabilities)


class TwoSoftmaxes(layers.Dense):
    """Uses a softmax inside too, so it is not clear which one ends the model."""

    def call(self, inputs):
        return super().call(tf.nn.softmax(inputs))


def test_a_final_layer_with_another_softmax_inside_is_refused() -> None:
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3),
            layers.Flatten(),
            TwoSoftmaxes(3, activation="softmax", name="last"),
        ]
    )
    with pytest.raises(ValueError, match="final layer 'last' computes 2 softmaxes"):
        Classifier.from_keras(model)


def test_paths_of_shared_and_nested_layers_are_unique():
    """A layer held twice has the outer path; a model named as one of its layers has its own."""
    shared = keras.layers.Dense(4, name="shared")
    values = keras.Input((4,))
    inner = keras.Model(values, keras.layers.Dense(4, name="dense")(shared(values)), name="inner")
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(4, name="dense")(shared(inner(inputs)))
    model = keras.Model(inputs, outputs, name="dense")
    outer = {layer.name: layer for layer in model.layers}
    paths = tracing.layer_paths(model)
    for layer, path in (
        (shared, "shared"),
        (inner, "inner"),
        (inner.get_layer("dense"), "inner/dense"),
        (outer["dense"], "dense"),
        (model, "dense_2"),
    ):
        assert paths[id(layer)] == path
    assert len(set(paths.values())) == len(paths)
