"""Sizes of differences between two outputs or two maps; one value an example."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from aad_tf.losses.names import known
from aad_tf.ops import safe_norm


def l1_norm(difference: tf.Tensor) -> tf.Tensor:
    """Sum of absolute values of each example."""
    return tf.reduce_sum(tf.abs(difference), axis=_example_axes(difference))


def l2_norm(difference: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each example, with zero gradient at zero."""
    return safe_norm(difference, axis=_example_axes(difference))


def squared_sum(difference: tf.Tensor) -> tf.Tensor:
    """Sum of squares of each example."""
    return tf.reduce_sum(tf.square(difference), axis=_example_axes(difference))


def squared_mean(difference: tf.Tensor) -> tf.Tensor:
    """Mean of squares of each example."""
    return tf.reduce_mean(tf.square(difference), axis=_example_axes(difference))


def absolute_mean(difference: tf.Tensor) -> tf.Tensor:
    """Mean of absolute values of each example."""
    return tf.reduce_mean(tf.abs(difference), axis=_example_axes(difference))


def _example_axes(values: tf.Tensor) -> tuple[int, ...]:
    return tuple(range(1, values.shape.rank))


DISTANCES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "l1": l1_norm,
    "l2": l2_norm,
    "squared_sum": squared_sum,
    "squared_mean": squared_mean,
    "absolute_mean": absolute_mean,
}


def distance_by_name(distance: str | Callable) -> Callable[[tf.Tensor], tf.Tensor]:
    """A distance by its name; a function is its own."""
    return distance if callable(distance) else known(DISTANCES, distance, "distance")
