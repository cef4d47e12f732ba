"""Losses of attention, [AAD Eqs. 7-8]; every function returns one value an example."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from aad_tf.attention.grad_cam import grad_cam_map, softmax_grad_cam_map
from aad_tf.losses.distances import distance_by_name
from aad_tf.ops import at_least_float32, safe_divide


def rectification(
    logits: tf.Tensor, masked_logits: tf.Tensor, distance: str | Callable = "l2"
) -> tf.Tensor:
    """Rewards predictions that collapse once the attention area is hidden: [AAD Eq. 7], one term.

    Args:
        logits: `[batch, classes]` of the image.
        masked_logits: `[batch, classes]` of the image without its attention area.
        distance: name in `DISTANCES`, or a function of the difference of softmax outputs.

    Returns:
        `[batch]`, at most 0: minus the distance between the two softmax outputs.

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
    """Penalises attention that moves under attack: [AAD Eq. 8], one term.

    Args:
        clean_maps: `[batch, h, w]`, g(x).
        adversarial_maps: `[batch, h, w]`, g(x_adv).
        distance: name in `DISTANCES`, or a function of the difference of the maps.

    Returns:
        `[batch]`, non-negative.
    """
    return distance_by_name(distance)(clean_maps - adversarial_maps)


def unit_sum(maps: tf.Tensor) -> tf.Tensor:
    """Scales each map to sum 1; a map of zeros stays zero.

    The distance between such maps speaks of where attention lies and not of the scale of the
    logits, which a network could otherwise shrink to please the preservation loss.
    """
    return safe_divide(maps, tf.reduce_sum(maps, axis=(1, 2), keepdims=True))


MAPS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "grad_cam": grad_cam_map,
    "softmax_grad_cam": softmax_grad_cam_map,
}
