"""Grad-CAM++ attention maps (Chattopadhyay et al. 2018)."""

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
    """Grad-CAM++ map from features and the gradient of a class score.

    With A a channel of the features, g the gradient of the logit S with respect to A, and sums over
    the cells of the channel,

        alpha = g^2 / (2 g^2 + g^3 sum(A))         [Grad-CAM++ Eq. 19]
        weight of the channel = sum(alpha relu(g)) [Grad-CAM++ Eq. 5]
        map = relu(sum over channels of weight A)

    The formula of alpha assumes that the explained score is Y = exp(S) and that S is piecewise
    linear in the features, as in a network of ReLUs: then the n-th derivative of Y is
    exp(S) g^n. The factor exp(S) cancels in alpha. In the weights it would only scale each map as a
    whole, and is left out because it overflows.

    If features are not negative, as after a ReLU, alpha lies in (0, 1/2] where g > 0, and its value
    elsewhere has no effect. Features of both signs can bring the denominator near 0.

    Args:
        features: `[batch, h, w, channels]`, output of the layer that is explained.
        gradients: gradient of the logit of the explained class with respect to `features`, of the
            same shape.
        normalize: whether alpha is divided by its sum over the cells of the channel: False as in
            the paper's equations, True as in its authors' code and in tf-keras-vis.

    Returns:
        `[batch, h, w]`, non-negative, not normalised, float64 for float64 inputs, else float32.

    Example:
        >>> logits, features, gradients = class_gradients(classifier, images, labels)
        >>> maps = grad_cam_plus_plus_map(features, gradients)

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
    """Grad-CAM++ attention maps (Chattopadhyay et al. 2018): which places increase a class score.

    Args:
        classifier: the network, with the layer that is explained; runs in inference mode.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the class that is explained for each image.
        normalize: whether the weights of the cells of a channel are divided by their sum: False as
            in the paper's equations, True as in its authors' code.

    Returns:
        Maps `[batch, h, w]` on the grid of that layer's output, non-negative, not normalised. A
        factor exp(logit) of each map is left out, so values of different images are not
        comparable.

    Raises:
        TypeError: no Classifier, images not floating point, or classes not numbers.
        ValueError: images of wrong rank or shape, with NaN or out of range, or unknown classes.
        RuntimeError: a call inside a `tf.function`.

    Example:
        >>> maps = grad_cam_plus_plus(classifier, images, labels)  # [batch, 7, 7] for LeNet
    """
    return checked_attention_maps(classifier, images, class_ids, _MAP_FUNCTIONS[bool(normalize)])
