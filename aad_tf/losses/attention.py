"""Losses of attention, [AAD Eqs. 7-8], and the distances in them; one value per example.

The functions take logits and maps as they are. Which distance, how maps are made, whether they are
scaled to sum 1 and the rule of the attention area are choices of `AADLosses` (`losses/aad.py`).
`AADModel.training_losses` (`defenses/aad.py`) makes maps and masked images, and scales the maps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from aad_tf.attention.grad_cam import grad_cam_map, softmax_grad_cam_map
from aad_tf.utils.checks import check_choice
from aad_tf.utils.ops import at_least_float32, safe_norm


def l1_norm(difference: tf.Tensor) -> tf.Tensor:
    """Sum of absolute values over all axes but the first.

    Args:
        difference: float `[batch, ...]`.

    Returns:
        `[batch]`, non-negative, in the dtype of `difference`.

    Example:
        >>> l1_norm(tf.constant([[3.0, -4.0]])).numpy()
        array([7.], dtype=float32)
    """
    return tf.reduce_sum(tf.abs(difference), axis=_example_axes(difference))


def l2_norm(difference: tf.Tensor) -> tf.Tensor:
    """Euclidean norm over all axes but the first.

    Args:
        difference: float `[batch, ...]`.

    Returns:
        `[batch]`, non-negative, in the dtype of `difference`. Its gradient at zero is zero.

    Example:
        >>> l2_norm(tf.constant([[3.0, -4.0]])).numpy()
        array([5.], dtype=float32)
    """
    return safe_norm(difference, axis=_example_axes(difference))


def squared_sum(difference: tf.Tensor) -> tf.Tensor:
    """Sum of squares over all axes but the first.

    Args:
        difference: float `[batch, ...]`.

    Returns:
        `[batch]`, non-negative, in the dtype of `difference`.

    Example:
        >>> squared_sum(tf.constant([[3.0, -4.0]])).numpy()
        array([25.], dtype=float32)
    """
    return tf.reduce_sum(tf.square(difference), axis=_example_axes(difference))


def squared_mean(difference: tf.Tensor) -> tf.Tensor:
    """Mean of squares over all axes but the first.

    Args:
        difference: float `[batch, ...]`.

    Returns:
        `[batch]`, non-negative, in the dtype of `difference`.

    Example:
        >>> squared_mean(tf.constant([[3.0, -4.0]])).numpy()
        array([12.5], dtype=float32)
    """
    return tf.reduce_mean(tf.square(difference), axis=_example_axes(difference))


def absolute_mean(difference: tf.Tensor) -> tf.Tensor:
    """Mean of absolute values over all axes but the first.

    Args:
        difference: float `[batch, ...]`.

    Returns:
        `[batch]`, non-negative, in the dtype of `difference`.

    Example:
        >>> absolute_mean(tf.constant([[3.0, -4.0]])).numpy()
        array([3.5], dtype=float32)
    """
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
    """Looks up a distance by its name.

    Args:
        distance: `"l1"` (sum of absolute values), `"l2"` (Euclidean norm), `"squared_sum"`,
            `"squared_mean"` or `"absolute_mean"`; a function is returned as it is.

    Returns:
        A function from differences `[batch, ...]` to one value per example, `[batch]`, taken over
        all axes but the first.

    Raises:
        ValueError: unknown name.
    """
    if callable(distance):
        return distance
    return DISTANCES[check_choice(distance, DISTANCES, "distance")]


def rectification(
    logits: tf.Tensor, masked_logits: tf.Tensor, distance: str | Callable = "l2"
) -> tf.Tensor:
    """The rectification loss of [AAD Eq. 7], for the clean images or for those of one round.

    It is low where the prediction changes much once the attention area is hidden.

    Args:
        logits: `[batch, classes]` of the image.
        masked_logits: `[batch, classes]` of the image without its attention area.
        distance: `"l1"` (sum of absolute values over classes), `"l2"` (Euclidean norm),
            `"squared_sum"`, `"squared_mean"`, `"absolute_mean"`, or a function from the difference
            of softmax outputs, `[batch, classes]`, to `[batch]`.

    Returns:
        `[batch]`, at most 0: minus the distance between the two softmax outputs.

    Raises:
        ValueError: unknown name of a distance.

    Example:
        >>> rectification(tf.constant([[9.0, 0.0]]), tf.constant([[9.0, 0.0]])).numpy()
        array([-0.], dtype=float32)
    """
    probabilities = tf.nn.softmax(at_least_float32(logits))
    masked = tf.nn.softmax(at_least_float32(masked_logits))
    return -distance_by_name(distance)(probabilities - masked)


def preservation(
    clean_maps: tf.Tensor, adversarial_maps: tf.Tensor, distance: str | Callable = "l1"
) -> tf.Tensor:
    """The preservation loss of [AAD Eq. 8]: how far an attack moves the attention map of an image.

    Maps are compared as they are. To compare where attention lies and not how large it is, divide
    each map by its sum beforehand (`unit_sum`), as `AADModel`, the training by Attention-based
    Adversarial Defense, does by default.

    Args:
        clean_maps: float `[batch, h, w]`, attention maps g(x) of the clean images.
        adversarial_maps: maps g(x_adv) of the attacked images, of the same shape and dtype.
        distance: `"l1"` (sum of absolute values over cells), `"l2"` (Euclidean norm),
            `"squared_sum"`, `"squared_mean"`, `"absolute_mean"`, or a function from the difference,
            `[batch, h, w]`, to `[batch]`.

    Returns:
        `[batch]`, non-negative, in the dtype of the maps.

    Raises:
        ValueError: unknown name of a distance.

    Example:
        >>> preservation(tf.constant([[[0.5, 0.5]]]), tf.constant([[[1.0, 0.0]]])).numpy()
        array([1.], dtype=float32)
    """
    return distance_by_name(distance)(clean_maps - adversarial_maps)


def unit_sum(maps: tf.Tensor) -> tf.Tensor:
    """Scales each map to sum 1; a map of zeros stays zero.

    The distance between such maps depends on where attention lies and not on the scale of the
    logits, which a network could otherwise shrink to lower the preservation loss.

    Args:
        maps: `[batch, h, w]`, non-negative.

    Returns:
        The scaled maps, same shape and dtype.

    Example:
        >>> unit_sum(tf.constant([[[1.0, 3.0]]])).numpy()
        array([[[0.25, 0.75]]], dtype=float32)
    """
    return tf.math.divide_no_nan(maps, tf.reduce_sum(maps, axis=(1, 2), keepdims=True))


MAPS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "grad_cam": grad_cam_map,
    "softmax_grad_cam": softmax_grad_cam_map,
    "softmax_grad_cam_of_each": functools.partial(softmax_grad_cam_map, over_batch=False),
}
