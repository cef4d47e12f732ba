"""Types that all modules use: the pixel range, and the output of a classifier."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Bounds(NamedTuple):
    """The range of pixel values that a network expects.

    Attributes:
        lower: lowest pixel value, 0 by default.
        upper: highest pixel value, 1 by default.

    Example:
        >>> Bounds(0.0, 1.0).upper
        1.0
    """

    lower: float = 0.0
    upper: float = 1.0


class ClassifierOutput(NamedTuple):
    """The output of one forward pass of a classifier.

    Attributes:
        logits: float `[batch, classes]`, scores before the softmax.
        features: float `[batch, height, width, channels]`, output of the attention layer, the
            layer that attention maps such as Grad-CAM explain.
    """

    logits: tf.Tensor
    features: tf.Tensor
