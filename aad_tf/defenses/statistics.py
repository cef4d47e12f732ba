"""Moving statistics: what layers learn of their inputs by other means than gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


def moving_statistics(network: keras.Model) -> list[keras.Variable]:
    """Variables that layers update in training without a gradient, as BatchNormalization does.

    Args:
        network: a Keras model.

    Returns:
        Floating-point variables of layers that are not frozen, each once.

    Example:
        >>> [variable.name for variable in moving_statistics(network)]
        ['moving_mean', 'moving_variance']
    """
    found = {
        id(variable): variable
        for layer in network._flatten_layers()
        if layer.trainable and not list(layer._flatten_layers(include_self=False))
        for variable in layer.non_trainable_variables
        if tf.as_dtype(variable.dtype).is_floating
    }
    return list(found.values())


@contextlib.contextmanager
def kept_statistics(network: keras.Model, training: bool) -> Iterator[None]:
    """Undoes changes to moving statistics made inside the context.

    Masked images are no images of the data set, so BatchNormalization must not learn their
    statistics for use at inference.
    """
    statistics = moving_statistics(network) if training else []
    before = [tf.identity(variable) for variable in statistics]
    yield
    for variable, value in zip(statistics, before, strict=True):
        variable.assign(value)
