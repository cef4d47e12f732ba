"""Small functions on tensors: projection, a norm with a safe gradient, resizing, tracing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from aad_tf.types import Bounds

Function = TypeVar("Function", bound=Callable[..., Any])


def without_autograph(function: Function) -> Function:
    """Excludes a function, and the functions it passes to `tf.data`, from AutoGraph's conversion.

    Use it for functions without Python branches or loops that depend on tensors. Without conversion
    a data set of training batches is created half a second faster.

    Args:
        function: function from tensors to tensors, or one that returns a `tf.data.Dataset`.

    Returns:
        A function of the same arguments and results.

    Example:
        >>> dataset.map(without_autograph(prepared))
    """
    return tf.autograph.experimental.do_not_convert(function)


def project_linf(
    images: tf.Tensor, origin: tf.Tensor, epsilon: tf.Tensor | float, bounds: Bounds
) -> tf.Tensor:
    """Projects images onto the l-inf ball around `origin` and into the pixel range.

    Args:
        images: `[batch, H, W, C]`, or any other shape.
        origin: centre of the ball, of the same shape and dtype.
        epsilon: radius in the unit of the images; with infinity, images are only clipped to the
            pixel range.
        bounds: pixel range.

    Returns:
        Tensor of the shape and dtype of `images`.

    Example:
        >>> project_linf(tf.constant([0.9]), tf.constant([0.5]), 0.1, Bounds()).numpy()
        array([0.6], dtype=float32)
    """
    # tf.cast would take a Python number through float32.
    if not tf.is_tensor(epsilon):
        epsilon = tf.constant(epsilon, images.dtype)
    epsilon = tf.cast(epsilon, images.dtype)
    images = tf.clip_by_value(images, origin - epsilon, origin + epsilon)
    return tf.clip_by_value(images, *bounds)


def linf_distance(images: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
    """Computes the l-inf distance of each image of a batch from its counterpart in another batch.

    Args:
        images: `[batch, H, W, C]`, of any number type.
        origin: the same shape and dtype.

    Returns:
        The largest absolute difference of a pixel value, `[batch]` in the dtype of `images`.
    """
    return tf.reduce_max(tf.abs(images - origin), axis=tuple(range(1, images.shape.rank)))


def safe_norm(values: tf.Tensor, axis: int | tuple[int, ...] = -1) -> tf.Tensor:
    """l2-norm whose gradient at the zero vector is zero instead of NaN.

    The zero vector occurs in training: it is the difference of the predictions for an image and for
    the same image with a mask that hides nothing.

    Args:
        values: float tensor of any shape.
        axis: axis or axes over which the norm is taken.

    Returns:
        The norms, of the shape of `values` without these axes.

    Example:
        >>> safe_norm(tf.constant([[3.0, 4.0], [0.0, 0.0]])).numpy()
        array([5., 0.], dtype=float32)
    """
    squared = tf.reduce_sum(tf.square(values), axis=axis)
    positive = squared > 0
    root = tf.sqrt(tf.where(positive, squared, tf.ones_like(squared)))
    return tf.where(positive, root, tf.zeros_like(root))


def at_least_float32(values: tf.Tensor) -> tf.Tensor:
    """Returns a tensor as it is if it is float32 or float64, else cast to float32."""
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, tf.float32)


def resize_maps(maps: tf.Tensor, size: tuple[Any, Any]) -> tf.Tensor:
    """Resizes maps bilinearly, with correct derivatives of every order.

    The values equal those of `tf.image.resize`. They are computed by two matrix products, since the
    second derivative of `tf.image.resize` is wrong; float64 is kept.

    Args:
        maps: float `[batch, h, w]`.
        size: target `(height, width)` in pixels, integers or scalar tensors.

    Returns:
        `[batch, height, width]` in the dtype of `maps`.

    Example:
        >>> resize_maps(tf.constant([[[0.0, 1.0]]]), (1, 4)).numpy()
        array([[[0.  , 0.25, 0.75, 1.  ]]], dtype=float32)
    """
    maps = tf.convert_to_tensor(maps)
    height, width = spatial_size(maps)
    rows = bilinear_weights(height, size[0], maps.dtype)
    columns = bilinear_weights(width, size[1], maps.dtype)
    return tf.einsum("yh,bhw,xw->byx", rows, maps, columns)


def spatial_size(images: tf.Tensor) -> tuple[Any, Any]:
    """Returns height and width of a tensor `[batch, H, W, ...]`.

    Args:
        images: images or maps, eager or symbolic.

    Returns:
        (H, W), each an integer if the static shape has it, else a scalar int32 tensor.
    """
    known, shape = images.shape, tf.shape(images)
    return tuple(shape[axis] if known[axis] is None else known[axis] for axis in (1, 2))


def bilinear_weights(source: Any, target: Any, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Computes the matrix of a bilinear resize along one axis, as `tf.image.resize` does it.

    Args:
        source: number of cells before, an integer or scalar tensor, at least 1.
        target: number of pixels after, an integer or scalar tensor, at least 1.
        dtype: floating-point dtype of the matrix.

    Returns:
        `[target, source]`, the weight in [0, 1] of each cell in each pixel; rows sum to 1.
    """
    source_cells = tf.cast(tf.range(source), dtype)
    scale = tf.cast(source, dtype) / tf.cast(target, dtype)
    centres = (tf.cast(tf.range(target), dtype) + 0.5) * scale - 0.5
    centres = tf.clip_by_value(centres, 0.0, source_cells[-1])
    return tf.nn.relu(1.0 - tf.abs(centres[:, tf.newaxis] - source_cells))
