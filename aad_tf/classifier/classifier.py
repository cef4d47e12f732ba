"""Classifier: wraps any Keras image classifier so that it returns logits and attention features."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.classifier import tracing
from aad_tf.classifier.attention_layer import attention_call
from aad_tf.classifier.inputs_outputs import Path, image_input, images_of, nest, select_output
from aad_tf.classifier.pixel_range import shrinking_layers, zero_pixel
from aad_tf.classifier.probabilities import (
    activation_to_strip,
    nonlinear_ending,
    two_logits,
    without_final_activation,
)
from aad_tf.classifier.second_order import (
    exact_moments,
    refuse_missing_gradients,
    refuse_unsafe_operations,
)
from aad_tf.types import Bounds, ClassifierOutput
from aad_tf.utils.checks import advice_for_255, check_bounds, check_images, check_labels

# Sides of images tried on a network that leaves them open. InceptionV3 needs 75 pixels or more.
_SIZES_TO_TRY = (64, 128, 256, 512)

# Key of the compiled function of `predict_logits`.
_LOGITS = "logits"


class Classifier:
    """A wrapped Keras classifier that returns logits and features; made by `from_keras`.

    Attacks, attention maps, losses and evaluation take it as their network. It does not change the
    wrapped model: weights are shared, and a final softmax or sigmoid is bypassed only while the
    classifier itself runs.

    Attributes:
        model: the wrapped Keras model.
        attention_layer: name of the layer whose output attention maps explain.
        bounds: pixel range of the images.
        num_classes: number of logits, at least 2.
        output: name or number of the model's output that holds the class scores; None if the model
            has only one output.
        input_shape: `(height, width, channels)`; entries may be None.
        dtype: dtype of images, that of the model's variables.
        compiled: compiled functions by key, which `cached_function` fills.
        shrinking: text that names layers which show that the network expects larger pixels than
            `bounds`, such as a Rescaling(1/255) with bounds (0, 1); empty if there are none.
        zero_pixel: the pixel value that reaches the first weights as zero, within `bounds`: one
            number per channel, or one for all. It is 0 for a network that begins with its weights,
            and 0.5 behind a Rescaling from [0, 1] to [-1, 1].
        gradient_ends: names of the operations where gradients of the logits end before they reach
            the images, as at a rounding of pixels; empty if they arrive. Attacks that follow such
            gradients refuse the network.

    Example:
        >>> classifier = Classifier.from_keras(model)
        >>> logits, features = classifier(images)
    """

    gradient_ends = ""
    output: str | int | None = None
    _input_path: Path = ()
    _shrinking = ""
    _zero_pixel: tuple[float, ...] = (0.0,)
    # Normalization layers with their mean and variance, which traced functions hold as constants.
    _constants: tuple[tuple[Any, Any, Any], ...] = ()

    def __init__(
        self,
        model: keras.Model,
        attention_layer: keras.Layer,
        final_activation: keras.Layer | None,
        num_classes: int,
        input_shape: tuple[int | None, ...],
        bounds: Bounds,
        output: str | int | None = None,
        input_path: Path = (),
    ) -> None:
        self.model = model
        self.bounds = check_bounds(bounds)
        self.num_classes = num_classes
        self.input_shape = input_shape
        self.attention_layer = attention_layer.name
        self._attention = attention_layer
        self.output = output
        self._input_path = input_path
        self._final_activation = final_activation
        self._named_layer: str | None = None
        self.compiled: dict[Any, Any] = {}

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        attention_layer: str | None = None,
        bounds: Bounds = Bounds(0.0, 1.0),
        input_shape: tuple[int | None, ...] | None = None,
        output: str | int | None = None,
    ) -> Classifier:
        """Wraps a Sequential, Functional, nested or subclassed Keras model.

        The model must have one input, floating-point images of fixed or variable size, as a tensor
        or as the only entry of a dict or list. Its output must be one of these:
            logits `[batch, classes]`; or a final softmax, which is bypassed.
            a score z per image, `[batch, 1]`, of a binary classifier with labels 0 and 1; or a
                final sigmoid of it, which is bypassed. The logits are (-z / 2, z / 2), whose
                softmax is (1 - p, p) with p = sigmoid(z).
            several outputs in a list, tuple or dict, of which `output` selects one of the above.
        Probabilities computed in another way and several labels per image (a sigmoid of more than
        one output) are refused.

        Args:
            model: takes `[batch, H, W, C]` images and returns class scores as above.
            attention_layer: name of the layer that attention maps explain. None for the last layer,
                or operation of a Functional model, whose output is a grid of the image and through
                which every path from images to logits leads. There is a warning if no layer is such
                or if later layers with a grid are left out.
            bounds: pixel range of the model, a pair of numbers. Sizes of attacks are in its unit:
                `fgsm(8)` for (0, 255), `fgsm(8 / 255)` for (0, 1). There is a warning if the model
                seems to expect larger pixels, for instance because it has a Rescaling(1/255).
            input_shape: `(H, W, C)`, for a model that was never called, or to fix the size of
                images if the model takes any size.
            output: for a model with several outputs, the one with the class scores: its key in a
                dict ("heads/class" if nested), the name of its layer, or its number.

        Returns:
            A Classifier that shares the model's weights.

        Raises:
            TypeError: not a Keras model, or a defence, which has a Classifier already.
            ValueError: several or integer inputs, several outputs without `output`, no layer with
                spatial features, an unknown attention layer, features that do not lie on the image
                (tokens, channels first, crops), outputs that are probabilities and cannot be turned
                into logits, an operation between attention layer and logits whose second derivative
                is wrong in TensorFlow, or operations that stop all gradients before the attention
                layer.

        Example:
            >>> images = keras.Input((32, 32, 3))
            >>> features = keras.layers.Conv2D(8, 3, activation="relu")(images)
            >>> pooled = keras.layers.GlobalAveragePooling2D()(features)
            >>> scores, box = keras.layers.Dense(10)(pooled), keras.layers.Dense(4)(pooled)
            >>> detector = keras.Model(images, {"class": scores, "box": box})
            >>> Classifier.from_keras(detector, output="class").num_classes
            10
        """
        _check_model(model)
        bounds = check_bounds(bounds)
        path, shape = image_input(model, input_shape)

        trace = _trace(model, shape, path, output)
        num_classes = _num_classes(trace.output)
        call = attention_call(trace, attention_layer)
        refuse_unsafe_operations(trace, call)
        final = activation_to_strip(trace)
        classifier = cls(model, call.layer, final, num_classes, shape, bounds, output, path)
        classifier._named_layer = attention_layer
        classifier._keep_logits(trace)
        images = _refuse_probabilities(classifier, None if final else trace)
        classifier.gradient_ends = refuse_missing_gradients(trace, call)
        classifier._inspect_pixels(trace, images)
        if classifier.shrinking:
            advice = advice_for_255(bounds, classifier.shrinking)
            warnings.warn(
                f"The pixel range is said to be [{bounds.lower}, {bounds.upper}], but {advice}",
                stacklevel=2,
            )
        return classifier

    def _keep_logits(self, trace: tracing.Trace) -> None:
        """Takes over what was traced if it gives logits as they are."""
        # Tracing a deep network takes seconds.
        if self._final_activation is None and trace.output.shape[-1] > 1:
            self.compiled[_LOGITS] = trace.function

    def _inspect_pixels(self, trace: tracing.Trace, images: np.ndarray) -> None:
        """Finds out what the network does to pixels before its first weights."""
        self._tried = images
        self._shrinking = shrinking_layers(trace, images)
        self._zero_pixel = zero_pixel(trace, self.bounds, images)
        self._constants = tuple(
            (layer, layer.mean, layer.variance)
            for layer in self.model._flatten_layers()
            if isinstance(layer, keras.layers.Normalization)
        )

    def _trace_again_if_adapted(self) -> None:
        """Forgets what was traced before a Normalization was adapted or its file was loaded."""
        if all(
            layer.mean is mean and layer.variance is variance
            for layer, mean, variance in self._constants
        ):
            return
        self.compiled.clear()
        with tf.init_scope():
            trace = _trace(self.model, self.input_shape, self._input_path, self.output)
            self._inspect_pixels(trace, self._tried)
        self._keep_logits(trace)

    @property
    def shrinking(self) -> str:
        """Names of layers which show that larger pixels than `bounds` are expected, or no text."""
        self._trace_again_if_adapted()
        return self._shrinking

    @property
    def zero_pixel(self) -> tuple[float, ...]:
        """The pixel value within `bounds` that reaches the first weights as zero."""
        self._trace_again_if_adapted()
        return self._zero_pixel

    def get_config(self) -> dict[str, Any]:
        """Describes the wrapped model and how it is wrapped, without weights.

        Returns:
            A dictionary that JSON can hold, from which `from_config` rebuilds the classifier.

        Example:
            >>> copy = Classifier.from_config(classifier.get_config())
        """
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "attention_layer": self._named_layer,
            "attention_index": tracing.layers_and_operations(self.model).index(self._attention),
            "bounds": list(self.bounds),
            "input_shape": list(self.input_shape),
            "output": self.output,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Classifier:
        """Rebuilds a classifier from the description of `get_config`, with new initial weights.

        Args:
            config: the dictionary that `get_config` returned, also after a round trip through JSON.
            custom_objects: classes of layers by name, as in `keras.saving.load_model`.

        Returns:
            A new Classifier with the same attention layer.

        Raises:
            TypeError, ValueError: a model that Keras cannot rebuild or `from_keras` refuses.
        """
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        layers = tracing.layers_and_operations(model)
        index, name = config["attention_index"], config["attention_layer"]
        # Layers without a name of their own are called otherwise each time they are made.
        named = None if name is None else layers[index].name
        wrapping = {key: config[key] for key in ("bounds", "input_shape", "output")}
        classifier = cls.from_keras(model, named, **wrapping)
        if classifier._attention is not layers[index]:
            # Another version of this package may choose another layer.
            classifier = cls.from_keras(model, layers[index].name, **wrapping)
        return classifier

    @property
    def dtype(self) -> tf.DType:
        """The dtype of images, gradients and perturbations: that of the model's variables."""
        return _dtype(self.model)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of the wrapped model, trainable or not."""
        return self.model.variables

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Trainable variables of the wrapped model."""
        return self.model.trainable_variables

    def __call__(self, images: tf.Tensor, training: bool = False) -> ClassifierOutput:
        """Runs the model once, without checks of the images.

        Args:
            images: `[batch, H, W, C]` within `bounds`, in the classifier's dtype.
            training: True runs the model in training mode: with dropout, and with batch statistics
                that update the moving ones.

        Returns:
            Logits `[batch, classes]` and features `[batch, h, w, channels]` of the attention layer.
        """
        calls: list[tracing.LayerCall] = []
        with (
            exact_moments(),
            without_final_activation(self._final_activation),
            tracing.recording([self._attention], calls.append),
        ):
            scores = self.scores(images, training)
        logits = two_logits(scores) if scores.shape[-1] == 1 else scores
        return ClassifierOutput(logits, calls[-1].output)

    def features_watched(self, tape: tf.GradientTape) -> contextlib.AbstractContextManager[None]:
        """Context manager in which a tape watches the features as soon as a call makes them.

        A tape that watches the images alone sees nothing behind an operation which stops gradients,
        such as a cast to integers.

        Args:
            tape: an open gradient tape.

        Example:
            >>> with tf.GradientTape() as tape, classifier.features_watched(tape):
            ...     logits, features = classifier(images)
            >>> gradients = tape.gradient(logits, features)
        """
        return tracing.recording([self._attention], lambda call: tape.watch(call.output))

    def scores(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the selected output of the model itself, with its final softmax or sigmoid.

        Args:
            images: `[batch, H, W, C]` within `bounds`, in the classifier's dtype.
            training: True runs the model in training mode: with dropout, and with batch statistics
                that update the moving ones.

        Returns:
            `[batch, classes]`, or `[batch, 1]` for a binary classifier with one score.
        """
        return _scores(self.model, nest(images, self._input_path), self.output, training)

    def images_of(self, features: Any) -> Any:
        """Takes the images out of the inputs that a data set holds for the network.

        Args:
            features: images `[batch, H, W, C]`, or a dict with the images under the name of the
                network's input.

        Returns:
            The images.

        Raises:
            ValueError: a dict, although the network takes a tensor or an input of another name.
        """
        return images_of(features, self._input_path)

    def predict_logits(self, images: tf.Tensor) -> tf.Tensor:
        """Computes logits in inference mode by one compiled graph for all batch sizes.

        Args:
            images: `[batch, H, W, C]` within `bounds`, in the classifier's dtype.

        Returns:
            `[batch, classes]`.
        """
        function = self.cached_function(
            _LOGITS, lambda batch: self(batch, training=False).logits, [self.image_spec]
        )
        return function(images)

    def cached_function(
        self,
        key: Hashable,
        function: Callable,
        signature: Sequence[tf.TensorSpec] | Callable[[], Sequence[tf.TensorSpec]],
    ) -> Any:
        """Compiles a function that runs this network, once per key.

        Args:
            key: hashable value that tells functions of this classifier apart. It must differ for
                functions that differ in anything but the tensors they are called with.
            function: function from tensors to tensors. It is compiled if the key is new. Else it is
                ignored, and the function that was compiled under this key is returned.
            signature: specs of its arguments, with None for the batch axis; or a function that
                returns them, which is called if the key is new.

        Returns:
            The compiled function, which is traced once for all calls.

        Example:
            >>> predict = classifier.cached_function(
            ...     "predictions",
            ...     lambda images: tf.argmax(classifier(images).logits, axis=-1),
            ...     [classifier.image_spec],
            ... )
        """
        self._trace_again_if_adapted()
        if key not in self.compiled:
            specs = signature() if callable(signature) else signature
            compiled = tf.function(function, input_signature=specs, autograph=False)
            # Traced at once: TensorFlow takes first calls of many functions for retracing.
            compiled.get_concrete_function()
            self.compiled[key] = compiled
        return self.compiled[key]

    @property
    def labels_spec(self) -> tf.TensorSpec:
        """Spec of labels for `tf.function`: int32 `[batch]` of any batch size."""
        return tf.TensorSpec((None,), tf.int32)

    @property
    def image_spec(self) -> tf.TensorSpec:
        """Spec of images for `tf.function`: `[batch, H, W, C]` of any batch size."""
        return tf.TensorSpec((None, *self.input_shape), self.dtype)


def held_classifier(model: Any) -> Classifier | None:
    """Returns the Classifier that a defence (a Keras model such as `aad_tf.AADModel`) trains.

    Args:
        model: any object.

    Returns:
        Its attribute `classifier`; None if `model` is not a defence.

    Example:
        >>> held_classifier(aad_tf.StandardModel(network)).model is network
        True
    """
    held = getattr(model, "classifier", None)
    return held if isinstance(held, Classifier) else None


def checked_inputs(
    classifier: Any, images: Any, labels: Any, name: str = "labels"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Checks images and labels for a classifier and converts them to tensors.

    Args:
        classifier: the network, which must be a Classifier.
        images: array-like float `[batch, H, W, C]` within the classifier's bounds; or a dict with
            the images under the name of the network's input.
        labels: array-like `[batch]` or `[batch, 1]`, class numbers.
        name: name of the labels in error messages.

    Returns:
        The images in the classifier's dtype, and int32 labels `[batch]`.

    Raises:
        TypeError: no Classifier, images not floating point, or labels not numbers.
        ValueError: images of wrong rank or shape, with NaN or out of range, no examples, or labels
            that are not one class of the network per image.
        RuntimeError: a call while TensorFlow traces a `tf.function`, where values are not known.

    Example:
        >>> images, labels = checked_inputs(classifier, images, [1, 2, 3, 0])
        >>> labels.dtype
        tf.int32
    """
    if not isinstance(classifier, Classifier):
        raise TypeError(
            f"classifier must be a Classifier, got {type(classifier).__name__}. Wrap a Keras model "
            f"with aad_tf.Classifier.from_keras(model); a defence holds one as .classifier."
        )
    if not tf.executing_eagerly():
        raise RuntimeError(
            "The values of images and labels are checked here, and inside a tf.function, a model's "
            "train_step or Dataset.map they are not known yet. Make this call outside. Inside, a "
            "single attack has attack.last_in_graph(classifier, images, labels, seed), Grad-CAM "
            "has aad_tf.attention.attention_maps(classifier, images, class_ids); they neither "
            "check nor convert anything. Cascades, LIME and tests of maps have no such form."
        )
    images = check_images(
        classifier.images_of(images),
        bounds=classifier.bounds,
        image_shape=classifier.input_shape,
        dtype=classifier.dtype,
        shrinking=classifier.shrinking,
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
        advice = (
            " Load a .keras or .h5 file with keras.saving.load_model, an exported model with "
            "aad_tf.export.load_classifier."
            if isinstance(model, (str, os.PathLike))
            else ""
        )
        raise TypeError(f"model must be a keras.Model of Keras 3, got {kind}.{advice}")
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


def _scores(model: keras.Model, inputs: Any, output: str | int | None, training: bool) -> tf.Tensor:
    return select_output(model, model(inputs, training=training), output)


def _trace(
    model: keras.Model, shape: tuple[int | None, ...], path: Path, output: str | int | None
) -> tracing.Trace:
    """A forward pass of the model in inference mode."""

    def run(images: tf.Tensor) -> tf.Tensor:
        with exact_moments():
            return _scores(model, nest(images, path), output, training=False)

    return tracing.trace_forward(model, shape, _dtype(model), run)


def _num_classes(output: tf.Tensor) -> int:
    if output.shape.rank != 2 or output.shape[1] is None or not output.dtype.is_floating:
        raise ValueError(
            f"The model must return logits [batch, classes], got shape {output.shape} of "
            f"{output.dtype.name}. For two classes one floating-point score will do, [batch, 1]."
        )
    return max(2, int(output.shape[1]))


def _refuse_probabilities(classifier: Classifier, trace: tracing.Trace | None) -> np.ndarray:
    """Catches probabilities made by other operations than a final activation, by their values.

    Args:
        classifier: to be tried on two images.
        trace: of the model; None if an activation was taken off its end.

    Returns:
        The images that were tried, `[2, H, W, C]`.
    """
    shape: Any = classifier.input_shape
    predict: Callable = classifier.predict_logits
    if None in shape:
        shape, predict = _size_that_fits(classifier)
    images = np.random.default_rng(0).uniform(*classifier.bounds, size=(2, *shape))
    logits = np.asarray(tf.cast(predict(tf.cast(images, classifier.dtype)), tf.float64))
    sums_to_one = np.allclose(logits.sum(axis=-1), 1.0, atol=1e-3)
    within = logits.min() >= 0.0 and logits.max() <= 1.0
    if within and (sums_to_one or (trace is not None and nonlinear_ending(trace) is not None)):
        what = "are not negative and sum to 1" if sums_to_one else "lie in [0, 1]"
        advice = f"Remove the final {'softmax' if sums_to_one else 'activation'}."
        if tracing.remat_mode(tracing.layers_and_operations(classifier.model)) == "activations":
            advice = (
                "The model was built under keras.RematScope(mode='activations'), where a final "
                f"activation cannot be bypassed. {tracing.ADVICE_ON_REMAT}"
            )
        raise ValueError(
            f"The model's outputs are probabilities (they {what}); attacks and losses need "
            f"logits. {advice}"
        )
    return images


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
        # Integers may hold shapes, and the shape of a scalar is empty.
        values = [output for output in outputs if output.dtype.is_floating]
        if all(output.shape.rank is None or 0 not in output.shape for output in values):
            return shape, concrete
    raise ValueError(
        f"The model leaves the size of its images open, but takes none of "
        f"{', '.join(map(str, _SIZES_TO_TRY))} pixels per side. Pass the size that it needs: "
        f"input_shape=(height, width, channels)."
    ) from failure
