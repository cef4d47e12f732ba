"""Small tensor functions: projection, a norm with a safe gradient, resizing; and how they trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from aad_tf.types import Bounds

Function = TypeVar("Function", bound=Callable[..., Any])


def without_autograph(function: Function) -> Function:
    """A function that TensorFlow traces as it is, and what `tf.data` calls inside it as well.

    For functions whose Python never branches on tensors: to convert those of a stream of training
    data takes half a second.

    Args:
        function: from tensors to tensors, or one that makes a `tf.data.Dataset`.

    Returns:
        A function of the same arguments.

    Example:
        >>> dataset.map(without_autograph(prepared))
    """
    return tf.autograph.experimental.do_not_convert(function)


def project_linf(
    images: tf.Tensor, origin: tf.Tensor, epsilon: tf.Tensor | float, bounds: Bounds
) -> tf.Tensor:
    """Projects images onto the l-inf ball around `origin` and into the pixel range.

    Args:
        images: `[batch, H, W, C]`.
        origin: centre of the ball, same shape and dtype.
        epsilon: radius in pixel units of `bounds`; infinity leaves the range only.
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
    """Largest absolute pixel difference of each example, `[batch]`."""
    return tf.reduce_max(tf.abs(images - origin), axis=tuple(range(1, images.shape.rank)))


def safe_norm(values: tf.Tensor, axis: int | tuple[int, ...] = -1) -> tf.Tensor:
    """l2-norm whose gradient at the zero vector is zero instead of NaN.

    A mask that hides nothing makes masked and unmasked predictions equal, so the zero
    vector does occur in training.

    Args:
        values: any float tensor.
        axis: axes to reduce.

    Returns:
        Norms, reduced over `axis`.

    Example:
        >>> safe_norm(tf.constant([[3.0, 4.0], [0.0, 0.0]])).numpy()
        array([5., 0.], dtype=float32)
    """
    squared = tf.reduce_sum(tf.square(values), axis=axis)
    positive = squared > 0
    root = tf.sqrt(tf.where(positive, squared, tf.ones_like(squared)))
    return tf.where(positive, root, tf.zeros_like(root))


def at_least_float32(values: tf.Tensor) -> tf.Tensor:
    """Casts half-precision tensors up to float32; leaves float32 and float64 alone."""
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, tf.float32)


def resize_maps(maps: tf.Tensor, size: tuple[Any, Any]) -> tf.Tensor:
    """Bilinear resize of maps.

    Equal to `tf.image.resize`, but as two matrix products: it keeps float64 and has correct
    derivatives of every order.

    Args:
        maps: `[batch, h, w]`.
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
    """Height and width of `[batch, H, W, ...]`: integers where known, scalar tensors elsewhere."""
    known, shape = images.shape, tf.shape(images)
    return tuple(shape[axis] if known[axis] is None else known[axis] for axis in (1, 2))


def bilinear_weights(source: Any, target: Any, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """`[target, source]`: what each source cell adds to each target pixel."""
    source_cells = tf.cast(tf.range(source), dtype)
    scale = tf.cast(source, dtype) / tf.cast(target, dtype)
    centres = (tf.cast(tf.range(target), dtype) + 0.5) * scale - 0.5
    centres = tf.clip_by_value(centres, 0.0, source_cells[-1])
    return tf.nn.relu(1.0 - tf.abs(centres[:, tf.newaxis] - source_cells))
