"""Grad-CAM attention maps (Selvaraju et al. 2017), as used in [AAD Eq. 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.utils.ops import at_least_float32

# From features and the gradient of the target logit by them to maps.
MapFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# Target classes, None for the predicted ones, or a function that chooses them by the logits.
ClassIds = Any


def signed_grad_cam_map(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """The weighted sum of channels before Grad-CAM's ReLU: positive for the class, or against it.

    Channel weights are the spatial means of the gradient.

    Args:
        features: `[batch, h, w, channels]` of the attention layer.
        gradients: gradient of the target logit by `features`, same shape.

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
        gradients: gradient of the target logit by `features`, same shape.

    Returns:
        `[batch, h, w]`, non-negative, float32 or float64.

    Example:
        >>> maps = grad_cam_map(features, tape.gradient(score, features))
    """
    return tf.nn.relu(signed_grad_cam_map(features, gradients))


def softmax_grad_cam_map(
    features: tf.Tensor, gradients: tf.Tensor, over_batch: bool = True
) -> tf.Tensor:
    """The variant of the AAD authors' code: no ReLU, spatial softmax over the grid.

    Gradients are divided by their root mean square over the whole batch, so maps of one batch
    depend on each other.

    Args:
        features: `[batch, h, w, channels]` of the attention layer.
        gradients: gradient of the target logit by `features`, same shape.
        over_batch: False takes the root mean square of each example by itself.

    Returns:
        `[batch, h, w]`, positive, each map sums to 1.
    """
    gradients = at_least_float32(gradients)
    axes = (0, 1, 2, 3) if over_batch else (1, 2, 3)
    mean_square = tf.reduce_mean(tf.square(gradients), axis=axes, keepdims=True)
    gradients = tf.math.divide_no_nan(gradients, tf.sqrt(mean_square + 1e-12))
    scores = signed_grad_cam_map(features, gradients)
    flat = tf.nn.softmax(tf.reshape(scores, (tf.shape(scores)[0], -1)))
    return tf.reshape(flat, tf.shape(scores))


def class_scores(logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
    """The logit of one class per example, `[batch]`.

    Args:
        logits: `[batch, classes]`.
        class_ids: int `[batch]`.

    Returns:
        `[batch]` in the dtype of `logits`.
    """
    return tf.gather(logits, class_ids, axis=1, batch_dims=1)


class ClassGradients(NamedTuple):
    """What attention maps are made of.

    Attributes:
        logits: `[batch, classes]`.
        features: `[batch, h, w, channels]` of the attention layer.
        gradients: of the logit of the target class by the features, in their shape.
    """

    logits: tf.Tensor
    features: tf.Tensor
    gradients: tf.Tensor


def class_gradients(
    classifier: Classifier, images: tf.Tensor, class_ids: ClassIds, training: bool = False
) -> ClassGradients:
    """One forward pass, and the gradient of the target classes by the features of it.

    No checks are made, so that it can run inside compiled graphs. Whoever differentiates the
    result again opens another tape around the call.

    Args:
        classifier: the network and its attention layer.
        images: `[batch, H, W, C]` in the classifier's dtype.
        class_ids: the target classes, int `[batch]`; None for the predicted ones; or a function
            from logits to classes.
        training: as for `Classifier.__call__`.

    Example:
        >>> logits, features, gradients = class_gradients(classifier, images, labels)
        >>> maps = grad_cam_map(features, gradients)
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits, features = classifier(images, training=training)
        if class_ids is None:
            class_ids = predicted_classes
        target = class_ids(logits) if callable(class_ids) else class_ids
        scores = class_scores(logits, target)
    return ClassGradients(logits, features, tape.gradient(scores, features))


def predicted_classes(logits: tf.Tensor) -> tf.Tensor:
    """The class of the highest logit, int32 `[batch]`; no gradient flows through it."""
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def attention_maps(
    classifier: Classifier,
    images: tf.Tensor,
    class_ids: ClassIds,
    map_function: MapFunction = grad_cam_map,
) -> tf.Tensor:
    """Attention maps without checks, for use inside compiled graphs; see `class_gradients`."""
    _, features, gradients = class_gradients(classifier, images, class_ids)
    return map_function(features, gradients)


def grad_cam(classifier: Classifier, images: Any, class_ids: Any) -> tf.Tensor:
    """Where the network looks to see a class: Grad-CAM, g(x) of [AAD Eq. 1].

    Args:
        classifier: the network and its attention layer.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the target class of each image.

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
    """Attention maps of arguments that are checked, as `grad_cam` and `grad_cam_plus_plus` do.

    Args:
        classifier: the network and its attention layer.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the target class of each image.
        map_function: from features and gradients `[batch, h, w, channels]` to maps.

    Returns:
        `[batch, h, w]`, from one compiled function whatever the batch size.

    Raises:
        TypeError: no Classifier, images not floating point, or classes not integers.
        ValueError: wrong rank or shape, NaN, values out of range.
    """
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    return compiled_attention_maps(classifier, map_function)(images, class_ids)


def compiled_attention_maps(
    classifier: Classifier, map_function: MapFunction = grad_cam_map
) -> Any:
    """The compiled attention maps of a classifier: one trace whatever the batch size.

    Args:
        classifier: the network and its attention layer.
        map_function: of module level; each one is compiled once per classifier.
    """
    return classifier.cached_function(
        ("attention_maps", map_function),
        lambda images, class_ids: attention_maps(classifier, images, class_ids, map_function),
        [classifier.image_spec, classifier.labels_spec],
    )
