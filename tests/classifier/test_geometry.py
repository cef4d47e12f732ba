"""Where in the image cells lie, against what gradients say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.classifier.geometry import is_grid, is_tokens, lost_share, overhang
from aad_tf.classifier.geometry_rules import layouts

layers = keras.layers
SIDE = 16


def tokens_and_back(x):
    x = layers.Permute((2, 1, 3))(layers.Reshape((SIDE * SIDE, 3))(x)[:, tf.newaxis])
    return layers.Reshape((SIDE, SIDE, 3))(x)


def windows_of_two(x):
    """From [.., 2 * h, 2 * w, c] to [.., h, w, 4 * c], as patches are embedded."""
    half = SIDE // 2
    x = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((half, 2, half, 2, 3))(x))
    return layers.Reshape((half, half, 12))(x)


def shuffled_pixels(x):
    """Channels become cells, by reshaping."""
    x = tf.repeat(x, 4, axis=-1)
    x = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((SIDE, SIDE, 2, 2, 3))(x))
    return layers.Reshape((2 * SIDE, 2 * SIDE, 3))(x)


def ones(kind, *args, **kwargs):
    """A layer whose output depends on all that it reads."""
    names = {
        layers.SeparableConv2D: ("depthwise", "pointwise"),
        layers.DepthwiseConv2D: ("depthwise",),
    }.get(kind, ("kernel",))
    return kind(*args, **kwargs, **{f"{name}_initializer": "ones" for name in names})


# Each gives a grid of the image, and how far it reaches beyond it (before, after), in cells.
GRIDS = {
    "convolution": (ones(layers.Conv2D, 2, 3), (0, 0)),
    "stride": (ones(layers.Conv2D, 2, 3, strides=2, padding="same"), (0, 0)),
    "border and stride": (
        keras.Sequential([layers.ZeroPadding2D(3), ones(layers.Conv2D, 2, 7, strides=2)]),
        (0, 0),
    ),
    "border on one side": (
        keras.Sequential(
            [
                layers.ZeroPadding2D(((0, 1), (0, 1))),
                ones(layers.DepthwiseConv2D, 3, strides=2),
            ]
        ),
        (0, 0),
    ),
    "border": (layers.ZeroPadding2D(2), (2, 2)),
    "border by concatenation": (
        lambda x: tf.concat([tf.zeros((2, 3, SIDE, 3)), x], axis=1),
        (3, 0),
    ),
    "dilation": (ones(layers.Conv2D, 2, 3, dilation_rate=2, padding="same"), (0, 0)),
    "groups": (ones(layers.Conv2D, 3, 3, groups=3), (0, 0)),
    "separable": (ones(layers.SeparableConv2D, 2, 3, dilation_rate=2, padding="same"), (0, 0)),
    "transposed": (ones(layers.Conv2DTranspose, 2, 2, strides=2), (0, 0)),
    "pooling": (layers.AveragePooling2D(2), (0, 0)),
    "channels first": (
        lambda x: layers.Permute((2, 3, 1))(
            layers.AveragePooling2D(2, data_format="channels_first")(layers.Permute((3, 1, 2))(x))
        ),
        (0, 0),
    ),
    "upsampling": (layers.UpSampling2D(2), (0, 0)),
    "resizing": (layers.Resizing(24, 20), (0, 0)),
    "dense": (ones(layers.Dense, 2), (0, 0)),
    "einsum": (ones(layers.EinsumDense, "abcd,de->abce", (None, None, 4)), (0, 0)),
    "channels reversed": (lambda x: x[..., ::-1], (0, 0)),
    "channels gathered": (lambda x: tf.gather(x, [2, 0], axis=-1), (0, 0)),
    "every second cell": (lambda x: x[:, 1::2, ::2], (0, 0)),
    "space to depth": (lambda x: tf.nn.space_to_depth(x, 2), (0, 0)),
    "tokens and back": (tokens_and_back, (0, 0)),
    "windows": (windows_of_two, None),
    "shuffled pixels": (shuffled_pixels, (0, 0)),
    "crop": (lambda x: x[:, 2:-3], (-2, -3)),
    "crop of tokens' grid": (lambda x: tf.slice(x, [0, 2, 0, 0], [-1, 8, -1, -1]), (-2, -6)),
    "crop in the middle": (layers.CenterCrop(8, 12), (-4, -4)),
    "crop after stride": (lambda x: layers.AveragePooling2D(2)(x)[:, 1:], (-1, 0)),
    "bounding box": (lambda x: tf.image.crop_to_bounding_box(x, 3, 1, 8, 8), (-3, -5)),
    "sum of crops": (lambda x: x[:, 2:] + x[:, :-2], (-2, 0)),
    "gate of the whole image": (
        lambda x: x * tf.sigmoid(tf.reduce_mean(x[:, 4:8], (1, 2), keepdims=True)),
        (0, 0),
    ),
    "group normalization": (layers.GroupNormalization(3), (0, 0)),
}


def traced(function, shape=(SIDE, SIDE, 3)):
    function = tf.function(function, autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec((2 if shape[0] else None, *shape)))
    return concrete.outputs[0], layouts(concrete.graph, concrete.inputs[0])


@pytest.mark.parametrize("kind", GRIDS)
def test_cells_lie_where_gradients_say(kind):
    function, margins = GRIDS[kind]
    images = tf.constant(np.random.default_rng(0).uniform(size=(2, SIDE, SIDE, 3)), tf.float32)
    function(images)  # Layers are built.
    compiled = tf.function(function, autograph=False)
    concrete = compiled.get_concrete_function(tf.TensorSpec((None, SIDE, SIDE, 3)))
    output, found = concrete.outputs[0], layouts(concrete.graph, concrete.inputs[0])
    if margins is None:
        assert not is_grid(output, found)
        return
    assert is_grid(output, found)
    layout = found[output.ref()]
    np.testing.assert_allclose(layout.margins.rows, margins, atol=1e-6)
    cells = output.shape[1]
    before, after = margins
    for cell in (cells // 4, cells // 2):
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = tf.reduce_sum(compiled(images)[0, cell, output.shape[2] // 2])
        gradient = np.abs(tape.gradient(value, images))[0].sum(axis=(1, 2))
        # What acts on the whole image adds a little everywhere.
        gradient[gradient < 0.2 * gradient.max()] = 0
        center = (gradient * (np.arange(SIDE) + 0.5)).sum() / gradient.sum()
        expected = (cell + 0.5 - before) * SIDE / (cells - before - after)
        assert center == pytest.approx(expected, abs=1.01)


NO_GRIDS = {
    "flip": lambda x: x[:, ::-1],
    "reverse": lambda x: tf.reverse(x, [2]),
    "roll": lambda x: tf.roll(x, 2, 1),
    "transposed image": lambda x: tf.transpose(x, [0, 2, 1, 3]),
    "channels first": lambda x: tf.transpose(x, [0, 3, 1, 2]),
    "scrambled": lambda x: tf.reshape(tf.transpose(x, [0, 3, 1, 2]), tf.shape(x)),
    "tokens and heads": lambda x: tf.reshape(x, (-1, SIDE * SIDE, 3, 1)),
    "two images side by side": lambda x: tf.concat([x, x], axis=1),
    "parts of the image": lambda x: tf.split(x, 2, axis=1)[1],
    "images of the batch mixed": lambda x: x + tf.reverse(x, [0]),
    "sum with its transpose": lambda x: x + tf.transpose(x, [0, 2, 1, 3]),
    "rotation": lambda x: tf.raw_ops.ImageProjectiveTransformV3(
        images=x,
        transforms=[[0.0, 1, 0, 1, 0, 0, 0, 0]],
        output_shape=(SIDE, SIDE),
        fill_value=0.0,
        interpolation="BILINEAR",
    ),
    "mean of rows": lambda x: tf.tile(tf.reduce_mean(x, (1, 2), keepdims=True), [1, 4, 4, 1]),
    "loop": lambda x: tf.map_fn(tf.sin, x),
}


@pytest.mark.parametrize("kind", NO_GRIDS)
def test_what_is_no_grid_of_the_image(kind):
    output, found = traced(NO_GRIDS[kind])
    assert not is_grid(output, found)


def attention_over_tokens(x):
    tokens = tf.reshape(x, (-1, SIDE * SIDE, 3))
    scores = tf.nn.softmax(tf.matmul(tokens, tokens, transpose_b=True))
    return tokens + tf.einsum("bqk,bkc->bqc", scores, tokens)


def test_attention_gives_tokens_that_lie_where_its_queries_do():
    output, found = traced(attention_over_tokens)
    assert is_tokens(output, found)
    output, found = traced(lambda x: tf.reshape(attention_over_tokens(x), tf.shape(x)))
    assert is_grid(output, found) == (output.shape[1] == SIDE)
    output, found = traced(lambda x: tf.reshape(attention_over_tokens(x), (-1, SIDE, SIDE, 3)))
    assert is_grid(output, found) and not is_tokens(output, found)


@pytest.mark.parametrize(
    ("function", "margins"),
    [
        (lambda x: x[:, 2:-3], (-2, -3)),
        (lambda x: tf.pad(x, [(0, 0), (1, 2), (0, 0), (0, 0)]), (1, 2)),
        (layers.UpSampling2D(2), (0, 0)),
        (layers.Dense(4), (0, 0)),
        (layers.GroupNormalization(3), (0, 0)),
    ],
)
def test_sizes_may_be_open(function, margins):
    function(tf.zeros((2, 8, 8, 3)))
    output, found = traced(function, (None, None, 3))
    assert is_grid(output, found)
    assert found[output.ref()].margins.rows == pytest.approx(margins)


def test_the_share_that_is_lost_and_the_border_in_cells():
    output, found = traced(lambda x: x[:, 4:, 1:])
    assert lost_share(found[output.ref()]) == pytest.approx(4 / SIDE)
    output, found = traced(lambda x: tf.pad(x, [(0, 0), (1, 2), (0, 0), (0, 0)])[:, ::2])
    layout = found[output.ref()]
    assert (lost_share(layout), overhang(layout)) == (0, pytest.approx(1.0))
