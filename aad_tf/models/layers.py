"""A layer and settings that the networks share and that Keras does not have."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="aad_tf")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by a power of the sum of squares of the channels around it.

    With `N(c)` the channels from `c - depth_radius` to `c + depth_radius`,

        y[c] = x[c] / (bias + alpha * sum(x[j] ** 2 for j in N(c))) ** beta

    The second derivative of TensorFlow's operation is missing, so no such layer
    may stand between an attention layer and the logits when a loss on attention
    maps is trained.

    Args:
        depth_radius: channels on each side, an integer of at least 0.
        bias: positive offset.
        alpha: factor of the sum of squares (not divided by the number of channels).
        beta: exponent of the divisor.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.

    Raises:
        ValueError: for a negative radius or a bias that is not positive.

    Example:
        >>> layer = LocalResponseNormalization(depth_radius=1, alpha=1.0, beta=1.0)
        >>> layer(tf.ones([1, 1, 1, 3])).numpy().ravel()      # 1/3, 1/4, 1/3
        array([0.33333334, 0.25      , 0.33333334], dtype=float32)

    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural
    Networks" (2012), section 3.3.
    """

    def __init__(
        self,
        depth_radius: int = 5,
        bias: float = 1.0,
        alpha: float = 1.0,
        beta: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if depth_radius < 0:
            raise ValueError(f"depth_radius must be at least 0, got {depth_radius}.")
        if bias <= 0:
            raise ValueError(f"bias must be positive, got {bias}: all-zero inputs divide by it.")
        self.depth_radius = int(depth_radius)
        self.bias = float(bias)
        self.alpha = float(alpha)
        self.beta = float(beta)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes `inputs` [batch, height, width, channels]; shape and dtype are kept."""
        if inputs.dtype == tf.float64:
            return self._normalize_float64(inputs)
        # The CPU has no kernel for bfloat16, and squares lose too much in 16 bits.
        outputs = tf.nn.local_response_normalization(
            tf.cast(inputs, tf.float32),
            depth_radius=self.depth_radius,
            bias=self.bias,
            alpha=self.alpha,
            beta=self.beta,
        )
        return tf.cast(outputs, inputs.dtype)

    def _normalize_float64(self, inputs: tf.Tensor) -> tf.Tensor:
        """The same formula from plain operations: TensorFlow's own has no float64."""
        channels = inputs.shape[-1]
        window = tf.linalg.band_part(
            tf.ones([channels, channels], inputs.dtype), self.depth_radius, self.depth_radius
        )
        energy = tf.tensordot(tf.square(inputs), window, axes=1)
        return inputs * tf.pow(self.bias + self.alpha * energy, -self.beta)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns `input_shape`, since the output has the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for saving."""
        return {
            **super().get_config(),
            "depth_radius": self.depth_radius,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
        }


def network_dtypes(dtype: Any = None) -> tuple[Any, str]:
    """Splits a requested precision into that of the inner layers and that of images and logits.

    Args:
        dtype: a dtype name, a mixed policy's name ("mixed_bfloat16"), a Keras
            policy, or None for Keras's global policy.

    Returns:
        (policy, edge): the Keras dtype policy of the inner layers, and the dtype name of images
        and logits: "float64" for a float64 network, and "float32" for any other, because a
        softmax over 16-bit logits loses accuracy.

    Raises:
        ValueError: if Keras does not know the dtype.

    Example:
        >>> network_dtypes("mixed_bfloat16")
        (<DTypePolicy "mixed_bfloat16">, 'float32')
    """
    if dtype is None:
        policy = keras.config.dtype_policy()
    else:
        policy = keras.dtype_policies.get(dtype)
    edge = "float64" if policy.compute_dtype == "float64" else "float32"
    return policy, edge


def scaled(count: int, width: float) -> int:
    """Scales a number of channels or units.

    Args:
        count: the number at full width.
        width: the factor.

    Returns:
        `count * width`, rounded, at least 1.

    Raises:
        ValueError: a width that is not positive and finite.
    """
    if not 0.0 < width < math.inf:
        raise ValueError(f"width must be a positive number, such as 0.5, got {width!r}.")
    return max(1, round(count * width))


def slim_l2(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """Makes the weight penalty as TF-slim, TensorFlow 1's library of networks, counts it.

    Args:
        weight_decay: factor of the penalty, at least 0.

    Returns:
        A Keras regularizer that adds `weight_decay * sum(w ** 2) / 2` to the loss, or None if
        `weight_decay` is 0.

    Raises:
        ValueError: if `weight_decay` is negative.
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}.")
    # Keras's L2 has no factor 1/2.
    return keras.regularizers.L2(weight_decay / 2.0) if weight_decay else None
