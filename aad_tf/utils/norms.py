"""The norms that budgets are measured in, l-inf and l2: distances, directions and projections.

All functions work on batches `[batch, H, W, C]` and give each example its own result. Sums over the
pixels of an image are taken in float32 at least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from aad_tf.types import Bounds
from aad_tf.utils.ops import at_least_float32, linf_distance, project_linf

NORMS: dict[str, str] = {"linf": "l-inf", "l2": "l2"}
"""The norms by their names in attacks and records, and how texts call them."""

NORM_SIGNS: dict[str, str] = {"linf": "l∞", "l2": "l2"}
"""How figures call the norms."""


def norm_of(model: Mapping[str, Any]) -> str:
    """Returns the norm of a recorded threat model.

    Args:
        model: the dictionary that the method `threat_model` of an attack returns.

    Returns:
        `"linf"` or `"l2"`; `"linf"` if the dictionary does not say.

    Example:
        >>> norm_of({"attack": "pgd", "norm": "l2"}), norm_of({"attack": "pgd"})
        ('l2', 'linf')
    """
    return str(model.get("norm", "linf"))


def budget_of(model: Mapping[str, Any]) -> float:
    """Returns the largest perturbation of a recorded threat model, in the norm of the attack.

    Args:
        model: the dictionary that the method `threat_model` of an attack returns, whose `epsilon`
            is None where nothing bounds it, as for the attack `fab(None, norm="l2")`.

    Returns:
        A number in the unit of the images; infinity where nothing bounds it.

    Example:
        >>> budget_of({"epsilon": 0.5}), budget_of({"epsilon": None})
        (0.5, inf)
    """
    return math.inf if model["epsilon"] is None else float(model["epsilon"])


def distance_of(record: Mapping[str, Any]) -> float:
    """Returns the distance of a recorded image from the clean one, in the norm of the attack.

    Args:
        record: the record of one example under one attack. It has `linf`, the largest change of a
            pixel, and under an attack in l2 also `l2`.

    Returns:
        The distance, in the unit of the images.

    Example:
        >>> distance_of({"linf": 0.1, "l2": 0.5}), distance_of({"linf": 0.1})
        (0.5, 0.1)
    """
    return float(record.get("l2", record["linf"]))


def l2_norm(values: tf.Tensor) -> tf.Tensor:
    """Computes the l2-norm of each example, also where the squares of its entries are too small.

    Args:
        values: float `[batch, H, W, C]`.

    Returns:
        `[batch, 1, 1, 1]`, float64 for float64 values, else float32.

    Example:
        >>> f"{l2_norm(tf.constant([[[[3e-30, 4e-30]]]])).numpy().item():.3g}"
        '5e-30'
    """
    values = at_least_float32(values)
    largest = tf.reduce_max(tf.abs(values), axis=(1, 2, 3), keepdims=True)
    scaled = tf.math.divide_no_nan(values, largest)
    return largest * tf.sqrt(tf.reduce_sum(tf.square(scaled), axis=(1, 2, 3), keepdims=True))


def distance(images: tf.Tensor, origin: tf.Tensor, norm: str = "linf") -> tf.Tensor:
    """Computes the distance of each image of a batch from its counterpart in another batch.

    Args:
        images: `[batch, H, W, C]`, floating point.
        origin: the same shape and dtype.
        norm: `"linf"`, the largest absolute difference of a pixel value; or `"l2"`, the root of the
            sum of the squared differences.

    Returns:
        `[batch]`, in the unit of the images; in the dtype of `images` for `"linf"`, and in float32
        at least for `"l2"`.

    Example:
        >>> one, other = tf.constant([[[[0.3, 0.0]]]]), tf.constant([[[[0.0, 0.4]]]])
        >>> [round(distance(one, other, norm).numpy().item(), 3) for norm in ("linf", "l2")]
        [0.4, 0.5]
    """
    if norm == "linf":
        return linf_distance(images, origin)
    return l2_norm(at_least_float32(images) - at_least_float32(origin))[:, 0, 0, 0]


def direction(gradient: tf.Tensor, norm: str = "linf") -> tf.Tensor:
    """Computes the direction of norm 1 along which a linear function grows fastest.

    Args:
        gradient: `[batch, H, W, C]`, gradient of the function.
        norm: `"linf"`, whose direction is the sign of the gradient; or `"l2"`, the gradient of each
            example divided by its l2-norm.

    Returns:
        `[batch, H, W, C]` in the dtype of `gradient`; zero where the gradient of an example is.

    Example:
        >>> direction(tf.constant([[[[3.0, -4.0]]], [[[0.0, 0.0]]]]), "l2").numpy().tolist()
        [[[[0.6000000238418579, -0.800000011920929]]], [[[0.0, 0.0]]]]
    """
    if norm == "linf":
        return tf.sign(gradient)
    precise = at_least_float32(gradient)
    # Scaled before it is squared: the square of a small number may be zero.
    scaled = tf.math.divide_no_nan(
        precise, tf.reduce_max(tf.abs(precise), axis=(1, 2, 3), keepdims=True)
    )
    return tf.cast(tf.math.divide_no_nan(scaled, l2_norm(scaled)), gradient.dtype)


def project(
    images: tf.Tensor,
    origin: tf.Tensor,
    epsilon: tf.Tensor | float,
    bounds: Bounds,
    norm: str = "linf",
) -> tf.Tensor:
    """Projects images onto a ball around `origin`, then clips them to the pixel range.

    Images that are clipped stay within the ball: `origin` lies in the pixel range, so that clipping
    brings every pixel nearer to it. For l2 the result is a point of both sets, but not always the
    nearest one, as usual in implementations of PGD.

    Args:
        images: `[batch, H, W, C]`.
        origin: centres of the balls, of the same shape and dtype, within the pixel range.
        epsilon: radius in the unit of the images; with infinity, images are only clipped to the
            pixel range.
        bounds: pixel range.
        norm: `"linf"` or `"l2"`.

    Returns:
        `[batch, H, W, C]` in the dtype of `images`. An image within the ball and the pixel range is
        returned as it is.

    Example:
        >>> moved, origin = tf.constant([[[[0.9, 0.8]]]]), tf.constant([[[[0.6, 0.4]]]])
        >>> project(moved, origin, 0.25, Bounds(), "l2").numpy().round(3)
        array([[[[0.75, 0.6 ]]]], dtype=float32)
    """
    if norm == "linf":
        return project_linf(images, origin, epsilon, bounds)
    difference = at_least_float32(images) - at_least_float32(origin)
    length = l2_norm(difference)
    # tf.cast would take a Python number through float32.
    if not tf.is_tensor(epsilon):
        epsilon = tf.constant(epsilon, length.dtype)
    epsilon = tf.cast(epsilon, length.dtype)
    outside = length > epsilon
    factor = epsilon / tf.where(outside, length, tf.ones_like(length))
    projected = tf.where(outside, origin + tf.cast(factor * difference, images.dtype), images)
    return tf.clip_by_value(projected, *bounds)
