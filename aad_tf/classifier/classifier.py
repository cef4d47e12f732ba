"""Classifier: any Keras image classifier as logits plus features of its attention layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.classifier import tracing
from aad_tf.classifier.attention_layer import attention_call
from aad_tf.classifier.second_order import exact_moments, refuse_unsafe_operations
from aad_tf.classifier.softmax import softmax_to_strip, without_softmax
from aad_tf.types import Bounds, ClassifierOutput
from aad_tf.utils.checks import check_bounds, check_images, check_labels

# Sides of images tried on a network that leaves them open. InceptionV3 needs 75 pixels or more.
_SIZES_TO_TRY = (64, 128, 256, 512)


class Classifier:
    """A Keras classifier as attacks, attention maps, losses and evaluation take it.

    It never changes the wrapped model: weights are shared, and the final softmax, if there
    is one, is bypassed only while the classifier itself runs.

    Attributes:
        model: the wrapped Keras model.
        attention_layer: name of the layer whose output the attention maps explain.
        bounds: pixel range of the images.
        num_classes: number of logits.
        input_shape: `(height, width, channels)`; entries may be None.
        dtype: dtype of images, that of the model's variables.
        compiled: compiled functions by key; `cached_function` fills it.

    Example:
        >>> classifier = Classifier.from_keras(keras_model)
        >>> logits, features = classifier(images)
    """

    def __init__(
        self,
        model: keras.Model,
        attention_layer: keras.Layer,
        softmax_layer: keras.Layer | None,
        num_classes: int,
        input_shape: tuple[int | None, ...],
        bounds: Bounds,
    ) -> None:
        self.model = model
        self.bounds = check_bounds(bounds)
        self.num_classes = num_classes
        self.input_shape = input_shape
        self.attention_layer = attention_layer.name
        self._attention = attention_layer
        self._softmax = softmax_layer
        self.compiled: dict[Any, Any] = {}

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        attention_layer: str | None = None,
        bounds: Bounds = Bounds(0.0, 1.0),
        input_shape: tuple[int, ...] | None = None,
    ) -> Classifier:
        """Wraps a Sequential, Functional, nested or subclassed Keras model.

        Args:
            model: takes `[batch, H, W, C]` images and returns `[batch, classes]` logits; a final
                softmax layer is taken off.
            attention_layer: name of the layer to explain; by default the last layer on the way
                to the logits whose output still has a spatial grid, as Grad-CAM recommends.
            bounds: lowest and highest pixel value the model takes, a pair of numbers. Attack
                sizes are in this unit and at most 1: put a Rescaling(255) layer in front of a
                model that takes 0..255.
            input_shape: `(H, W, C)`, for a model that was never called, or to fix the size of
                images where the model leaves it open.

        Returns:
            A Classifier sharing the model's weights.

        Raises:
            TypeError: not a Keras model, or a defence, which holds a Classifier already.
            ValueError: no spatial features, unknown attention layer, outputs that are
                probabilities and cannot be turned into logits, or a layer between attention
                layer and logits whose second derivative TensorFlow gets wrong.
        """
        _check_model(model)
        bounds = check_bounds(bounds)
        shape = _input_shape(model, input_shape)
        with exact_moments():
            trace = tracing.trace_forward(model, shape, _dtype(model))
        num_classes = _num_classes(trace.output)
        call = attention_call(trace, attention_layer)
        refuse_unsafe_operations(trace, call)
        softmax = softmax_to_strip(trace)
        classifier = cls(model, call.layer, softmax, num_classes, shape, bounds)
        _refuse_probabilities(classifier)
        return classifier

    @property
    def dtype(self) -> tf.DType:
        """dtype of images, gradients and perturbations."""
        return _dtype(self.model)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of the wrapped model."""
        return self.model.variables

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Trainable variables of the wrapped model."""
        return self.model.trainable_variables

    def __call__(self, images: tf.Tensor, training: bool = False) -> ClassifierOutput:
        """Runs the model once.

        Args:
            images: `[batch, H, W, C]` within `bounds`.
            training: True runs dropout and updates batch statistics.

        Returns:
            Logits `[batch, classes]` and features `[batch, h, w, channels]`.
        """
        calls: list[tracing.LayerCall] = []
        with (
            exact_moments(),
            without_softmax(self._softmax),
            tracing.recording([self._attention], calls.append),
        ):
            logits = self.model(images, training=training)
        return ClassifierOutput(logits, calls[-1].output)

    def predict_logits(self, images: tf.Tensor) -> tf.Tensor:
        """Logits in inference mode from one compiled graph, whatever the batch size."""
        function = self.cached_function(
            "logits", lambda batch: self(batch, training=False).logits, [self.image_spec]
        )
        return function(images)

    def cached_function(
        self,
        key: Hashable,
        function: Callable,
        signature: Sequence[tf.TensorSpec] | Callable[[], Sequence[tf.TensorSpec]],
    ) -> Any:
        """The compiled form of a function that runs this network: one trace for all calls.

        Args:
            key: what the function does, and all that it depends on besides this classifier.
            function: from tensors to tensors; compiled when the key is new, else ignored.
            signature: specs of its arguments, with None for the batch axis; or a function that
                returns them, called when the key is new.

        Returns:
            The compiled function; the same object for the same key.

        Example:
            >>> predict = classifier.cached_function(
            ...     "predictions",
            ...     lambda images: tf.argmax(classifier(images).logits, axis=-1),
            ...     [classifier.image_spec],
            ... )
        """
        if key not in self.compiled:
            specs = signature() if callable(signature) else signature
            compiled = tf.function(function, input_signature=specs, autograph=False)
            # Traced at once: TensorFlow takes first calls of many functions for retracing.
            compiled.get_concrete_function()
            self.compiled[key] = compiled
        return self.compiled[key]

    @property
    def labels_spec(self) -> tf.TensorSpec:
        """Signature of labels or class numbers of a batch of any size."""
        return tf.TensorSpec((None,), tf.int32)

    @property
    def image_spec(self) -> tf.TensorSpec:
        """Signature of an image batch of any size."""
        return tf.TensorSpec((None, *self.input_shape), self.dtype)


def held_classifier(model: Any) -> Classifier | None:
    """The Classifier that a defence trains, or None if `model` is no defence."""
    held = getattr(model, "classifier", None)
    return held if isinstance(held, Classifier) else None


def checked_inputs(
    classifier: Any, images: Any, labels: Any, name: str = "labels"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns images in the classifier's dtype and int32 labels, or says what is wrong.

    Raises:
        TypeError: no Classifier, images not floating point, or labels not integers.
        ValueError: wrong rank or shape, NaN, values or labels out of range.
    """
    if not isinstance(classifier, Classifier):
        raise TypeError(
            f"classifier must be a Classifier, got {type(classifier).__name__}. Wrap a Keras model "
            f"with aad_tf.Classifier.from_keras(model); a defence holds one as .classifier."
        )
    images = check_images(
        images,
        bounds=classifier.bounds,
        image_shape=classifier.input_shape,
        dtype=classifier.dtype,
    )
    labels = check_labels(
        labels, batch_size=images.shape[0], num_classes=classifier.num_classes, name=name
    )
    return images, labels


def _check_model(model: Any) -> None:
    if isinstance(model, Classifier):
        raise TypeError("model is a Classifier already; pass it on as it is.")
    if not isinstance(model, keras.Model):
        old = type(model).__module__.split(".")[0] == "tf_keras"
        kind = f"{type(model).__name__}{' of tf_keras (Keras 2)' if old else ''}"
        raise TypeError(f"model must be a keras.Model of Keras 3, got {kind}.")
    if held_classifier(model) is not None:
        raise TypeError(
            f"model is a defence ({type(model).__name__}): pass its .classifier, or its .network."
        )


def _dtype(model: keras.Model) -> tf.DType:
    for variable in model.trainable_variables + model.variables:
        dtype = tf.as_dtype(variable.dtype)
        if dtype.is_floating:
            return dtype
    return tf.as_dtype(keras.config.floatx())


def _input_shape(model: keras.Model, given: tuple[int, ...] | None) -> tuple[int | None, ...]:
    shape = given
    if shape is None:
        batched = getattr(model, "input_shape", None) if model.built else None
        if batched is None:
            batched = (model.get_build_config() or {}).get("input_shape")
        if batched is None:
            raise ValueError(
                "The input shape of this model is not known yet. Call it once on a batch of "
                "images, or pass input_shape=(height, width, channels)."
            )
        shape = tuple(batched[1:])
    if len(shape) != 3:
        raise ValueError(
            f"The model must take images [batch, height, width, channels], but takes inputs of "
            f"shape [batch, {', '.join(map(str, shape))}]."
        )
    return tuple(shape)


def _num_classes(output: tf.Tensor) -> int:
    if not tf.is_tensor(output) or output.shape.rank != 2 or output.shape[1] is None:
        raise ValueError(
            f"The model must return logits [batch, classes], got shape "
            f"{getattr(output, 'shape', None)}."
        )
    if output.shape[1] < 2:
        raise ValueError(
            "The model has a single output; a classifier needs one logit per class. Give a binary "
            "classifier two logits."
        )
    return int(output.shape[1])


def _refuse_probabilities(classifier: Classifier) -> None:
    """Catches a softmax written with other operations, by its values."""
    shape: Any = classifier.input_shape
    predict: Callable = classifier.predict_logits
    if None in shape:
        shape, predict = _size_that_fits(classifier)
    images = np.random.default_rng(0).uniform(*classifier.bounds, size=(2, *shape))
    logits = np.asarray(tf.cast(predict(tf.cast(images, classifier.dtype)), tf.float64))
    sums_to_one = np.allclose(logits.sum(axis=-1), 1.0, atol=1e-3)
    if sums_to_one and logits.min() >= 0.0:
        raise ValueError(
            "The model's outputs are probabilities (they are not negative and sum to 1); attacks "
            "and losses need logits. Remove the final softmax."
        )


def _size_that_fits(classifier: Classifier) -> tuple[tuple[int, ...], Callable]:
    """A shape of images for a network of open size, and its logits for two of them.

    Which sizes a network takes it does not say. Shapes are inferred before anything runs, for
    some operations end the whole process on images that are too small for them.
    """
    predict = tf.function(lambda images: classifier(images).logits, autograph=False)
    failure: Exception | None = None
    for size in _SIZES_TO_TRY:
        shape = tuple(known or size for known in classifier.input_shape)
        try:
            spec = tf.TensorSpec((2, *shape), classifier.dtype)
            concrete = predict.get_concrete_function(spec)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            failure = error
            continue
        outputs = [each for op in concrete.graph.get_operations() for each in op.outputs]
        if all(output.shape.rank is None or 0 not in output.shape for output in outputs):
            return shape, concrete
    raise ValueError(
        f"The model leaves the size of its images open, but takes none of "
        f"{', '.join(map(str, _SIZES_TO_TRY))} pixels per side. Pass the size that it needs: "
        f"input_shape=(height, width, channels)."
    ) from failure
