"""ResNet-50, CBAM + ResNet-50 and VGG-16: published sizes, grids, options, one step of training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AADModel, Classifier, attacks, models
from aad_tf.attention.grad_cam import class_gradients

IMAGENET = {"stem": "imagenet"}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "parameters"),
    [
        # As torchvision counts ResNet-50 and VGG-16, and the authors of CBAM theirs: 28.09 M.
        ("resnet50", (224, 224, 3), 1000, IMAGENET, 25_557_032),
        ("cbam_resnet50", (224, 224, 3), 1000, IMAGENET, 28_089_624),
        ("vgg16", (224, 224, 3), 1000, {**IMAGENET, "batch_norm": False}, 138_357_544),
        # As pytorch-cifar counts them, whose VGG has biases that the normalization undoes.
        ("resnet50", (32, 32, 3), 10, {}, 23_520_842),
        ("vgg16", (32, 32, 3), 10, {}, 14_728_266 - 4_224),
    ],
)
def test_sizes_are_the_published_ones(name, shape, classes, options, parameters):
    # Within the scope, which makes no values, shapes are known all the same.
    with keras.StatelessScope(initialize_variables=False):
        model = models.build(name, shape, classes, **options)
    assert model.name == name and model.output_shape == (None, classes)
    assert trainable(model) == parameters


@pytest.mark.parametrize(
    ("name", "size", "stem", "layer", "grid"),
    [
        ("resnet50", 28, "small_stride_2", "block4_3_out", 2),
        ("vgg16", 28, "small", "conv5_3_relu", 2),
        ("vgg16", 64, "small", "pool5", 2),
    ],
)
def test_grids_of_attention(name, size, stem, layer, grid):
    model = models.build(name, (size, size, 1), 10, width=0.25, stem=stem)
    classifier = Classifier.from_keras(model)
    assert classifier.attention_layer == layer
    images = np.random.RandomState(0).uniform(size=(2, size, size, 1)).astype("float32")
    # What Grad-CAM is made of, which it compiles.
    _, features, gradients = class_gradients(classifier, tf.constant(images), tf.constant([1, 2]))
    assert features.shape[:3] == gradients.shape[:3] == (2, grid, grid)
    assert np.isfinite(features).all() and np.isfinite(gradients).all()


def test_small_images_are_padded_with_black_inside_the_network():
    network = models.vgg16((28, 27, 1), 3, width=1 / 16, pad_to=32)
    whole = models.vgg16((32, 32, 1), 3, width=1 / 16)
    whole.set_weights(network.get_weights())
    images = np.random.RandomState(0).uniform(size=(2, 28, 27, 1)).astype("float32")
    padded = np.pad(images, ((0, 0), (2, 2), (2, 3), (0, 0)))
    np.testing.assert_array_equal(network(images), whole(padded))
    classifier = Classifier.from_keras(network)
    assert classifier.attention_layer == "conv5_3_relu" and classifier.zero_pixel == (0.5,)
    with keras.StatelessScope(initialize_variables=False):
        for name, size, grid in (("cbam_resnet50", 28, 4), ("resnet50", 40, 5)):
            residual = models.build(name, (size, size, 1), 3, pad_to=32)
            assert residual.get_layer("block4_3_out").output.shape[1:3] == (grid, grid)
            assert any(layer.name == "pad" for layer in residual.layers) == (size < 32)


def test_channels_follow_the_width():
    model = models.resnet50((32, 32, 3), 10, width=0.25)
    assert Classifier.from_keras(model).attention_layer == "block4_3_out"
    assert [model.get_layer(f"block{stage}_1_out").output.shape[1:] for stage in (1, 2, 3, 4)] == [
        (32, 32, 64),
        (16, 16, 128),
        (8, 8, 256),
        (4, 4, 512),
    ]
    strided = models.resnet50((32, 32, 3), 10, width=0.25, stem="small_stride_2")
    assert strided.get_layer("block1_1_out").output.shape[1:] == (16, 16, 64)
    assert strided.get_layer("block4_3_out").output.shape[1:] == (2, 2, 512)
    assert trainable(strided) == trainable(model)
    assert models.vgg16((32, 32, 3), 10, width=0.5).get_layer("pool5").output.shape[1:] == (
        1,
        1,
        256,
    )
    small = models.vgg16((32, 32, 3), 10, width=1 / 16, stem="imagenet", dropout_rate=0.25)
    assert small.get_layer("fc7").units == 256 and small.get_layer("fc6_dropout").rate == 0.25


def test_attention_stands_behind_each_block_and_before_the_shortcut():
    model = models.cbam_resnet50((32, 32, 3), 10, width=0.25)
    cbam = [layer for layer in model.layers if isinstance(layer, models.CBAM)]
    assert len(cbam) == 16
    add = model.get_layer("block2_1_add")
    sources = {tensor._keras_history.operation.name for tensor in add.input}
    assert sources == {"block2_1_cbam", "block2_1_shortcut_norm"}
    assert cbam[0].input._keras_history.operation.name == "block1_1_expand_norm"


@pytest.mark.parametrize("name", ["cbam_resnet50", "vgg16"])
def test_weight_decay_is_that_of_every_kernel(name):
    model = models.build(name, (32, 32, 1), 10, width=1 / 4, weight_decay=5e-4)
    kernels = [weight for weight in model.trainable_weights if weight.name == "kernel"]
    expected = sum(2.5e-4 * np.sum(np.square(kernel)) for kernel in kernels)
    np.testing.assert_allclose(sum(model.losses), expected, rtol=1e-4)


@pytest.mark.long
def test_a_compiled_step_of_attention_training_in_bfloat16():
    network = models.build("cbam_resnet50", (20, 20, 1), 3, width=1 / 4, dtype="mixed_bfloat16")
    model = AADModel(network, attack=attacks.step_ll(0.1, num_steps=2))
    model.compile(keras.optimizers.SGD(0.01))
    images = np.random.RandomState(0).uniform(size=(4, 20, 20, 1)).astype("float32")
    history = model.fit(images, np.array([0, 1, 2, 0]), batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert network.output.dtype == "float32"


@pytest.mark.parametrize(
    ("name", "shape", "options", "match"),
    [
        ("resnet50", (32, 32, 3), {"attention": "se"}, "attention"),
        ("resnet50", (32, 32, 3), {"stem": "large"}, "stem"),
        ("cbam_resnet50", (32, 32, 3), {"width": 1 / 32}, "has 8 channels .* at least 1/16"),
        ("resnet50", (15, 32, 3), {}, "at least 16, got 15x32"),
        ("resnet50", (16, 32, 3), {"stem": "small_stride_2"}, "at least 17, got 16x32"),
        ("cbam_resnet50", (32, 32, 3), IMAGENET, "at least 64, got 32x32"),
        ("vgg16", (16, 16, 3), {}, "at least 17, got 16x16"),
        ("vgg16", (32, 32, 3), {"stem": "small_stride_2"}, "stem"),
        ("vgg16", (8, 8, 3), {"pad_to": 16}, "at least 17, got 8x8, padded to 16. Resize"),
    ],
)
def test_bad_options(name, shape, options, match):
    with pytest.raises(ValueError, match=match):
        models.build(name, shape, 10, **options)
