"""LeNet as in TF-slim: the network of the MNIST experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from aad_tf.models.layers import check_dropout_rate, network_dtypes, slim_l2
from aad_tf.models.registry import check_image_shape, check_num_classes, register

_SMALLEST_IMAGE = 8


@register("lenet")
def lenet(
    input_shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    dropout_rate: float = 0.5,
    weight_decay: float = 0.0,
    dtype: Any = None,
) -> keras.Model:
    """Builds LeNet: two 5x5 convolutions with pooling, one hidden dense layer.

    Layers: conv1 (32), pool1, conv2 (64), pool2, flatten, fc3 (1024), dropout3,
    logits. Attention maps explain pool2 by default, 7x7 for 28x28 images. Weights start from
    Glorot's uniform distribution and biases from 0, the defaults of the layers of TF-slim,
    TensorFlow 1's library of networks. (Its optional `lenet_arg_scope` has a truncated normal of
    standard deviation 0.1 instead.)

    Args:
        input_shape: (height, width, channels), height and width at least 8.
        num_classes: number of classes, at least 2.
        dropout_rate: fraction of the units of fc3 that is dropped in training, in [0, 1).
        weight_decay: adds `weight_decay * sum(w ** 2) / 2` of every kernel to
            `model.losses`. TF-slim uses 0.
        dtype: "float32", "float64", a mixed policy such as "mixed_bfloat16", or
            None for Keras's global policy. Logits are never below float32.

    Returns:
        A `keras.Model` named "lenet" from images `[batch, height, width, channels]` in [0, 1] to
        logits `[batch, num_classes]`.

    Raises:
        TypeError: for an argument of another type, such as a number of classes that is no integer.
        ValueError: for a shape, number of classes, dropout rate or weight decay out of range.

    Example:
        >>> lenet((28, 28, 1), 10).count_params()
        3274634

    [AAD Table 5, MNIST]
    """
    shape = check_image_shape("lenet", input_shape, _SMALLEST_IMAGE)
    units = check_num_classes("lenet", num_classes)
    rate = check_dropout_rate(dropout_rate)
    policy, edge = network_dtypes(dtype)
    layers = keras.layers
    hidden: dict[str, Any] = {
        "activation": "relu",
        "kernel_regularizer": slim_l2(weight_decay),
        "dtype": policy,
    }

    images = keras.Input(shape, dtype=edge, name="images")
    net = layers.Conv2D(32, 5, padding="same", name="conv1", **hidden)(images)
    net = layers.MaxPooling2D(2, 2, name="pool1", dtype=policy)(net)
    net = layers.Conv2D(64, 5, padding="same", name="conv2", **hidden)(net)
    net = layers.MaxPooling2D(2, 2, name="pool2", dtype=policy)(net)
    net = layers.Flatten(name="flatten", dtype=policy)(net)
    net = layers.Dense(1024, name="fc3", **hidden)(net)
    net = layers.Dropout(rate, name="dropout3", dtype=policy)(net)
    logits = layers.Dense(
        units, kernel_regularizer=slim_l2(weight_decay), name="logits", dtype=edge
    )(net)
    return keras.Model(images, logits, name="lenet")
