"""Grad-CAM attention maps (Selvaraju et al. 2017), as used in [AAD Eq. 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.utils.ops import at_least_float32, without_autograph

# From features and the gradient of the target logit by them to maps.
MapFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# Target classes, None for the predicted ones, or a function that chooses them by the logits.
ClassIds = Any


def signed_grad_cam_map(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM before its ReLU: the sum of channels weighted by their mean gradient.

    A positive cell increases the score of the class, a negative one decreases it.

    Args:
        features: `[batch, h, w, channels]`, output of the layer that is explained.
        gradients: gradient of the logit of the explained class with respect to `features`, of the
            same shape.

    Returns:
        `[batch, h, w]`, of either sign, float64 for float64 inputs, else float32.

    Example:
        >>> logits, features, gradients = class_gradients(classifier, images, labels)
        >>> evidence = signed_grad_cam_map(features, gradients)
    """
    features, gradients = at_least_float32(features), at_least_float32(gradients)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.reduce_sum(weights * features, axis=-1)


def grad_cam_map(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM map from features and the gradient of a class score: g(x) of [AAD Eq. 1].

    The weight of a channel is the spatial mean of its gradient; the map is the ReLU of the weighted
    sum of channels.

    Args:
        features: `[batch, h, w, channels]`, output of the layer that is explained.
        gradients: gradient of the logit of the explained class with respect to `features`, of the
            same shape.

    Returns:
        `[batch, h, w]`, non-negative, not normalised, float64 for float64 inputs, else float32.

    Example:
        >>> logits, features, gradients = class_gradients(classifier, images, labels)
        >>> maps = grad_cam_map(features, gradients)
    """
    return tf.nn.relu(signed_grad_cam_map(features, gradients))


def softmax_grad_cam_map(
    features: tf.Tensor, gradients: tf.Tensor, over_batch: bool = True
) -> tf.Tensor:
    """Grad-CAM as in the AAD authors' code: a softmax over the cells of a map, without a ReLU.

    Gradients are first divided by their root mean square.

    Args:
        features: `[batch, h, w, channels]`, output of the layer that is explained.
        gradients: gradient of the logit of the explained class with respect to `features`, of the
            same shape.
        over_batch: True takes the root mean square over the whole batch, as the authors do, so that
            maps of one batch depend on each other; False takes that of each example by itself.

    Returns:
        `[batch, h, w]`, positive, each map sums to 1; float64 for float64 inputs, else float32.

    Example:
        >>> logits, features, gradients = class_gradients(classifier, images, labels)
        >>> maps = softmax_grad_cam_map(features, gradients)
    """
    gradients = at_least_float32(gradients)
    axes = (0, 1, 2, 3) if over_batch else (1, 2, 3)
    mean_square = tf.reduce_mean(tf.square(gradients), axis=axes, keepdims=True)
    gradients = tf.math.divide_no_nan(gradients, tf.sqrt(mean_square + 1e-12))
    scores = signed_grad_cam_map(features, gradients)
    flat = tf.nn.softmax(tf.reshape(scores, (tf.shape(scores)[0], -1)))
    return tf.reshape(flat, tf.shape(scores))


def class_scores(logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
    """Selects the score of one class per example.

    Args:
        logits: `[batch, classes]`, logits or probabilities.
        class_ids: int `[batch]`, class numbers.

    Returns:
        `[batch]` in the dtype of `logits`.
    """
    return tf.gather(logits, class_ids, axis=1, batch_dims=1)


class ClassGradients(NamedTuple):
    """The tensors from which attention maps are computed.

    Attributes:
        logits: `[batch, classes]`.
        features: `[batch, h, w, channels]`, output of the layer that is explained.
        gradients: gradient of the logit of the explained class with respect to `features`, of the
            same shape.
    """

    logits: tf.Tensor
    features: tf.Tensor
    gradients: tf.Tensor


@without_autograph
def class_gradients(
    classifier: Classifier, images: tf.Tensor, class_ids: ClassIds, training: bool = False
) -> ClassGradients:
    """Runs the network once and differentiates one logit per example by the features of a layer.

    Inputs are not checked, so that it can run inside compiled graphs. For derivatives of the
    result, call it inside another `tf.GradientTape`.

    Args:
        classifier: the network, with the layer that is explained.
        images: `[batch, H, W, C]` in the classifier's dtype.
        class_ids: the explained classes, int `[batch]`; None for the predicted classes; or a
            function from logits `[batch, classes]` to int `[batch]`.
        training: whether the network runs in training mode: with dropout, and with batch statistics
            that update the moving ones.

    Returns:
        Logits `[batch, classes]`, features `[batch, h, w, channels]` of that layer, and the
        gradient of each example's logit of the explained class with respect to them, of the same
        shape.

    Example:
        >>> logits, features, gradients = class_gradients(classifier, images, labels)
        >>> maps = grad_cam_map(features, gradients)
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        with classifier.features_watched(tape):
            logits, features = classifier(images, training=training)
        if class_ids is None:
            class_ids = predicted_classes
        target = class_ids(logits) if callable(class_ids) else class_ids
        scores = class_scores(logits, target)
    return ClassGradients(logits, features, tape.gradient(scores, features))


def predicted_classes(logits: tf.Tensor) -> tf.Tensor:
    """Finds the class of the highest logit of each example.

    Args:
        logits: `[batch, classes]`.

    Returns:
        int32 `[batch]`.
    """
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


@without_autograph
def attention_maps(
    classifier: Classifier,
    images: tf.Tensor,
    class_ids: ClassIds,
    map_function: MapFunction = grad_cam_map,
) -> tf.Tensor:
    """Computes attention maps without checks of the inputs, for use inside compiled graphs.

    Args:
        classifier: the network, with the layer that is explained; runs in inference mode.
        images: `[batch, H, W, C]` in the classifier's dtype.
        class_ids: the explained classes, int `[batch]`; None for the predicted classes; or a
            function from logits `[batch, classes]` to int `[batch]`.
        map_function: function from features and gradients, both `[batch, h, w, channels]`, to maps
            `[batch, h, w]`; by default Grad-CAM.

    Returns:
        `[batch, h, w]`, as `map_function` returns them; those of Grad-CAM are non-negative.

    Example:
        >>> compiled = tf.function(lambda images: attention_maps(classifier, images, None))
        >>> maps = compiled(images)  # Grad-CAM of the predicted classes
    """
    _, features, gradients = class_gradients(classifier, images, class_ids)
    return map_function(features, gradients)


def grad_cam(classifier: Classifier, images: Any, class_ids: Any) -> tf.Tensor:
    """Grad-CAM attention maps, g(x) of [AAD Eq. 1]: which places increase the score of a class.

    Args:
        classifier: the network, with the layer that is explained; runs in inference mode.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the class that is explained for each image.

    Returns:
        Maps `[batch, h, w]` on the grid of that layer's output, non-negative, not normalised, with
        large values where the image increases the score.

    Raises:
        TypeError: no Classifier, images not floating point, or classes not numbers.
        ValueError: images of wrong rank or shape, with NaN or out of range, or unknown classes.
        RuntimeError: a call inside a `tf.function`.

    Example:
        >>> maps = grad_cam(classifier, images, labels)  # [batch, 7, 7] for LeNet
    """
    return checked_attention_maps(classifier, images, class_ids, grad_cam_map)


def checked_attention_maps(
    classifier: Classifier, images: Any, class_ids: Any, map_function: MapFunction
) -> tf.Tensor:
    """Checks the arguments and computes attention maps by a compiled function.

    Args:
        classifier: the network, with the layer that is explained; runs in inference mode.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the class that is explained for each image.
        map_function: function from features and gradients, both `[batch, h, w, channels]`, to maps
            `[batch, h, w]`; defined at module level, since it is compiled once per classifier.

    Returns:
        `[batch, h, w]`, as `map_function` returns them.

    Raises:
        TypeError: no Classifier, images not floating point, or classes not numbers.
        ValueError: images of wrong rank or shape, with NaN or out of range, or unknown classes.
        RuntimeError: a call inside a `tf.function`.
    """
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    return compiled_attention_maps(classifier, map_function)(images, class_ids)


def compiled_attention_maps(
    classifier: Classifier, map_function: MapFunction = grad_cam_map
) -> Any:
    """Compiles the computation of attention maps for a classifier.

    Args:
        classifier: the network, with the layer that is explained; runs in inference mode.
        map_function: function from features and gradients, both `[batch, h, w, channels]`, to maps
            `[batch, h, w]`; defined at module level, since it is compiled once per classifier.

    Returns:
        A function from images `[batch, H, W, C]` and classes int32 `[batch]` to maps
        `[batch, h, w]`, without checks. It is traced once for all batch sizes.
    """
    return classifier.cached_function(
        ("attention_maps", map_function),
        lambda images, class_ids: attention_maps(classifier, images, class_ids, map_function),
        [classifier.image_spec, classifier.labels_spec],
    )
