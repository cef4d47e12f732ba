"""InceptionV3's blocks at a size for small images: attention maps of 8x8 cells on 64x64 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from aad_tf.models.layers import check_dropout_rate, check_width, network_dtypes, rescaled
from aad_tf.models.registry import check_image_shape, check_num_classes, register

_SMALLEST_IMAGE = 16
_SIZE_REASON = "halves the image three times and must keep a feature map of at least 2x2"


@register("inception_small")
def inception_small(
    input_shape: Sequence[int] = (64, 64, 3),
    num_classes: int = 40,
    *,
    width: float = 1.0,
    dropout_rate: float = 0.2,
    dtype: Any = None,
) -> keras.Model:
    """Builds a small network of InceptionV3's blocks (Szegedy et al. 2016), batch-normalized.

    Layers: rescale ([0, 1] to [-1, 1]), a stem of three convolutions to a quarter of the
    resolution, two blocks of 1x1, 3x3 and double 3x3 branches (mixed0, mixed1), a reduction to an
    eighth (mixed2), three blocks of factorized 1x7 and 7x1 branches (mixed3 to mixed5), global
    average pooling, dropout, logits. Attention maps explain mixed5 by default, 8x8 for 64x64
    images, as many cells as InceptionV3's mixed10 has for 299x299.

    Args:
        input_shape: (height, width, channels), height and width at least 16.
        num_classes: number of classes, at least 2.
        width: factor of all numbers of filters, which are rounded down to multiples of 8, at least
            8.
        dropout_rate: fraction of the pooled features that is dropped in training, in [0, 1).
        dtype: "float32", "float64", a mixed policy such as "mixed_bfloat16", or None for Keras's
            global policy. Logits are never below float32.

    Returns:
        A `keras.Model` named "inception_small" from images `[batch, height, width,
        channels]` in [0, 1] to logits `[batch, num_classes]`.

    Raises:
        TypeError: for an argument of another type, such as a number of classes that is no integer.
        ValueError: for a shape, number of classes, width or dropout rate out of range.

    Example:
        >>> inception_small((64, 64, 3), 40).count_params()
        1284752

    The network of the analysis of [AAD Sec. 2] on small images.
    """
    shape = check_image_shape("inception_small", input_shape, _SMALLEST_IMAGE, _SIZE_REASON)
    units = check_num_classes("inception_small", num_classes)
    rate = check_dropout_rate(dropout_rate)
    policy, edge = network_dtypes(dtype)
    blocks = _Blocks(check_width(width), policy)
    images = keras.Input(shape, dtype=edge, name="images")
    net = rescaled(images)
    net = blocks.body(net)
    net = keras.layers.GlobalAveragePooling2D(name="pool", dtype=policy)(net)
    net = keras.layers.Dropout(rate, name="dropout", dtype=policy)(net)
    logits = keras.layers.Dense(units, name="logits", dtype=edge)(net)
    return keras.Model(images, logits, name="inception_small")


class _Blocks:
    """Builds the blocks of one network, with names counted within each block."""

    def __init__(self, width: float, policy: Any) -> None:
        self._width, self._policy = width, policy
        self._prefix, self._count = "stem", 0

    def body(self, net: Any) -> Any:
        """Everything up to the attention layer."""
        for filters, size, strides in ((24, 3, 2), (32, 3, 1), (64, 3, 2)):
            net = self._convolution(net, filters, size, strides)
        for name in ("mixed0", "mixed1"):
            net = self._square(net, name)
        net = self._reduction(net, "mixed2")
        for name, single, inner, outer, pooled in (
            ("mixed3", 96, 64, 96, 48),
            ("mixed4", 96, 64, 96, 48),
            ("mixed5", 128, 80, 128, 64),
        ):
            net = self._factorized(net, name, single, inner, outer, pooled)
        return net

    def _square(self, net: Any, name: str) -> Any:
        self._begin(name)
        single = self._convolution(net, 32, 1)
        one = self._chain(net, (24, 1), (48, 3))
        two = self._chain(net, (24, 1), (32, 3), (32, 3))
        return self._joined(name, single, one, two, self._pooled(net, 16))

    def _reduction(self, net: Any, name: str) -> Any:
        self._begin(name)
        one = self._convolution(net, 96, 3, 2)
        two = self._convolution(self._chain(net, (32, 1), (48, 3)), 48, 3, 2)
        pool = keras.layers.MaxPooling2D(
            3, 2, padding="same", name=f"{name}_pool", dtype=self._policy
        )
        return self._joined(name, one, two, pool(net))

    def _factorized(
        self, net: Any, name: str, single: int, inner: int, outer: int, pooled: int
    ) -> Any:
        self._begin(name)
        wide, tall = (1, 7), (7, 1)
        one = self._convolution(net, single, 1)
        two = self._chain(net, (inner, 1), (inner, wide), (outer, tall))
        three = self._chain(
            net, (inner, 1), (inner, tall), (inner, wide), (inner, tall), (outer, wide)
        )
        return self._joined(name, one, two, three, self._pooled(net, pooled))

    def _begin(self, name: str) -> None:
        self._prefix, self._count = name, 0

    def _chain(self, net: Any, *convolutions: tuple[int, Any]) -> Any:
        for filters, size in convolutions:
            net = self._convolution(net, filters, size)
        return net

    def _pooled(self, net: Any, filters: int) -> Any:
        pool = keras.layers.AveragePooling2D(
            3, 1, padding="same", name=f"{self._prefix}_pool", dtype=self._policy
        )
        return self._convolution(pool(net), filters, 1)

    def _joined(self, name: str, *branches: Any) -> Any:
        return keras.layers.Concatenate(name=name, dtype=self._policy)(list(branches))

    def _convolution(self, net: Any, filters: int, size: Any, strides: int = 1) -> Any:
        """Convolution, batch normalization, ReLU."""
        name, self._count = f"{self._prefix}_{self._count}", self._count + 1
        filters = max(8, int(filters * self._width) // 8 * 8)
        layers, policy = keras.layers, self._policy
        net = layers.Conv2D(
            filters,
            size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
            dtype=policy,
        )(net)
        net = layers.BatchNormalization(name=f"{name}_norm", dtype=policy)(net)
        return layers.ReLU(name=f"{name}_relu", dtype=policy)(net)
