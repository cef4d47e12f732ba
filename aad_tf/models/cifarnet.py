"""CifarNet as in TF-slim: the network of the CIFAR-10 experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from aad_tf.models.layers import (
    LocalResponseNormalization,
    check_dropout_rate,
    network_dtypes,
    rescaled,
    slim_l2,
)
from aad_tf.models.registry import check_image_shape, check_num_classes, register

_SMALLEST_IMAGE = 8
_NORMALIZATION: dict[str, Any] = {
    "depth_radius": 4,
    "bias": 1.0,
    "alpha": 0.001 / 9.0,
    "beta": 0.75,
}


@register("cifarnet")
def cifarnet(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    *,
    dropout_rate: float = 0.5,
    weight_decay: float = 0.0,
    dtype: Any = None,
) -> keras.Model:
    """Builds CifarNet: two 5x5 convolutions with pooling and local response normalization.

    Layers: rescale ([0, 1] to [-1, 1]), conv1 (64), pool1, norm1, conv2 (64), norm2,
    pool2, flatten, and the dense layers fc3 (384), dropout3, fc4 (192), logits. Attention maps
    explain pool2 by default, 8x8 for 32x32 images. Weights start from the truncated normals of
    TF-slim, TensorFlow 1's library of networks (standard deviation 0.05 in convolutions, 0.04 in
    fc3 and fc4, 1/192 in logits), biases from 0, those of fc3 and fc4 from 0.1.

    Args:
        input_shape: (height, width, channels), height and width at least 8.
        num_classes: number of classes, at least 2.
        dropout_rate: fraction of the units of fc3 that is dropped in training, in [0, 1).
        weight_decay: adds `weight_decay * sum(w ** 2) / 2` of the kernels of fc3 and
            fc4 to `model.losses`. TF-slim uses 0.004.
        dtype: "float32", "float64", a mixed policy such as "mixed_bfloat16", or
            None for Keras's global policy. Logits are never below float32.

    Returns:
        A `keras.Model` named "cifarnet" from images `[batch, height, width, channels]` in [0, 1] to
        logits `[batch, num_classes]`.

    Raises:
        TypeError: for an argument of another type, such as a number of classes that is no integer.
        ValueError: for a shape, number of classes, dropout rate or weight decay out of range.

    Example:
        >>> cifarnet((32, 32, 3), 10).count_params()
        1756426

    [AAD Table 5, CIFAR-10]
    """
    shape = check_image_shape("cifarnet", input_shape, _SMALLEST_IMAGE)
    units = check_num_classes("cifarnet", num_classes)
    rate = check_dropout_rate(dropout_rate)
    policy, edge = network_dtypes(dtype)
    images = keras.Input(shape, dtype=edge, name="images")
    net = rescaled(images)
    net = _convolutions(net, policy)
    net = _dense(net, policy, rate, weight_decay)
    logits = keras.layers.Dense(
        units, kernel_initializer=_normal(1 / 192), name="logits", dtype=edge
    )(net)
    return keras.Model(images, logits, name="cifarnet")


def _normal(deviation: float) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=deviation)


def _convolutions(net: Any, policy: Any) -> Any:
    layers = keras.layers
    options: dict[str, Any] = {"padding": "same", "activation": "relu", "dtype": policy}
    net = layers.Conv2D(64, 5, kernel_initializer=_normal(0.05), name="conv1", **options)(net)
    net = layers.MaxPooling2D(2, 2, name="pool1", dtype=policy)(net)
    net = LocalResponseNormalization(**_NORMALIZATION, name="norm1", dtype=policy)(net)
    net = layers.Conv2D(64, 5, kernel_initializer=_normal(0.05), name="conv2", **options)(net)
    net = LocalResponseNormalization(**_NORMALIZATION, name="norm2", dtype=policy)(net)
    return layers.MaxPooling2D(2, 2, name="pool2", dtype=policy)(net)


def _dense(net: Any, policy: Any, rate: float, weight_decay: float) -> Any:
    layers = keras.layers

    def dense(units: int, name: str) -> keras.layers.Layer:
        return layers.Dense(
            units,
            activation="relu",
            kernel_initializer=_normal(0.04),
            bias_initializer=keras.initializers.Constant(0.1),
            kernel_regularizer=slim_l2(weight_decay),
            name=name,
            dtype=policy,
        )

    net = layers.Flatten(name="flatten", dtype=policy)(net)
    net = dense(384, "fc3")(net)
    net = layers.Dropout(rate, name="dropout3", dtype=policy)(net)
    return dense(192, "fc4")(net)
