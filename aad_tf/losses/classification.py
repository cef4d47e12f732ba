"""Classification losses, [AAD Eq. 9], and the divergence of predictions; one value per example."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from aad_tf.utils.ops import at_least_float32


def soft_margin(
    labels: tf.Tensor,
    logits: tf.Tensor,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """Multi-label soft margin loss against the one-hot label, L_c of [AAD Eq. 9].

    It is the binary cross-entropy of the sigmoid of each class's logit, reduced over classes.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`.
        reduction: over classes, `"mean"` (the usual definition) or `"sum"`.
        label_smoothing: part of the target that is spread evenly over all classes, in [0, 1).

    Returns:
        `[batch]`, non-negative.

    Raises:
        ValueError: unknown reduction.

    Example:
        >>> soft_margin(tf.constant([0]), tf.constant([[0.0, 0.0]])).numpy()  # log 2
        array([0.6931472], dtype=float32)
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}.")
    logits = at_least_float32(logits)
    targets = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    values = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    reduce = tf.reduce_mean if reduction == "mean" else tf.reduce_sum
    return reduce(values, axis=-1)


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Softmax cross-entropy of the label for each example.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`.
        label_smoothing: part of the target that is spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016: 0.1).

    Returns:
        `[batch]`, non-negative; float64 for float64 logits, else float32.

    Example:
        >>> cross_entropy(tf.constant([0]), tf.constant([[0.0, 0.0]])).numpy()  # log 2
        array([0.6931472], dtype=float32)
    """
    logits = at_least_float32(logits)
    own = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if label_smoothing == 0.0:
        return own
    every = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
    return (1.0 - label_smoothing) * own + label_smoothing * every


def kl_divergence(logits: tf.Tensor, other_logits: tf.Tensor) -> tf.Tensor:
    """Kullback-Leibler divergence KL(p || q) of two predictions, as TRADES takes it.

    Args:
        logits: `[batch, classes]`, before the softmax that gives p.
        other_logits: `[batch, classes]`, before the softmax that gives q.

    Returns:
        `[batch]`, the sum of p (log p - log q) over classes, non-negative up to rounding; float32
        or float64. Gradients flow through both arguments.

    Example:
        >>> kl_divergence(tf.constant([[1.0, 0.0]]), tf.constant([[1.0, 0.0]])).numpy()
        array([0.], dtype=float32)
    """
    log_p = tf.nn.log_softmax(at_least_float32(logits))
    log_q = tf.nn.log_softmax(at_least_float32(other_logits))
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


CLASSIFICATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]] = {
    "soft_margin": lambda labels, logits, smooth: soft_margin(labels, logits, "mean", smooth),
    "soft_margin_sum": lambda labels, logits, smooth: soft_margin(labels, logits, "sum", smooth),
    "cross_entropy": cross_entropy,
}
