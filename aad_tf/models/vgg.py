"""VGG-16, on which the CBAM study makes the images of its transfer attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from aad_tf.models.layers import check_dropout_rate, network_dtypes, rescaled, scaled, slim_l2
from aad_tf.models.registry import check_image_shape, check_num_classes, register
from aad_tf.models.resnet import batch_normalization, he_fan_out
from aad_tf.utils.checks import check_choice

STEMS = ("small", "imagenet")
_FILTERS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_SMALLEST_IMAGE = 17
_REASON = "halves the image four times and must keep a feature map of at least 2x2"


@register("vgg16")
def vgg16(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    *,
    stem: str = "small",
    width: float = 1.0,
    batch_norm: bool = True,
    dropout_rate: float = 0.5,
    weight_decay: float = 0.0,
    pad_to: int | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Builds VGG-16.

    Layers: rescale ([0, 1] to [-1, 1]), thirteen 3x3 convolutions conv1_1 to conv5_3, whose outputs
    are layers such as conv5_3_relu, max pooling pool1 to pool5 after each of the five groups, and
    the head. Pooling rounds odd sizes up, so that images such as 28x28 need no padding, at three
    quarters of the computation; where pooling rounds down, as in PyTorch, they must be padded to
    32, which the paper does not speak of. Attention maps explain pool5 by default, 7x7 for 224x224
    images; where that is a single cell, as for 32x32 and 28x28 images, the output of the last
    convolution, 2x2.

    Args:
        input_shape: (height, width, channels), height and width, or `pad_to`, at least 17.
        num_classes: number of classes, at least 2.
        stem: "small" has avg_pool and logits after pool5, as is usual for 32x32 images;
            "imagenet" has the original head, flatten, two dense layers of 4096 units with dropout,
            and logits.
        width: factor of all numbers of channels, and of the units of the original head.
        batch_norm: whether batch normalization follows each convolution; without it the network is
            hard to train.
        dropout_rate: fraction that is dropped in the original head in training, in [0, 1).
        weight_decay: adds `weight_decay * sum(w ** 2) / 2` of every kernel to `model.losses`, which
            is what PyTorch's SGD calls a weight decay of that value.
        pad_to: smaller images are surrounded by black up to this height and width, such as 32,
            inside the network, where no attack changes it; None for no padding.
        dtype: "float32", "float64", a mixed policy such as "mixed_bfloat16", or
            None for Keras's global policy. Logits are never below float32.

    Returns:
        A `keras.Model` named "vgg16" from images `[batch, height, width,
        channels]` in [0, 1] to logits `[batch, num_classes]`.

    Raises:
        TypeError: for an argument of another type, such as a number of classes that is no integer.
        ValueError: for a shape, number of classes, stem, width, dropout rate, weight decay or
            `pad_to` that the network cannot take.

    Example:
        >>> vgg16((28, 28, 1), 10, width=0.25).output_shape
        (None, 10)

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
    (2015). [Agrawal Table III]
    """
    check_choice(stem, STEMS, "stem")
    shape = check_image_shape("vgg16", input_shape, _SMALLEST_IMAGE, _REASON, pad_to)
    units = check_num_classes("vgg16", num_classes)
    rate = check_dropout_rate(dropout_rate)
    policy, edge = network_dtypes(dtype)
    regularizer = slim_l2(weight_decay)
    layers = keras.layers
    images = keras.Input(shape, dtype=edge, name="images")
    net = rescaled(images, pad_to)
    for group, filters in enumerate(_FILTERS, start=1):
        for number, count in enumerate(filters, start=1):
            name = f"conv{group}_{number}"
            net = layers.Conv2D(
                scaled(count, width),
                3,
                padding="same",
                use_bias=not batch_norm,
                kernel_initializer=he_fan_out(),
                kernel_regularizer=regularizer,
                name=name,
                dtype=policy,
            )(net)
            if batch_norm:
                net = batch_normalization(f"{name}_norm", policy)(net)
            net = layers.ReLU(name=f"{name}_relu", dtype=policy)(net)
        net = layers.MaxPooling2D(2, 2, "same", name=f"pool{group}", dtype=policy)(net)
    if stem == "small":
        net = layers.GlobalAveragePooling2D(name="avg_pool", dtype=policy)(net)
    else:
        net = layers.Flatten(name="flatten", dtype=policy)(net)
        for name in ("fc6", "fc7"):
            net = layers.Dense(
                scaled(4096, width),
                activation="relu",
                kernel_regularizer=regularizer,
                name=name,
                dtype=policy,
            )(net)
            net = layers.Dropout(rate, name=f"{name}_dropout", dtype=policy)(net)
    logits = layers.Dense(units, kernel_regularizer=regularizer, name="logits", dtype=edge)(net)
    return keras.Model(images, logits, name="vgg16")
