"""A layer and settings that the networks share and that Keras does not have."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aad_tf.utils.checks import check_count, check_number, check_weight


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
        TypeError: for a radius that is no integer.
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
        if bias <= 0:
            raise ValueError(f"bias must be positive, got {bias}: all-zero inputs divide by it.")
        self.depth_radius = check_count(depth_radius, "depth_radius", 0)
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


def rescaled(images: Any, pad_to: int | None = None) -> Any:
    """Maps images from [0, 1] to [-1, 1], in their own dtype, and pads small ones with black.

    Args:
        images: Keras tensor `[batch, height, width, channels]`.
        pad_to: least height and width of the output; None for those of the images.

    Returns:
        Keras tensor of the same dtype, the output of the layer `rescale`, behind a layer `pad` if
        there is something to pad. An odd row or column goes to the bottom or the right.
    """
    missing = [max(0, (pad_to or 0) - size) for size in images.shape[1:3]]
    if any(missing):
        margins = tuple((count // 2, count - count // 2) for count in missing)
        images = keras.layers.ZeroPadding2D(margins, name="pad", dtype=images.dtype)(images)
    # In the images' own precision: 2x - 1 cancels near 0.5, which 16 bits show.
    return keras.layers.Rescaling(2.0, offset=-1.0, name="rescale", dtype=images.dtype)(images)


def check_width(width: float) -> float:
    """Checks the factor of all numbers of channels of a network.

    Args:
        width: the factor.

    Returns:
        The factor as a float.

    Raises:
        TypeError: not a number.
        ValueError: a width that is not positive and finite.
    """
    if check_number(width, "width", ", such as 0.5") <= 0.0:
        raise ValueError(f"width must be a positive number, such as 0.5, got {width!r}.")
    return float(width)


def scaled(count: int, width: float) -> int:
    """Scales a number of channels or units.

    Args:
        count: the number at full width.
        width: the factor.

    Returns:
        `count * width`, rounded, at least 1.

    Raises:
        TypeError: a width that is no number.
        ValueError: a width that is not positive and finite.
    """
    return max(1, round(count * check_width(width)))


def check_dropout_rate(rate: float) -> float:
    """Checks the fraction of units that is dropped in training.

    Args:
        rate: the fraction.

    Returns:
        The fraction as a float.

    Raises:
        TypeError: not a number.
        ValueError: outside [0, 1).
    """
    if not 0.0 <= check_number(rate, "dropout_rate") < 1.0:
        raise ValueError(
            f"dropout_rate is the fraction that is dropped in training and must be in [0, 1), "
            f"got {rate}."
        )
    return float(rate)


def slim_l2(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """Makes the weight penalty as TF-slim, TensorFlow 1's library of networks, counts it.

    Args:
        weight_decay: factor of the penalty, at least 0.

    Returns:
        A Keras regularizer that adds `weight_decay * sum(w ** 2) / 2` to the loss, or None if
        `weight_decay` is 0.

    Raises:
        TypeError: if `weight_decay` is no number.
        ValueError: if `weight_decay` is negative or not finite.
    """
    check_weight(weight_decay, "weight_decay")
    # Keras's L2 has no factor 1/2.
    return keras.regularizers.L2(weight_decay / 2.0) if weight_decay else None
