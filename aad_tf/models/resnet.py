"""ResNet-50, plain and with CBAM: the networks of the CBAM study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from aad_tf.models.cbam import CBAM
from aad_tf.models.layers import network_dtypes, rescaled, scaled, slim_l2
from aad_tf.models.registry import check_image_shape, check_num_classes, register
from aad_tf.utils.checks import check_choice

STEMS = ("small", "small_stride_2", "imagenet")
ATTENTION = ("cbam",)
_BLOCKS = (3, 4, 6, 3)
# Channels of CBAM's input for each hidden unit of its channel gate.
_CBAM_REDUCTION = 16
_KEPT = "and must keep a feature map of at least 2x2"
_SMALLEST = {
    "small": (16, f"halves the image three times {_KEPT}"),
    "small_stride_2": (17, f"halves the image four times {_KEPT}"),
    "imagenet": (64, f"halves the image five times {_KEPT}"),
}
Build = Callable[[Any], Any]


@register("resnet50")
def resnet50(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    *,
    attention: str | None = None,
    stem: str = "small",
    width: float = 1.0,
    weight_decay: float = 0.0,
    pad_to: int | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Builds ResNet-50, with a CBAM attention module in each block if asked.

    Layers: rescale ([0, 1] to [-1, 1]), the stem, 3 + 4 + 6 + 3 bottleneck blocks named
    block1_1 to block4_3 whose outputs are layers such as block4_3_out, avg_pool, logits. The
    stride of a block is that of its 3x3 convolution. CBAM follows the last normalization of a
    block, before the shortcut is added. Attention maps explain block4_3_out by default: 4x4 for
    32x32 images with the small stem, 7x7 for 224x224 images with ImageNet's. Strides round odd
    sizes up, so that 28x28 images have the grids of 32x32 ones without padding, at three quarters
    of the computation; the paper does not say whether it padded them.

    Args:
        input_shape: (height, width, channels), height and width, or `pad_to`, at least 16 with the
            small stem, 17 with that of stride 2, 64 with ImageNet's.
        num_classes: number of classes, at least 2.
        attention: None, or "cbam" for CBAM in each block.
        stem: the first layers: "small", a 3x3 convolution of stride 1, for images such as 32x32 or
            28x28; "small_stride_2", the same with stride 2, at about a quarter of the computation;
            or "imagenet", a 7x7 convolution of stride 2 and 3x3 max pooling of stride 2.
        width: factor of all numbers of channels: 0.25 has 16 to 512 where 1.0 has 64 to 2048. With
            CBAM at least 1/16, which leaves its gates one hidden unit.
        weight_decay: adds `weight_decay * sum(w ** 2) / 2` of every kernel to `model.losses`, which
            is what PyTorch's SGD calls a weight decay of that value.
        pad_to: smaller images are surrounded by black up to this height and width, such as 32,
            inside the network, where no attack changes it; None for no padding.
        dtype: "float32", "float64", a mixed policy such as "mixed_bfloat16", or
            None for Keras's global policy. Logits are never below float32.

    Returns:
        A `keras.Model` named "resnet50" or "cbam_resnet50" from images `[batch, height, width,
        channels]` in [0, 1] to logits `[batch, num_classes]`.

    Raises:
        TypeError: for an argument of another type, such as a number of classes that is no integer.
        ValueError: for a shape, number of classes, attention, stem, width, weight decay or `pad_to`
            that the network cannot take.

    Example:
        >>> resnet50((32, 32, 3), 10).output_shape
        (None, 10)

    He et al., "Deep Residual Learning for Image Recognition" (2016); Woo et al., "CBAM:
    Convolutional Block Attention Module" (2018). At full width, CIFAR-100 and the recipe of 200
    epochs that is usual in PyTorch (SGD 0.1 with momentum 0.9, weight decay 5e-4, batch 128, a
    fifth of the rate after 60, 120 and 160 epochs, crops and flips) it is known to reach 77.4 %.
    [Agrawal Tables II, III]
    """
    name = "resnet50"
    if attention is not None:
        name = f"{check_choice(attention, ATTENTION, 'attention')}_{name}"
    check_choice(stem, STEMS, "stem")
    shape = check_image_shape(name, input_shape, *_SMALLEST[stem], pad_to)
    units = check_num_classes(name, num_classes)
    policy, edge = network_dtypes(dtype)
    if attention == "cbam" and scaled(256, width) < _CBAM_REDUCTION:
        raise ValueError(
            f"{name} has {scaled(256, width)} channels in its first blocks at width={width}, which "
            f"leave the gates of CBAM no hidden unit: choose a width of at least 1/16."
        )
    blocks = _Blocks(policy, width, weight_decay, attention)
    images = keras.Input(shape, dtype=edge, name="images")
    net = rescaled(images, pad_to)
    net = blocks.stem(stem, net)
    for stage, count in enumerate(_BLOCKS):
        for block in range(count):
            stride = 2 if stage and not block else 1
            net = blocks.bottleneck(net, 64 * 2**stage, stride, f"block{stage + 1}_{block + 1}")
    net = keras.layers.GlobalAveragePooling2D(name="avg_pool", dtype=policy)(net)
    logits = keras.layers.Dense(
        units, kernel_regularizer=slim_l2(weight_decay), name="logits", dtype=edge
    )(net)
    return keras.Model(images, logits, name=name)


@register("cbam_resnet50")
def cbam_resnet50(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    *,
    stem: str = "small",
    width: float = 1.0,
    weight_decay: float = 0.0,
    pad_to: int | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Builds ResNet-50 with a CBAM attention module in each block, `resnet50(attention="cbam")`.

    Args:
        input_shape: (height, width, channels), height and width at least 16 with the small stem.
        num_classes: number of classes, at least 2.
        stem: the first layers: "small", a 3x3 convolution of stride 1; "small_stride_2", the same
            with stride 2; or "imagenet", a 7x7 convolution of stride 2 and max pooling.
        width: factor of all numbers of channels, at least 1/16.
        weight_decay: factor of half the sum of squares of all kernels, which is added to the loss.
        pad_to: height and width that smaller images are padded to, with black; None for none.
        dtype: dtype or Keras dtype policy of the network; None for Keras's global policy.

    Returns:
        A `keras.Model` named "cbam_resnet50" from images `[batch, height, width, channels]` in
        [0, 1] to logits `[batch, num_classes]`.

    Raises:
        TypeError: for an argument of another type, such as a number of classes that is no integer.
        ValueError: for a shape, number of classes, stem, width, weight decay or `pad_to` that the
            network cannot take.

    Example:
        >>> cbam_resnet50((32, 32, 3), 10, width=0.25).name
        'cbam_resnet50'
    """
    return resnet50(
        input_shape,
        num_classes,
        attention="cbam",
        stem=stem,
        width=width,
        weight_decay=weight_decay,
        pad_to=pad_to,
        dtype=dtype,
    )


class _Blocks:
    """The parts of the network, of one policy, width and weight decay."""

    def __init__(
        self, policy: Any, width: float, weight_decay: float, attention: str | None
    ) -> None:
        self._policy, self._width, self._attention = policy, width, attention
        self._regularizer = slim_l2(weight_decay)

    def stem(self, kind: str, net: Any) -> Any:
        """The first convolution, and for ImageNet a pooling."""
        if kind != "imagenet":
            return self._unit(net, 64, 3, 2 if kind == "small_stride_2" else 1, "stem")
        net = self._unit(net, 64, 7, 2, "stem")
        return keras.layers.MaxPooling2D(3, 2, "same", name="stem_pool", dtype=self._policy)(net)

    def bottleneck(self, inputs: Any, filters: int, stride: int, name: str) -> Any:
        """1x1, 3x3 and 1x1 convolutions, attention if any, and the shortcut."""
        net = self._unit(inputs, filters, 1, 1, f"{name}_reduce")
        net = self._unit(net, filters, 3, stride, f"{name}_spatial")
        net = self._normalized(net, 4 * filters, 1, 1, f"{name}_expand")
        if self._attention == "cbam":
            net = CBAM(
                _CBAM_REDUCTION,
                kernel_regularizer=self._regularizer,
                name=f"{name}_cbam",
                dtype=self._policy,
            )(net)
        shortcut = inputs
        if stride > 1 or inputs.shape[-1] != net.shape[-1]:
            shortcut = self._normalized(inputs, 4 * filters, 1, stride, f"{name}_shortcut")
        net = keras.layers.Add(name=f"{name}_add", dtype=self._policy)([shortcut, net])
        return keras.layers.ReLU(name=f"{name}_out", dtype=self._policy)(net)

    def _unit(self, net: Any, filters: int, size: int, stride: int, name: str) -> Any:
        net = self._normalized(net, filters, size, stride, name)
        return keras.layers.ReLU(name=f"{name}_relu", dtype=self._policy)(net)

    def _normalized(self, net: Any, filters: int, size: int, stride: int, name: str) -> Any:
        net = keras.layers.Conv2D(
            scaled(filters, self._width),
            size,
            stride,
            "same",
            use_bias=False,
            kernel_initializer=he_fan_out(),
            kernel_regularizer=self._regularizer,
            name=f"{name}_conv",
            dtype=self._policy,
        )(net)
        return batch_normalization(f"{name}_norm", self._policy)(net)


def he_fan_out() -> keras.initializers.Initializer:
    """Makes He's initializer by the number of outputs, as usual for ResNet and VGG.

    Returns:
        A Keras initializer of convolution kernels: normal, not truncated, of mean 0 and variance
        `2 / (kernel height * kernel width * filters)`.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def batch_normalization(name: str, policy: Any) -> keras.layers.Layer:
    """A BatchNormalization layer with PyTorch's settings, momentum 0.9 and epsilon 1e-5.

    Moving statistics with Keras's default momentum of 0.99 lag behind in runs of few epochs.

    Args:
        name: name of the layer.
        policy: its Keras dtype policy.

    Returns:
        The layer.
    """
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name, dtype=policy)
