"""Layers that move or change images at random in training, which maps and masks do not stand."""

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
    """Raises if images are moved or changed at random in training, before the attention layer.

    Clean, attacked and masked versions of an image would not be changed alike, and the map of the
    changed image would not lie on the image that it masks. At inference such layers do nothing,
    so that attacks and maps of the network are right. Dropout and noise may stay.

    Args:
        classifier: whose maps are trained on.

    Raises:
        ValueError: names the first such layer.
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
    for call in trace.calls:
        output = call.output
        if (
            tf.is_tensor(output)
            and output.ref() in needed
            and (
                paths.layouts[output.ref()] is None
                or output.ref() in drawn
                or paths.misplaced(output)
                and call.layer is layer
            )
        ):
            _refuse(call.layer.name)
    if drawn & needed or not is_grid(features, paths.layouts):
        _refuse(layer.name)


def _refuse(name: str) -> None:
    raise ValueError(
        f"Layer {name!r} moves, crops or changes images at random in training. Clean, attacked and "
        f"masked versions of an image would not be changed alike, and attention maps would not lie "
        f"on the images they mask. Leave such layers out of the network and augment in tf.data: "
        f"dataset.map(lambda images, labels: (augmentation(images, training=True), labels))."
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
