"""Grad-CAM attention maps (Selvaraju et al. 2017), as used in [AAD Eq. 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.ops import at_least_float32, safe_divide

# From features and the gradient of the explained logit by them to maps.
MapFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def signed_grad_cam_map(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """The weighted sum of channels before Grad-CAM's ReLU: positive for the class, or against it.

    Channel weights are the spatial means of the gradient.

    Args:
        features: `[batch, h, w, channels]` of the attention layer.
        gradients: gradient of the explained logit by `features`, same shape.

    Returns:
        `[batch, h, w]`, of either sign, float32 or float64.

    Example:
        >>> evidence = signed_grad_cam_map(features, tape.gradient(score, features))
    """
    features, gradients = at_least_float32(features), at_least_float32(gradients)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.reduce_sum(weights * features, axis=-1)


def grad_cam_map(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Attention map from features and the gradient of a class score: [AAD Eq. 1], g(x).

    Channel weights are the spatial means of the gradient; the map is the ReLU of the weighted
    sum of channels.

    Args:
        features: `[batch, h, w, channels]` of the attention layer.
        gradients: gradient of the explained logit by `features`, same shape.

    Returns:
        `[batch, h, w]`, non-negative, float32 or float64.

    Example:
        >>> maps = grad_cam_map(features, tape.gradient(score, features))
    """
    return tf.nn.relu(signed_grad_cam_map(features, gradients))


def softmax_grad_cam_map(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """The variant of the AAD authors' code: no ReLU, spatial softmax over the grid.

    Gradients are divided by their root mean square over the whole batch, so maps of one batch
    depend on each other.

    Args:
        features: `[batch, h, w, channels]` of the attention layer.
        gradients: gradient of the explained logit by `features`, same shape.

    Returns:
        `[batch, h, w]`, positive, each map sums to 1.
    """
    gradients = at_least_float32(gradients)
    mean_square = tf.reduce_mean(tf.square(gradients))
    gradients = safe_divide(gradients, tf.sqrt(mean_square + 1e-12))
    scores = signed_grad_cam_map(features, gradients)
    flat = tf.nn.softmax(tf.reshape(scores, (tf.shape(scores)[0], -1)))
    return tf.reshape(flat, tf.shape(scores))


def class_scores(logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
    """The logit of one class an example, `[batch]`.

    Args:
        logits: `[batch, classes]`.
        class_ids: int `[batch]`.

    Returns:
        `[batch]` in the dtype of `logits`.
    """
    return tf.gather(logits, class_ids, axis=1, batch_dims=1)


def attention_maps(
    classifier: Classifier,
    images: tf.Tensor,
    class_ids: tf.Tensor,
    map_function: MapFunction = grad_cam_map,
) -> tf.Tensor:
    """Attention maps without checks, for use inside compiled graphs."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        output = classifier(images, training=False)
        scores = class_scores(output.logits, class_ids)
    return map_function(output.features, tape.gradient(scores, output.features))


def grad_cam(classifier: Classifier, images: Any, class_ids: Any) -> tf.Tensor:
    """Where the network looks to see a class: Grad-CAM, g(x) of [AAD Eq. 1].

    Args:
        classifier: the network and its attention layer.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the class explained in each image.

    Returns:
        `[batch, h, w]` maps on the grid of the attention layer, non-negative, not normalised.

    Raises:
        TypeError: no Classifier, images not floating point, or classes not integers.
        ValueError: wrong rank or shape, NaN, values out of range.

    Example:
        >>> maps = grad_cam(classifier, images, labels)  # [batch, 7, 7] for LeNet
    """
    return checked_attention_maps(classifier, images, class_ids, grad_cam_map)


def checked_attention_maps(
    classifier: Classifier, images: Any, class_ids: Any, map_function: MapFunction
) -> tf.Tensor:
    """Checks the input of `grad_cam` and its kin, then runs the compiled map function."""
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    return compiled_attention_maps(classifier, map_function)(images, class_ids)


def compiled_attention_maps(
    classifier: Classifier, map_function: MapFunction = grad_cam_map
) -> Any:
    """The compiled attention maps of a classifier: one trace whatever the batch size.

    Args:
        classifier: the network and its attention layer.
        map_function: of module level; each one is compiled once a classifier.
    """
    key = ("attention_maps", map_function)
    function = classifier.compiled.get(key)
    if function is None:
        function = tf.function(
            lambda images, class_ids: attention_maps(classifier, images, class_ids, map_function),
            input_signature=[classifier.image_spec, tf.TensorSpec((None,), tf.int32)],
            autograph=False,
        )
        classifier.compiled[key] = function
    return function
