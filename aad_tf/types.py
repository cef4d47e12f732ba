"""Nouns that every module uses: pixel bounds and what a classifier returns."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Bounds(NamedTuple):
    """Lowest and highest value a pixel may take, as the network expects it.

    Attributes:
        lower: the lowest, 0 by default.
        upper: the highest, 1 by default.

    Example:
        >>> Bounds(0.0, 1.0).upper
        1.0
    """

    lower: float = 0.0
    upper: float = 1.0


class ClassifierOutput(NamedTuple):
    """What one forward pass yields.

    Attributes:
        logits: `[batch, classes]`, scores before softmax.
        features: `[batch, height, width, channels]`, output of the attention layer.
    """

    logits: tf.Tensor
    features: tf.Tensor
