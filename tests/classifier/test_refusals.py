"""What Classifier.from_keras refuses, and that it says why and what to do."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks, models
from aad_tf.attacks import fgsm
from aad_tf.attention import grad_cam, superpixels
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.export import export_saved_model, load_classifier
from aad_tf.types import Bounds
from tests.networks import SHAPE, SubclassedNetwork, called, random_images, small_network

layers = keras.layers


def softmax_by_hand():
    return layers.Lambda(lambda z: tf.exp(z) / tf.reduce_sum(tf.exp(z), -1, keepdims=True))


def softmax_used_twice():
    softmax = layers.Softmax(name="both")
    return small_network(softmax, middle=[softmax])


PROBABILITIES = {
    "lambda": (
        lambda: small_network(layers.Lambda(tf.nn.softmax)),
        "ends in a softmax that cannot be taken off.*from_logits=True",
    ),
    "function as activation": (
        lambda: small_network(final=tf.nn.softmax),
        "ends in a softmax that cannot be taken off",
    ),
    "subclassed": (
        lambda: called(SubclassedNetwork(softmax=True)),
        "ends in a softmax that cannot be taken off",
    ),
    "written by hand": (
        lambda: small_network(softmax_by_hand()),
        "outputs are probabilities.*Remove the final softmax",
    ),
    "used elsewhere": (softmax_used_twice, "'both' is used elsewhere in the model too"),
}


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_probabilities_that_cannot_be_turned_into_logits(kind):
    build, message = PROBABILITIES[kind]
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(build())


class CompiledNetwork(SubclassedNetwork):
    """Its call is a graph by itself."""

    call = tf.function(SubclassedNetwork.call)


def network_of(*after_input, shape=SHAPE):
    return keras.Sequential([keras.Input(shape), *after_input])


def flat_end():
    return [layers.Flatten(), layers.Dense(3)]


UNSUITABLE = {
    "dense only": (lambda: network_of(*flat_end()), "No layer .* has spatial features.*convol"),
    "pixels as features": (
        lambda: network_of(layers.Rescaling(2.0), *flat_end()),
        "No layer .* has spatial features",
    ),
    "grid of one cell": (
        lambda: network_of(layers.Conv2D(4, 8), *flat_end()),
        "No layer .* has spatial features",
    ),
    "compiled call": (lambda: called(CompiledNetwork()), "Layers conv, .*separate function"),
    "vectors": (
        lambda: network_of(layers.Dense(3), shape=(8,)),
        r"must take images .* takes inputs of shape \[batch, 8\]",
    ),
    "maps as outputs": (
        lambda: network_of(layers.Conv2D(4, 3)),
        r"must return logits \[batch, classes\], got shape \(None, 6, 6, 4\)",
    ),
    "unbuilt": (
        lambda: keras.Sequential([layers.Conv2D(4, 3), *flat_end()]),
        "input shape of this model is not known yet. Call it once",
    ),
    "unbuilt class": (SubclassedNetwork, r"pass input_shape=\(height, width, channels\)"),
}


@pytest.mark.parametrize("kind", UNSUITABLE)
def test_models_that_are_no_convolutional_classifiers(kind):
    build, message = UNSUITABLE[kind]
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(build())


class OfKeras2:
    """Named as a model of the package tf_keras."""

    __module__ = "tf_keras.src.engine.sequential"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "lenet", "must be a keras.Model of Keras 3, got str"),
        (OfKeras2, r"Keras 3, got OfKeras2 of tf_keras \(Keras 2\)"),
        (lambda: Classifier.from_keras(small_network()), "is a Classifier already"),
        (lambda: StandardModel(small_network()), r"\(StandardModel\): pass its .classifier, or"),
    ],
)
def test_what_is_no_model(make, message):
    with pytest.raises(TypeError, match=message):
        Classifier.from_keras(make())


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        (Bounds(1.0, 0.0), ValueError, r"finite, with lower < upper, got \(1.0, 0.0\)"),
        ((0, 0), ValueError, "finite, with lower < upper"),
        ((0, float("nan")), ValueError, "finite, with lower < upper"),
        ((0, float("inf")), ValueError, "finite, with lower < upper"),
        (1.0, TypeError, r"a pair \(lower, upper\) of numbers, got 1.0"),
        ((0, 1, 2), TypeError, "a pair"),
        ("ab", TypeError, "a pair"),
    ],
)
def test_what_is_no_pixel_range(bounds, error, message):
    for refused in (
        lambda: Classifier.from_keras(small_network(), bounds=bounds),
        lambda: superpixels(random_images(1, (8, 8, 3)), bounds=bounds),
    ):
        with pytest.raises(error, match=message):
            refused()


def test_a_network_of_open_size_that_takes_no_usual_one():
    pool = layers.AveragePooling2D((598, 1), strides=1)
    tail = [layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    model = network_of(pool, *tail, shape=(None, None, 1))
    message = r"takes none of 64, 128, 256, 512 pixels .* input_shape=\(height, width, channels\)"
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(model)
    assert Classifier.from_keras(model, input_shape=(601, 4, 1)).num_classes == 3


def test_the_advice_for_an_unbuilt_network_works_in_a_defence():
    unbuilt = keras.Sequential([layers.Conv2D(4, 3), *flat_end()])
    assert StandardModel(unbuilt, input_shape=SHAPE).classifier.input_shape == SHAPE


@pytest.mark.parametrize("make", [small_network, lambda: StandardModel(small_network())])
def test_attacks_and_maps_name_the_way_to_a_classifier(make):
    images, labels = random_images(), [0, 1, 2, 0]
    for call in (fgsm(0.1), fgsm(0.1).rounds, grad_cam):
        with pytest.raises(TypeError, match=r"got (Sequential|StandardModel).*from_keras\(model\)"):
            call(make(), images, labels)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convv", r"No layer is named 'convv'. Did you mean 'conv'\? Known: conv, pool."),
        ("attention", "No layer is named 'attention'. Known: conv, pool."),
        ("scores", "'scores' gives no spatial grid .* Candidates: conv, pool."),
    ],
)
def test_unknown_attention_layers_list_near_names_and_candidates(name, message):
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(small_network(), name)


def test_an_attention_layer_that_is_called_twice():
    twice = layers.Conv2D(1, 3, padding="same", name="twice")
    images = keras.Input(SHAPE)
    once = layers.Conv2D(1, 1, name="once")
    model = keras.Model(images, layers.Dense(3)(layers.Flatten()(twice(twice(once(images))))))
    with pytest.raises(ValueError, match="'twice' is called 2 times .* Name another one: once"):
        Classifier.from_keras(model, "twice")


def test_an_attention_layer_inside_a_compiled_call():
    with pytest.raises(ValueError, match="Layers conv run inside a separate function"):
        Classifier.from_keras(called(CompiledNetwork()), "conv")


def resize(method):
    return layers.Lambda(lambda z: tf.image.resize(z, (9, 9), method), name="between")


def resize_one_by_one():
    return layers.Lambda(
        lambda z: tf.map_fn(lambda one: tf.image.resize(one, (9, 9)), z), name="between"
    )


UNSAFE = {
    "upsampling": (
        lambda: layers.UpSampling2D(2, interpolation="bilinear", name="between"),
        "ResizeBilinear",
    ),
    "resizing": (lambda: layers.Resizing(9, 9, name="between"), "ResizeBilinear"),
    "nearest": (lambda: resize("nearest"), "ResizeNearestNeighbor"),
    "bicubic": (lambda: resize("bicubic"), "ResizeBicubic"),
    "area": (lambda: resize("area"), "ResizeArea"),
    "lanczos": (lambda: resize("lanczos3"), "ScaleAndTranslate"),
    "inside a loop": (resize_one_by_one, "ResizeBilinear"),
    "response normalization": (lambda: models.LocalResponseNormalization(name="between"), "LRN"),
    "softsign": (lambda: layers.Activation("softsign", name="between"), "Softsign"),
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_layers_without_correct_second_derivative(kind):
    build, operation = UNSAFE[kind]
    model = small_network(middle=[build()])
    message = rf"Between attention layer 'conv' .*between.*\({operation}\).*attention_layer="
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(model, "conv")
    # What comes after the attention layer counts: the default, pool, is after it. After a loop it
    # is not known where in the image cells lie.
    if operation == "ResizeArea":
        with pytest.raises(ValueError, match=r"gradient .* by the images.*between.*ResizeArea"):
            Classifier.from_keras(model)
    elif kind != "inside a loop":
        assert Classifier.from_keras(model).attention_layer == "pool"


SAFE = {
    "nearest upsampling": lambda: layers.UpSampling2D(2),
    "transposed convolution": lambda: layers.Conv2DTranspose(4, 2),
    "batch normalization": layers.BatchNormalization,
    "layer normalization": layers.LayerNormalization,
    "pooling": lambda: layers.AveragePooling2D(2, strides=1),
}


@pytest.mark.parametrize("kind", SAFE)
def test_layers_with_correct_second_derivative_may_stand_between(kind):
    model = small_network(middle=[SAFE[kind]()])
    assert Classifier.from_keras(model, "conv").attention_layer == "conv"


def test_moments_that_were_not_corrected():
    # TensorFlow's own function escapes the correction, which is made where Keras looks it up.
    moments = inspect.unwrap(tf.nn.moments)
    layer = layers.Lambda(lambda z: z / moments(z, [1, 2], keepdims=True)[1], name="between")
    with pytest.raises(ValueError, match=r"between.*\(moments\)"):
        Classifier.from_keras(small_network(middle=[layer]), "conv")


class Bent(keras.Model):
    """Runs its images, features or scores through an operation."""

    def __init__(self, images=tf.identity, features=tf.identity, scores=tf.identity):
        super().__init__()
        self.conv, self.dense = layers.Conv2D(2, 3, name="conv"), layers.Dense(3)
        self.bends = images, features, scores

    def call(self, images):
        on_images, on_features, on_scores = self.bends
        features = on_features(self.conv(on_images(images)))
        return on_scores(self.dense(tf.reduce_mean(features, [1, 2])))


WITHOUT_IMAGE_GRADIENT = {
    "rounded images": ({"images": lambda x: tf.round(255 * x) / 255}, "Round"),
    "whole numbers": ({"images": lambda x: tf.cast(tf.cast(x, tf.int32), tf.float32)}, "Cast"),
    "uint8": ({"images": lambda x: tf.cast(tf.cast(x, tf.uint8), tf.float32)}, "Cast"),
    "pixels of 8 bits": (
        {"images": lambda x: tf.cast(tf.image.convert_image_dtype(x, tf.uint8), tf.float32)},
        "Cast",
    ),
}
GRADIENT_ENDS = {
    "floor": ({"features": tf.floor}, "Floor"),
    "above zero": ({"features": lambda f: tf.cast(f > 0, tf.float32)}, "Cast"),
    "numpy": ({"features": lambda f: numpy_function(f)}, "PyFunc"),
    "stopped": ({"scores": tf.stop_gradient}, "StopGradient"),
    "argmax": ({"scores": lambda z: 9 * tf.one_hot(tf.argmax(z, -1), 3)}, "OneHot"),
}


def numpy_function(features):
    result = tf.numpy_function(np.abs, [features], tf.float32)
    result.set_shape(features.shape)
    return result


@pytest.mark.parametrize("kind", GRADIENT_ENDS)
def test_networks_without_a_gradient_by_the_features(kind):
    bends, operation = GRADIENT_ENDS[kind]
    # With other weights the two images that are tried may have scores that look like probabilities.
    keras.utils.set_random_seed(0)
    model = called(Bent(**bends))
    message = rf"No gradient of the logits reaches the images.*it ends at .*\({operation}\)"
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(model)


@pytest.mark.parametrize("kind", WITHOUT_IMAGE_GRADIENT)
def test_networks_without_a_gradient_by_the_images(kind):
    """Attacks that need it refuse the network, and name those that do without; maps need none."""
    bends, operation = WITHOUT_IMAGE_GRADIENT[kind]
    classifier = Classifier.from_keras(called(Bent(**bends)))
    images, labels = random_images(), [0, 1, 2, 0]
    message = (
        rf"No gradient of the logits reaches the images.*it ends at .*\({operation}\)"
        r".*custom_gradient.*BPDA.*square\(epsilon\).*surrogate="
    )
    with pytest.raises(ValueError, match=message):
        fgsm(0.1)(classifier, images, labels)
    if kind != "rounded images":
        return
    for attack in (attacks.fab(0.1, nearest_by="distance"), attacks.auto_attack(0.1)):
        with pytest.raises(ValueError, match=message):
            attack(classifier, images, labels)


@pytest.mark.parametrize("kind", ["stopped", *WITHOUT_IMAGE_GRADIENT])
def test_maps_of_networks_without_a_gradient_by_the_images(kind, tmp_path):
    """They are those of the rest of the network on the images that it gets, also exported."""
    bends = {"stopped": {"images": tf.stop_gradient}}
    bends |= {name: bent for name, (bent, _) in WITHOUT_IMAGE_GRADIENT.items()}
    bend = bends[kind]["images"]
    bounds, labels = (0.0, 9.0), [0, 1, 2, 0]
    images = tf.constant(9 * random_images())
    if "8 bits" in kind:
        bounds, images = (0.0, 1.0), images / 9
    keras.utils.set_random_seed(0)
    bent, plain = called(Bent(bend)), called(Bent())
    plain.set_weights(bent.get_weights())
    classifier = Classifier.from_keras(bent, bounds=bounds)
    expected = grad_cam(Classifier.from_keras(plain, bounds=(0.0, 256.0)), bend(images), labels)
    exported = load_classifier(export_saved_model(classifier, tmp_path / "exported"))
    for each in (classifier, exported):
        np.testing.assert_allclose(grad_cam(each, images, labels), expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(expected) > 0


def test_an_attention_layer_without_a_gradient():
    class PastTheImages(Bent):
        def call(self, images):
            rounded = tf.reduce_mean(tf.round(self.conv(images)), [1, 2])
            return self.dense(rounded + tf.reduce_mean(images, [1, 2]))

    with pytest.raises(ValueError, match=r"reaches layer 'conv'.*\(Round\)"):
        Classifier.from_keras(called(PastTheImages()))


def test_operations_with_a_gradient_of_their_own_are_taken():
    @tf.custom_gradient
    def straight_through(x):
        return tf.round(255 * x) / 255, lambda gradient: gradient

    classifier, images = Classifier.from_keras(called(Bent(straight_through))), random_images()
    assert np.abs(fgsm(0.1)(classifier, images, [0, 1, 2, 0]) - images).max() > 0.05
