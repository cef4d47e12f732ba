"""From one value an example to what is minimized and shown."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def weighted_mean(values: tf.Tensor, weights: Any) -> tf.Tensor:
    """Mean over the batch of weighted values, as Keras reduces its own losses."""
    if weights is not None:
        values = values * tf.cast(tf.reshape(weights, tf.shape(values)), values.dtype)
    return tf.reduce_mean(values)


def hits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """1.0 for each example classified right, else 0.0, `[batch]`."""
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == labels, tf.float32)
