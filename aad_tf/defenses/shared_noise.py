"""The same random numbers for all versions of an example that go through a network as one batch.

Versions are the clean, attacked and masked images of one example. With dropout, two passes of a
network differ because their masks differ. Keras's layers draw from a `SeedGenerator`, whose state
decides what is drawn next. If the state is restored before each part of a batch and before the next
pass, all of them get the same draws.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from aad_tf.classifier.tracing import called_in_parts


def random_layers(network: keras.Model) -> list[keras.Layer]:
    """Layers that draw random numbers from a seed generator of their own, such as Dropout.

    `shared_noise` runs these layers, and no others, on parts of a batch one after the other, with
    the same random numbers for each part.

    Args:
        network: a Keras model; layers inside nested models and layers are found, too.

    Returns:
        The layers, in the order of the network.

    Raises:
        ValueError: a layer that holds other layers draws random numbers itself. To run it on parts
            of a batch would be to run its inner layers on them, too.

    Example:
        >>> [layer.name for layer in random_layers(aad_tf.models.build("lenet", (28, 28, 1), 10))]
        ['dropout3']
    """
    found = [layer for layer in network._flatten_layers() if layer._seed_generators]
    for layer in found:
        if list(layer._flatten_layers(include_self=False)):
            raise ValueError(
                f"{layer.name!r} ({type(layer).__name__}) holds layers and draws random numbers by "
                f"itself, which cannot be shared between versions of an image. Draw them in a "
                f"layer of its own, or use attention_noise='none'."
            )
    return found


@contextlib.contextmanager
def shared_noise(network: keras.Model, versions: int) -> Iterator[Callable[[], None]]:
    """Gives all versions of an example the same random numbers while the context is open.

    Versions are images of one example that are compared with each other, such as the clean and the
    attacked image. They then have the same dropout masks.

    Args:
        network: a Keras model with layers such as Dropout. Inside the context it is called on
            batches of `versions` equal parts, one after the other, with the examples of each part
            in the same order.
        versions: number of parts, at least 1.

    Yields:
        A function without arguments. After it is called, the next pass of the network draws the
        same numbers as the first one.

    Raises:
        ValueError: a layer that holds other layers draws random numbers itself.

    Example:
        >>> with shared_noise(network, 2) as again:
        ...     clean, attacked = tf.split(network(tf.concat([x, x_adv], 0), training=True), 2)
        ...     again()
        ...     masked = network(tf.concat([x_masked, x_adv_masked], 0), training=True)
    """
    layers = random_layers(network)
    generators = {id(layer): layer._seed_generators for layer in layers}

    def states_of(layer: keras.Layer) -> list[keras.Variable]:
        return [generator.state for generator in generators[id(layer)]]

    first = _saved([state for layer in layers for state in states_of(layer)])
    with called_in_parts(layers, versions, lambda layer: _saved(states_of(layer))):
        yield first


def _saved(states: list[keras.Variable]) -> Callable[[], None]:
    """A function that sets variables to what they are now."""
    values = [tf.identity(state) for state in states]

    def put_back() -> None:
        for state, value in zip(states, values, strict=True):
            state.assign(value)

    return put_back
