"""The TensorFlow functions of a classifier that a SavedModel holds."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from aad_tf.attention.grad_cam import attention_maps, predicted_classes
from aad_tf.classifier import Classifier, tracing
from aad_tf.types import ClassifierOutput


class NetworkModule(tf.Module):
    """The object that a SavedModel is written from: a classifier's functions and their variables.

    All functions take float32 images of any batch size and return float32; the network computes
    in its own precision in between, in inference mode.

    Args:
        classifier: the network and the layer that attention maps explain.

    Attributes:
        forward: function from images `[batch, H, W, C]` to a dict of `logits` `[batch, classes]`
            and `features` `[batch, h, w, channels]`, the output of the attention layer.
        features: function from images to features alone.
        logits_from_features: function from images and features to logits.
        serve: function from images to a dict of `logits` and `probabilities`, `[batch, classes]`.
        attend: function from images and `class_ids`, int32 `[batch]`, -1 for the predicted class,
            to a dict of `attention_map` `[batch, h, w]`, Grad-CAM of these classes.
        attend_predicted: function from images to such a dict, of the predicted class.
        network_variables: all variables of the network that these functions read.
        network_trainable_variables: those of them that training changes.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(name="aad_tf_network")
        images = tf.TensorSpec((None, *classifier.input_shape), tf.float32, name="images")
        class_ids = tf.TensorSpec((None,), tf.int32, name="class_ids")
        self.forward = _compiled(functools.partial(_forward, classifier), images)
        self.features = _compiled(functools.partial(_features, classifier), images)
        calls: list[tracing.LayerCall] = []
        with tracing.recording([classifier._attention], calls.append):
            traced = self.features.get_concrete_function()
        given = [call.output for call in calls if call.output.graph is traced.graph]
        features = tf.TensorSpec(traced.output_shapes, tf.float32, name="features")
        self.logits_from_features = _compiled(
            functools.partial(_logits_from_features, classifier, len(given), given[-1].dtype),
            images,
            features,
        )
        # What they have in common is traced once: a deep network takes seconds each time.
        self.serve = _compiled(functools.partial(_serve, self.forward), images)
        self.attend = _compiled(functools.partial(_attend, classifier), images, class_ids)
        self.attend_predicted = _compiled(functools.partial(_attend_predicted, self.attend), images)
        self.network_variables = self._variables_read(classifier)
        trainable = {id(variable.value) for variable in classifier.trainable_variables}
        self.network_trainable_variables = [
            variable for variable in self.network_variables if id(variable) in trainable
        ]

    def signatures(self) -> dict[str, Any]:
        """Signatures of the SavedModel by name.

        `serving_default` takes `images`, float32 `[batch, H, W, C]` in the pixel range of the
        exported classifier, [0, 1] unless it was made with other `bounds`, and gives `logits` and
        `probabilities`, float32 `[batch, classes]`; `attention` takes images and `class_ids`, int32
        `[batch]`, and gives the `attention_map` of these classes, float32 `[batch, h, w]`, by
        Grad-CAM, where -1 stands for the predicted class; `attention_predicted` takes images and
        gives the map of the predicted class.

        Returns:
            Compiled functions by the name of the signature.
        """
        return {
            "serving_default": self.serve,
            "attention": self.attend,
            "attention_predicted": self.attend_predicted,
        }

    def _variables_read(self, classifier: Classifier) -> list[tf.Variable]:
        """Variables of the traces, in the network's order: none of an optimizer or a metric."""
        traces = (self.forward, self.logits_from_features, self.serve, self.attend)
        read = {
            id(variable): variable
            for trace in traces
            for variable in trace.get_concrete_function().variables
        }
        known = [id(variable.value) for variable in classifier.variables]
        ordered = [read.pop(key) for key in known if key in read]
        return ordered + sorted(read.values(), key=lambda variable: variable.name)


def _compiled(function: Callable, *signature: tf.TensorSpec) -> Any:
    return tf.function(function, input_signature=signature, autograph=False)


def _run(classifier: Classifier, images: tf.Tensor) -> ClassifierOutput:
    return classifier(tf.cast(images, classifier.dtype), training=False)


def _forward(classifier: Classifier, images: tf.Tensor) -> dict[str, tf.Tensor]:
    output = _run(classifier, images)
    return {"logits": _float32(output.logits), "features": _float32(output.features)}


def _features(classifier: Classifier, images: tf.Tensor) -> tf.Tensor:
    return _float32(_run(classifier, images).features)


def _serve(forward: Callable, images: tf.Tensor) -> dict[str, tf.Tensor]:
    logits = forward(images)["logits"]
    return {"logits": logits, "probabilities": tf.nn.softmax(logits)}


def _attend(
    classifier: Classifier, images: tf.Tensor, class_ids: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Signature `attention`: Grad-CAM of given classes, as `aad_tf.attention.grad_cam`.

    Args:
        images: float32 `[batch, H, W, C]`.
        class_ids: int32 `[batch]`; -1 is the predicted class.

    Returns:
        `attention_map`, float32 `[batch, h, w]`.
    """
    known = tf.reduce_all((class_ids >= -1) & (class_ids < classifier.num_classes))
    message = f"class_ids must lie in [0, {classifier.num_classes}), or be -1 for the predicted"
    with tf.control_dependencies([tf.debugging.Assert(known, [message, class_ids])]):
        # A cast to the dtype that images have would be no operation, and wait for nothing.
        class_ids = tf.identity(class_ids)
    images = tf.cast(images, classifier.dtype)

    def chosen(logits: tf.Tensor) -> tf.Tensor:
        return tf.where(class_ids < 0, predicted_classes(logits), class_ids)

    maps = attention_maps(classifier, images, chosen)
    return {"attention_map": _float32(maps)}


def _attend_predicted(attend: Callable, images: tf.Tensor) -> dict[str, tf.Tensor]:
    return attend(images, tf.fill(tf.shape(images)[:1], -1))


def _logits_from_features(
    classifier: Classifier,
    num_calls: int,
    dtype: tf.DType,
    images: tf.Tensor,
    features: tf.Tensor,
) -> tf.Tensor:
    """Logits of a network whose attention layer gave `features`.

    Images matter only for paths around that layer; what the features make superfluous is pruned
    when the function runs.

    Args:
        classifier: the network and its attention layer.
        num_calls: how often that layer runs in one pass; its last output is replaced.
        dtype: of that output.
        images: float32 `[batch, H, W, C]`.
        features: float32 `[batch, h, w, channels]`.
    """
    given = tf.cast(features, dtype)
    calls = itertools.count(1)

    def replaced(layer: keras.Layer, call: Callable[[], Any]) -> Any:
        return given if next(calls) == num_calls else call()

    with tracing.around_calls([classifier._attention], replaced):
        return _float32(_run(classifier, images).logits)


def _float32(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float32)
