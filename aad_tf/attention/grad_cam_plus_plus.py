"""Grad-CAM++ attention maps (Chattopadhyay et al. 2018), a second opinion beside Grad-CAM."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from aad_tf.attention.grad_cam import MapFunction, checked_attention_maps
from aad_tf.classifier import Classifier
from aad_tf.utils.ops import at_least_float32


def grad_cam_plus_plus_map(
    features: tf.Tensor, gradients: tf.Tensor, normalize: bool = False
) -> tf.Tensor:
    """Attention map that weighs the cells of a channel by how much each one matters.

    With A a channel of the features, g the gradient of the logit S by it and ab all its cells,

        alpha = g^2 / (2 g^2 + g^3 sum_ab(A))      [Grad-CAM++ Eq. 19]
        weight of the channel = sum(alpha relu(g)) [Grad-CAM++ Eq. 5]
        map = relu(sum over channels of weight A)

    The closed form of alpha assumes that the explained score is Y = exp(S) and S is piecewise
    linear in the features, as in a network of ReLUs: then the n-th derivative of Y is
    exp(S) g^n. The factor exp(S) cancels in alpha. In the weights it only scales each map as a
    whole, and is left out because it overflows.

    Where features are not negative, as after a ReLU, alpha lies in (0, 1/2] wherever it counts,
    that is where g > 0. Features of both signs can bring the denominator near 0.

    Args:
        features: `[batch, h, w, channels]` of the attention layer.
        gradients: gradient of the target logit by `features`, same shape.
        normalize: divides alpha by its sum over the cells of the channel. The paper's equations
            do not; the code its authors published does, and tf-keras-vis after it.

    Returns:
        `[batch, h, w]`, non-negative, float32 or float64.

    Example:
        >>> maps = grad_cam_plus_plus_map(features, tape.gradient(score, features))

    Chattopadhyay et al., "Grad-CAM++: Improved Visual Explanations for Deep Convolutional
    Networks" (2018).
    """
    features, gradients = at_least_float32(features), at_least_float32(gradients)
    totals = tf.reduce_sum(features, axis=(1, 2), keepdims=True)
    # g^2 is cancelled, for powers of small gradients underflow; alpha stays 0 where g is 0.
    alphas = tf.math.divide_no_nan(tf.abs(tf.sign(gradients)), 2.0 + gradients * totals)
    if normalize:
        alphas = tf.math.divide_no_nan(alphas, tf.reduce_sum(alphas, axis=(1, 2), keepdims=True))
    weights = tf.reduce_sum(alphas * tf.nn.relu(gradients), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))


# One object each, so that a classifier compiles each once.
_MAP_FUNCTIONS: dict[bool, MapFunction] = {
    False: grad_cam_plus_plus_map,
    True: functools.partial(grad_cam_plus_plus_map, normalize=True),
}


def grad_cam_plus_plus(
    classifier: Classifier, images: Any, class_ids: Any, *, normalize: bool = False
) -> tf.Tensor:
    """Where the network looks to see a class, by Grad-CAM++.

    Args:
        classifier: the network and its attention layer.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the target class of each image.
        normalize: as for `grad_cam_plus_plus_map`: True agrees with the code of the method's
            authors, False with their equations.

    Returns:
        `[batch, h, w]` maps on the grid of the attention layer, non-negative, not normalised.
        Compare their shape, not their height: a factor of exp(logit) is left out.

    Raises:
        TypeError: no Classifier, images not floating point, or classes not integers.
        ValueError: wrong rank or shape, NaN, values out of range.

    Example:
        >>> maps = grad_cam_plus_plus(classifier, images, labels)  # [batch, 7, 7] for LeNet
    """
    return checked_attention_maps(classifier, images, class_ids, _MAP_FUNCTIONS[bool(normalize)])
