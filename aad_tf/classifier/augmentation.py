"""Detects layers that change images at random in training, with which AAD cannot be trained."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aad_tf.classifier.attention_layer import Paths
from aad_tf.classifier.classifier import Classifier
from aad_tf.classifier.geometry import is_grid
from aad_tf.classifier.second_order import exact_moments
from aad_tf.classifier.tracing import trace_forward

# They hide or blur entries where they are. No version of an image is moved by them.
_NOISE = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


def refuse_random_augmentation(classifier: Classifier) -> None:
    """Checks that no layer before the attention layer changes images at random in training.

    With such a layer the original, attacked and masked versions of an image would be changed
    differently, and the attention map of the changed image would not fit the image that it masks.
    At inference such layers do nothing. Dropout and additive noise are allowed.

    Args:
        classifier: the network that is to be trained with attention losses.

    Raises:
        ValueError: there is such a layer; the message names the first one.
    """
    # The scope keeps what a training pass would assign, such as moving statistics and seeds.
    with keras.StatelessScope(), exact_moments():
        trace = trace_forward(
            classifier.model,
            classifier.input_shape,
            classifier.dtype,
            lambda images: classifier.scores(images, training=True),
        )
    paths = Paths(trace)
    layer = classifier._attention
    features = next(call.output for call in reversed(trace.calls) if call.layer is layer)
    needed = paths.before(features)
    drawn = _drawn_images(paths)
    if drawn & needed:
        cause = paths.first(lambda tensor: tensor.ref() in drawn & needed)
    elif not is_grid(features, paths.layouts):
        cause = paths.first(paths.unknown)
    elif paths.misplaced(features):
        cause = paths.first(paths.misplaced)
    else:
        return
    raise ValueError(
        f"{cause[0].upper()}{cause[1:]} moves, crops or changes images at random in training. "
        "Clean, attacked and masked versions of an image would not be changed alike, and attention "
        "maps would not lie on the images they mask. Leave it out of the network and augment in "
        "tf.data: dataset.map(lambda x, y: (augmentation(x, training=True), y))."
    )


def _drawn_images(paths: Paths) -> set[Any]:
    """References of images in another form, before any weights, that are drawn at random."""
    quiet = {
        call.output.ref()
        for call in paths.trace.calls
        if isinstance(call.layer, _NOISE) and tf.is_tensor(call.output)
    }
    random: set[Any] = set()
    for operation in paths.trace.graph.get_operations():
        if (
            "Random" in operation.type
            or "TruncatedNormal" in operation.type
            or any(tensor.ref() in random for tensor in operation.inputs)
        ):
            random.update(output.ref() for output in operation.outputs)
        random -= quiet
    return {each for each in random if each in paths.layouts and each not in paths.weighted}
