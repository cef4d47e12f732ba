"""Which layer attention maps explain by default, and what cannot be explained."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import fgsm
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.defenses import AADModel
from tests.networks import random_images

layers = keras.layers
SHAPE = (16, 16, 3)
IMAGES = random_images(2, SHAPE)


def network(*before, shape=SHAPE, after=()):
    """Layers of choice around the convolution `conv`; a new network has the same weights."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(shape),
            *before,
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            *after,
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="scores"),
        ]
    )


def branching(join, stem=True):
    """A network that ends in what `join` makes of images or of the output of `stem`."""
    images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", name="stem")(images) if stem else images
    x = join(x)
    pooled = layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
    return keras.Model(images, layers.Dense(3)(pooled))


def convolution(name, channels=4, **options):
    return layers.Conv2D(channels, 3, padding="same", name=name, **options)


def channel_gate(x):
    weights = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    return x * layers.Reshape((1, 1, 4))(weights)


def attention_module(x):
    """CBAM: channels, then cells, are weighted."""
    x = channel_gate(x)
    mean, largest = (f(x, axis=-1, keepdims=True) for f in (keras.ops.mean, keras.ops.max))
    gate = convolution("gate", 1, activation="sigmoid")(keras.ops.concatenate([mean, largest], -1))
    return x * gate


def towers(x):
    return layers.Concatenate()(
        [layers.GlobalAveragePooling2D()(convolution(name)(x)) for name in ("left", "right")]
    )


# What joins the branches, and whether that is what the default explains.
JOINED = {
    "gate": lambda x: x * convolution("gate", 1, activation="sigmoid")(x),
    "gate by a layer": lambda x: layers.Multiply()([x, convolution("gate", 4)(x)]),
    "shortcut": lambda x: x + convolution("branch")(x),
    "shortcut by a layer": lambda x: layers.Add()([x, convolution("branch")(x)]),
    "channels": channel_gate,
    "channels and cells": attention_module,
    "activation": lambda x: keras.ops.relu(x),
}


@pytest.mark.parametrize("kind", JOINED)
def test_the_default_explains_what_all_goes_through(kind):
    model = branching(JOINED[kind])
    joined = model.layers[-2].input
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = Classifier.from_keras(model)
    expected = keras.Model(model.input, joined)(IMAGES)
    np.testing.assert_allclose(classifier(IMAGES).features, expected, atol=1e-6)
    assert grad_cam(classifier, IMAGES, [0, 1]).shape == (2, 16, 16)
    # The name holds in copies, and so in files, and in what describes the classifier.
    copy = Classifier.from_keras(keras.models.clone_model(model))
    assert copy.attention_layer == classifier.attention_layer
    copy = Classifier.from_config(classifier.get_config())
    assert copy.attention_layer == classifier.attention_layer


def test_operations_that_pool_are_no_grid():
    model = branching(lambda x: keras.ops.mean(x, (1, 2)))
    assert Classifier.from_keras(model).attention_layer == "stem"


class GatedInside(keras.Model):
    """Multiplies in its call, where no layer has the product."""

    def __init__(self):
        super().__init__()
        self.stem = convolution("stem")
        self.gate = convolution("gate", 1, activation="sigmoid")
        self.scores = layers.Dense(3)

    def call(self, images):
        features = self.stem(images)
        return self.scores(tf.reduce_mean(features * self.gate(features), (1, 2)))


PARTIAL = {
    "gate of a class": (
        GatedInside,
        "stem",
        "'stem', the last one with a grid that all goes through .*: stem. .* layers 'gate'",
    ),
    "towers on a stem": (lambda: branching(towers), "stem", "later layers 'left', 'right'"),
    "towers": (
        lambda: branching(towers, stem=False),
        None,
        "'(left|right)', but what goes through '(left|right)' decides too, and there is no layer",
    ),
    "windows": (
        lambda: branching(lambda x: convolution("end")(layers.Lambda(lambda z: z[:, ::-1])(x))),
        "stem",
        r"'stem'. .* later layers .*'end'.* is not known after layer 'lambda\w*' \(StridedSlice\)",
    ),
}


@pytest.mark.parametrize("kind", PARTIAL)
def test_a_warning_says_what_goes_past_the_default(kind):
    build, layer, message = PARTIAL[kind]
    model = build()
    with pytest.warns(UserWarning, match=message) as caught:
        classifier = Classifier.from_keras(model, input_shape=SHAPE)
    assert [each.filename for each in caught if "explain" in str(each.message)] == [__file__]
    if layer is not None:
        assert classifier.attention_layer == layer
    # Whoever names a layer has chosen.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier.from_keras(model, classifier.attention_layer, input_shape=SHAPE)


def tokens_network(stem, *back, blocks=2):
    """Attention over the cells of `stem`, as tokens."""
    images = keras.Input(SHAPE)
    x = stem(images)
    grid = x.shape[1:]
    x = layers.Reshape((grid[0] * grid[1], grid[2]))(x)
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 2, dropout=0.1)(y, y)])
        x = layers.Add()([x, layers.Dense(grid[2], activation="gelu")(x)])
    if not back:
        return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    x = layers.Reshape(grid)(x)
    for layer in back:
        x = layer(x)
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def patches(activation=None):
    return layers.Conv2D(4, 4, strides=4, activation=activation, name="patches")


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_plain_transformer_is_refused_with_the_layer_that_can_be_named(blocks):
    model = tokens_network(patches(), blocks=blocks)
    with pytest.raises(ValueError, match=r"spatial features.*tokens.*\(attention_layer=...\): pat"):
        Classifier.from_keras(model)
    for name in ("value", "query", "key"):
        with pytest.raises(ValueError, match=r"spatial grid .* Candidates: patches\.$"):
            Classifier.from_keras(model, name)
    classifier = Classifier.from_keras(model, "patches")
    assert grad_cam(classifier, IMAGES, [0, 1]).shape == (2, 4, 4)


class ClassToken(layers.Layer):
    """Numbers the cells of a grid, and puts a token of the class in front of them."""

    def build(self, shape):
        self.token = self.add_weight((1, 1, shape[-1]))

    def call(self, grid):
        batch, channels = keras.ops.shape(grid)[0], grid.shape[-1]
        tokens = keras.ops.reshape(grid, (batch, -1, channels))
        first = keras.ops.broadcast_to(self.token, (batch, 1, channels))
        return keras.ops.concatenate([first, tokens], 1)


def test_a_vision_transformer_with_a_class_token_is_refused():
    images = keras.Input(SHAPE)
    x = ClassToken(name="tokens")(patches()(images))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 2)(x, x)])
    model = keras.Model(images, layers.Dense(3)(x[:, 0]))
    with pytest.raises(
        ValueError, match=r"from 'tokens' on, .*\(attention_layer=...\): patches\.$"
    ):
        Classifier.from_keras(model)
    classifier = Classifier.from_keras(model, "patches")
    assert grad_cam(classifier, IMAGES, [0, 1]).shape == (2, 4, 4)


def test_convolutions_before_attention_are_explained():
    assert Classifier.from_keras(tokens_network(patches("relu"))).attention_layer == "patches"


def test_tokens_that_become_a_grid_again_are_explained():
    model = tokens_network(patches(), convolution("head"), blocks=1)
    assert Classifier.from_keras(model).attention_layer == "head"


def channels_first(*before, shape, data_format="channels_first"):
    return keras.Sequential(
        [
            keras.Input(shape),
            *before,
            layers.Conv2D(4, 3, data_format=data_format, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(data_format=data_format),
            layers.Dense(3),
        ]
    )


@pytest.mark.parametrize(
    "model",
    [
        lambda: channels_first(shape=(3, 16, 16)),
        lambda: channels_first(layers.Permute((3, 1, 2)), shape=SHAPE),
        lambda: channels_first(convolution("stem"), layers.Permute((3, 1, 2)), shape=SHAPE),
    ],
)
def test_channels_first_networks_are_refused(model):
    for name in (None, "conv"):
        with pytest.raises(ValueError, match="conv.* channels_first.*data_format='channels_last'"):
            Classifier.from_keras(model(), name)


def test_the_weights_of_a_channels_first_network_may_be_taken_over():
    first = channels_first(shape=(3, 16, 16))
    last = channels_first(shape=SHAPE, data_format="channels_last")
    last.set_weights(first.get_weights())
    classifier = Classifier.from_keras(last)
    conv, scores = first.layers[0], first.layers[-1]
    features = tf.nn.relu(tf.nn.conv2d(IMAGES, conv.kernel, 1, "VALID") + conv.bias)
    expected = tf.reduce_mean(features, (1, 2)) @ scores.kernel + scores.bias
    np.testing.assert_allclose(classifier(IMAGES).logits, expected, atol=1e-5)


def named(kind, *args, **kwargs):
    return lambda: kind(*args, **kwargs, name="first")


MISPLACED = {
    "crop in the middle": (named(layers.CenterCrop, 8, 8), "cuts off"),
    "crop": (named(layers.Cropping2D, ((0, 4), (0, 0))), "cuts off"),
    "crop inside a model": (
        lambda: keras.Sequential([keras.Input(SHAPE), layers.CenterCrop(8, 8, name="first")]),
        "cuts off",
    ),
    "crop to aspect ratio": (
        named(layers.Resizing, 8, 12, crop_to_aspect_ratio=True),
        "cuts off",
    ),
    "slice": (named(layers.Lambda, lambda x: x[:, 3:]), "cuts off"),
    "bounding box": (
        named(layers.Lambda, lambda x: tf.image.crop_to_bounding_box(x, 0, 0, 8, 8)),
        "cuts off",
    ),
    "border": (named(layers.ZeroPadding2D, 2), "puts a border around"),
    "border on one side": (named(layers.ZeroPadding2D, ((0, 3), (0, 0))), "puts a border around"),
    "border to aspect ratio": (
        named(layers.Resizing, 8, 12, pad_to_aspect_ratio=True),
        "moves them, or its effect is not known",
    ),
    "flip": (named(layers.Lambda, lambda x: x[:, ::-1]), "moves them"),
    "roll": (named(layers.Lambda, lambda x: tf.roll(x, 3, 1)), "moves them"),
}


@pytest.mark.parametrize("kind", MISPLACED)
def test_maps_that_would_not_lie_on_the_image_are_refused(kind):
    build, message = MISPLACED[kind]
    with pytest.raises(ValueError, match=rf"ayer 'first' \(\w+\) {message}.*in tf.data"):
        Classifier.from_keras(network(build()))


PLACED = {
    "crop that takes nothing": lambda: layers.CenterCrop(16, 16),
    "resizing": lambda: layers.Resizing(20, 12),
    "aspect ratio as it is": lambda: layers.Resizing(8, 8, crop_to_aspect_ratio=True),
    "border that a crop takes off": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.ZeroPadding2D(2), layers.CenterCrop(16, 16)]
    ),
    "border that a convolution takes off": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.ZeroPadding2D(3), layers.Conv2D(3, 7, strides=2)]
    ),
    "random in training": lambda: layers.RandomRotation(0.2),
    "order of channels": lambda: layers.Lambda(lambda x: x[..., ::-1] - 0.5),
}


@pytest.mark.parametrize("kind", PLACED)
def test_maps_that_lie_on_the_image_are_not(kind):
    assert Classifier.from_keras(network(PLACED[kind]())).attention_layer == "conv"


def test_the_advice_on_crops_leads_to_the_same_logits_and_to_maps_of_the_crop():
    cropping = network(layers.CenterCrop(8, 8))
    classifier = Classifier.from_keras(network(shape=(8, 8, 3)))
    batches = tf.data.Dataset.from_tensor_slices(IMAGES).batch(2).map(layers.CenterCrop(8, 8))
    (cropped,) = batches
    np.testing.assert_allclose(classifier(cropped).logits, cropping(IMAGES), atol=1e-6)
    assert grad_cam(classifier, cropped.numpy(), [0, 1]).shape == (2, 6, 6)


def test_a_crop_of_features_leaves_the_layers_before_it():
    model = network(convolution("stem"), layers.Cropping2D(3, name="crop"))
    with pytest.raises(ValueError, match="Layer 'crop' .*attention layer before it: 'stem'."):
        Classifier.from_keras(model)
    assert Classifier.from_keras(model, "stem").attention_layer == "stem"
    # What comes after the attention layer does not matter.
    after = network(after=[layers.Cropping2D(2), layers.Lambda(lambda x: x[:, ::-1])])
    assert Classifier.from_keras(after, "conv").attention_layer == "conv"


def padded_before_each_convolution(size):
    """As MobileNet pads; images of 16 pixels end in a single cell."""
    border = ((0, 1), (0, 1))
    images = keras.Input((size, size, 3))
    x = layers.ZeroPadding2D(border, name="first_pad")(images)
    x = layers.Conv2D(4, 3, strides=8, activation="relu", name="stem")(x)
    x = layers.ZeroPadding2D(border, name="second_pad")(x)
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="last")(x)
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(("size", "explained"), [(16, "stem"), (32, "last")])
def test_the_border_that_a_convolution_takes_off_is_not_explained(size, explained):
    model = padded_before_each_convolution(size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Classifier.from_keras(model).attention_layer == explained
    with pytest.raises(ValueError, match=r"^Layer 'second_pad' \(Pad\) puts .* it: 'stem'"):
        Classifier.from_keras(model, "second_pad")


def test_messages_list_the_last_of_many_layers():
    many = [layers.Activation("relu") for _ in range(20)]
    model = network(convolution("first"), *many, convolution("stem"))
    with pytest.raises(ValueError, match=r"Candidates: \.\.\., (\w+, ){10}stem, conv\.$"):
        Classifier.from_keras(model, "scores")


def test_a_crop_beside_the_path_that_sees_all_is_allowed():
    # As in NASNet, where one branch is shifted by a cell.
    def shifted(x):
        moved = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
        return layers.Concatenate(name="both")(
            [layers.AveragePooling2D(1, 2)(x), layers.AveragePooling2D(1, 2)(moved)]
        )

    assert Classifier.from_keras(branching(shifted)).attention_layer == "both"


RANDOM = {
    "flip": lambda: layers.RandomFlip("horizontal", name="first"),
    "translation": lambda: layers.RandomTranslation(0.2, 0.2, name="first"),
    "rotation": lambda: layers.RandomRotation(0.2, name="first"),
    "zoom": lambda: layers.RandomZoom(0.2, name="first"),
    "crop": lambda: layers.RandomCrop(8, 8, name="first"),
    "brightness": lambda: layers.RandomBrightness(0.2, (0, 1), name="first"),
    "contrast": lambda: layers.RandomContrast(0.2, (0, 1), name="first"),
    "block": lambda: keras.Sequential([layers.RandomFlip(name="first"), layers.RandomZoom(0.1)]),
    "own": lambda: RandomlyFlipped(name="first"),
    "features": lambda: keras.Sequential([convolution("stem"), layers.RandomFlip(name="first")]),
}


class RandomlyFlipped(layers.Layer):
    """Draws without a seed generator of Keras."""

    def call(self, images, training=False):
        return tf.image.random_flip_left_right(images) if training else images


@pytest.mark.parametrize("kind", RANDOM)
def test_aad_refuses_what_is_random_in_training_and_attacks_do_not(kind):
    model = network(RANDOM[kind]())
    seeds = [np.array(each) for each in model.non_trainable_variables]
    classifier = Classifier.from_keras(model)
    assert fgsm(0.1)(classifier, IMAGES, [0, 1]).shape == IMAGES.shape
    for held in (model, classifier):
        with pytest.raises(ValueError, match=r"^Layer 'first' .* at random.*augment in tf.data"):
            AADModel(held, attack=fgsm(0.1))
    for before, after in zip(seeds, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, after)


class BrightenedInside(keras.Model):
    """Changes images in its own call."""

    def __init__(self):
        super().__init__()
        self.conv, self.scores = convolution("conv"), layers.Dense(3)

    def call(self, images, training=False):
        if training:
            images = tf.image.random_brightness(images, 0.2)
        return self.scores(tf.reduce_mean(self.conv(images), (1, 2)))


def test_what_a_model_changes_by_itself_is_found_too():
    with pytest.raises(ValueError, match="Operation .*brightness.* at random"):
        AADModel(BrightenedInside(), attack=fgsm(0.1), input_shape=SHAPE)


class TransposedInside(BrightenedInside):
    """Exchanges rows and columns in training only."""

    def call(self, images, training=False):
        if training:
            images = tf.transpose(images, (0, 2, 1, 3))
        return self.scores(tf.reduce_mean(self.conv(images), (1, 2)))


def test_images_that_are_turned_in_training_alone():
    with pytest.raises(ValueError, match="What comes before the attention layer moves"):
        AADModel(TransposedInside(), attack=fgsm(0.1), input_shape=SHAPE)


QUIET = {
    "dropout": lambda: layers.Dropout(0.2),
    "dropout of channels": lambda: layers.SpatialDropout2D(0.2),
    "noise": lambda: layers.GaussianNoise(0.1),
    "normalization in training": layers.BatchNormalization,
}


@pytest.mark.parametrize("kind", QUIET)
def test_aad_takes_dropout_noise_and_what_follows_the_attention_layer(kind):
    model = network(QUIET[kind](), after=[layers.RandomFlip()])
    state = [np.array(each) for each in model.variables]
    AADModel(model, attack=fgsm(0.1), attention_layer="conv")
    for before, after in zip(state, model.variables, strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_advice_on_augmentation_trains():
    augmentation = keras.Sequential([layers.RandomFlip(seed=0)])
    batches = tf.data.Dataset.from_tensors((IMAGES, np.array([0, 1], "int32")))
    batches = batches.map(lambda x, y: (augmentation(x, training=True), y))
    model = AADModel(network(), attack=fgsm(0.0))
    model.compile("sgd")
    # An attack of size 0 leaves maps as they are.
    history = model.fit(batches, verbose=0).history
    assert history["preservation_loss"][0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "scope",
    [
        {"mode": "full"},
        {"mode": "list_of_layers", "layer_names": ["conv", "scores"]},
        {"mode": "larger_than", "output_size_threshold": 1},
    ],
)
def test_a_network_that_keras_cannot_compile(scope):
    with keras.RematScope(**scope):
        model = network()
    message = rf"RematScope\(mode='{scope['mode']}'\).*clone_model.*set_weights"
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(model)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    np.testing.assert_allclose(Classifier.from_keras(copy)(IMAGES).logits, model(IMAGES), atol=1e-6)


def test_a_softmax_whose_activation_is_recomputed_cannot_be_bypassed():
    def probabilities():
        images = keras.Input(IMAGES.shape[1:])
        features = layers.Conv2D(2, 3, activation="relu")(images)
        pooled = layers.GlobalAveragePooling2D()(features)
        return keras.Model(images, layers.Dense(3, activation="softmax")(pooled))

    with keras.RematScope(mode="activations"):
        model = probabilities()
    with pytest.raises(ValueError, match=r"RematScope\(mode='activations'\).*clone_model"):
        Classifier.from_keras(model)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    found = tf.nn.softmax(Classifier.from_keras(copy)(IMAGES).logits)
    np.testing.assert_allclose(found, model(IMAGES), atol=1e-6)
