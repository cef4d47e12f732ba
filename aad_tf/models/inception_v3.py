"""InceptionV3 from Keras applications: the network of the ImageNet experiments."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from aad_tf.models.layers import check_dropout_rate, network_dtypes, rescaled
from aad_tf.models.registry import check_image_shape, check_num_classes, register
from aad_tf.models.slim import load_slim_weights
from aad_tf.models.weights_files import load_weights_file
from aad_tf.utils.logging import LOGGER

IMAGENET_CLASSES = 1000
_SMALLEST_IMAGE = 75
_SIZE_REASON = "comes from Keras and its last reduction needs a grid of 3x3"
_IMAGENET_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
_LOGITS = "logits"


@register("inception_v3")
def inception_v3(
    input_shape: Sequence[int] = (299, 299, 3),
    num_classes: int = IMAGENET_CLASSES,
    *,
    weights: str | os.PathLike[str] | None = None,
    dropout_rate: float = 0.2,
    dtype: Any = None,
) -> keras.Model:
    """Builds InceptionV3 of `keras.applications` for images in [0, 1].

    Layers: rescale ([0, 1] to [-1, 1]), those of `keras.applications.InceptionV3` up to mixed10
    under Keras's names, avg_pool, dropout, logits, all in one graph. Attention maps explain mixed10
    by default: 8x8 for 299x299 images, and at least 2x2 from 107x107 on. Smaller images leave a
    single cell, so that a `Classifier` takes an earlier layer for them.

    Args:
        input_shape: (height, width, channels), height and width at least 75.
        num_classes: number of classes, at least 2.
        weights: None for newly initialized weights; "imagenet" for those that Keras publishes,
            which are downloaded once; the path of a `.weights.h5`, `.keras` or `.h5` file of this
            network or of `keras.applications.InceptionV3`; or any other path for a checkpoint of
            TF-slim, such as "adv_inception_v3.ckpt". If the weights have another number of classes
            or no logits layer, the logits layer stays newly initialized, and a warning is logged.
        dropout_rate: fraction of avg_pool that is dropped in training, in [0, 1); 0.2 in
            [AAD Sec. 4.1].
        dtype: "float32", "float64", a mixed policy such as "mixed_bfloat16", or
            None for Keras's global policy. Logits are never below float32.

    Returns:
        A `keras.Model` named "inception_v3" from images `[batch, height, width,
        channels]` in [0, 1] to logits `[batch, num_classes]`.

    Raises:
        TypeError: for an argument of another type, such as a number of classes that is no integer.
        ValueError: for a shape, number of classes or dropout rate out of range, ImageNet weights
            for images that do not have 3 channels, or weights of another network.
        FileNotFoundError: no weights at the path.
        ConnectionError: ImageNet weights that cannot be downloaded.

    Example:
        >>> inception_v3((299, 299, 3), 1000).count_params()
        23851784

    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016).
    [AAD Tables 1-4, ImageNet]
    """
    shape = check_image_shape("inception_v3", input_shape, _SMALLEST_IMAGE, _SIZE_REASON)
    units = check_num_classes("inception_v3", num_classes)
    rate = check_dropout_rate(dropout_rate)
    if weights == "imagenet" and shape[2] != 3:
        raise ValueError(f"ImageNet weights are for 3 channels, got {shape[2]} in input_shape.")
    policy, edge = network_dtypes(dtype)
    images = keras.Input(shape, dtype=edge, name="images")
    net = rescaled(images)
    # The application takes no dtype argument.
    with _global_policy(policy):
        net = keras.applications.InceptionV3(
            include_top=False, weights=None, input_tensor=net
        ).outputs[0]
    net = keras.layers.GlobalAveragePooling2D(name="avg_pool", dtype=policy)(net)
    net = keras.layers.Dropout(rate, name="dropout", dtype=policy)(net)
    logits = keras.layers.Dense(units, name=_LOGITS, dtype=edge)(net)
    model = keras.Model(images, logits, name="inception_v3")
    if weights is not None:
        _load(model, os.fspath(weights))
    return model


@contextlib.contextmanager
def _global_policy(policy: Any) -> Iterator[None]:
    """Makes `policy` Keras's global one while the context is open."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _load(model: keras.Model, weights: str) -> None:
    if weights == "imagenet":
        whole = _copy_layers(_imagenet_network(), model)
    elif weights.endswith((".h5", ".keras")):
        whole = load_weights_file(model, weights, _LOGITS)
    else:
        whole = load_slim_weights(model, weights)
    if not whole:
        LOGGER.warning(
            "Loaded %s into all layers but the logits, which start afresh: it has none for %d "
            "classes.",
            weights,
            model.output_shape[-1],
        )


def _copy_layers(source: keras.Model, target: keras.Model) -> bool:
    """Copies weights layer by layer; returns whether the logits, for as many classes, were too."""
    given, taken = ([layer for layer in each.layers if layer.weights] for each in (source, target))
    same_classes = source.output_shape[-1] == target.output_shape[-1]
    for old, new in zip(given, taken, strict=True):
        if same_classes or new.name != _LOGITS:
            new.set_weights(old.get_weights())
    return same_classes


def _imagenet_network() -> keras.Model:
    """Keras's own network with its weights, from the cache or the net."""
    try:
        with _global_policy("float32"):
            return keras.applications.InceptionV3(weights="imagenet", classifier_activation=None)
    except Exception as error:
        # Keras gives a failed download as a bare Exception.
        if not isinstance(error, OSError) and not str(error).startswith("URL fetch failure"):
            raise
        raise ConnectionError(
            f"The ImageNet weights of InceptionV3 could not be downloaded ({error}). On a machine "
            f"without network, bring the file {_IMAGENET_FILE} there, which Keras keeps in "
            f"models/ of its directory (KERAS_HOME, by default ~/.keras) after a first download, "
            f"into the same place, or pass its path as weights=."
        ) from error
