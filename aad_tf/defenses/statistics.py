"""Moving statistics of a network, such as those of BatchNormalization, and how they are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import keras
import tensorflow as tf


def moving_statistics(network: keras.Model) -> list[keras.Variable]:
    """Variables that layers update in training without a gradient, as BatchNormalization does.

    Args:
        network: a Keras model.

    Returns:
        Floating-point non-trainable variables of layers whose `trainable` is True, each once; of a
        layer that holds others, its own.

    Example:
        >>> network = keras.Sequential([keras.Input((8,)), keras.layers.BatchNormalization()])
        >>> [variable.name for variable in moving_statistics(network)]
        ['moving_mean', 'moving_variance']
    """
    found = {
        id(variable): variable
        for layer in network._flatten_layers()
        if layer.trainable
        # Those of layers inside are theirs, which may be frozen.
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables)
        if not variable.trainable and tf.as_dtype(variable.dtype).is_floating
    }
    return list(found.values())


@contextlib.contextmanager
def kept(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Context manager that restores the values of variables at its end, also after an error.

    Args:
        variables: variables that code inside the context may change.

    Example:
        >>> with kept(network.variables):
        ...     network.set_weights([0 * weight for weight in network.get_weights()])
    """
    before = [tf.identity(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def kept_statistics(network: keras.Model, training: bool) -> AbstractContextManager[None]:
    """Restores the moving statistics of a network when the context ends.

    It is used while masked images go through the network: these are no images of the data set, so
    BatchNormalization must not learn their statistics for use at inference.

    Args:
        network: a Keras model; what `moving_statistics` finds in it is restored.
        training: whether the network runs in training mode; False restores nothing, because no
            statistics change at inference.

    Returns:
        The context manager.
    """
    return kept(moving_statistics(network) if training else [])
