"""CBAM: attention modules inside a network, over channels and then over positions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from aad_tf.utils.checks import check_choice, check_count

_FORMATS = ("channels_last", "channels_first")


class _Gate(keras.layers.Layer):
    """What both gates and CBAM share: a `data_format`, and inputs of four axes."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        data_format = data_format or keras.config.image_data_format()
        self.data_format = check_choice(data_format, _FORMATS, "data_format")

    @property
    def _channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else 3

    @property
    def _spatial_axes(self) -> list[int]:
        return [2, 3] if self.data_format == "channels_first" else [1, 2]

    def _channels(self, input_shape: tuple[int | None, ...]) -> int:
        """Number of channels of the inputs, or an error that says what is wrong with them."""
        wanted = "[batch, channels, height, width]"
        if self.data_format == "channels_last":
            wanted = "[batch, height, width, channels]"
        if len(input_shape) != 4:
            raise ValueError(
                f"{type(self).__name__} {self.name!r} takes feature maps {wanted}, got shape "
                f"{tuple(input_shape)}."
            )
        channels = input_shape[self._channel_axis]
        if channels is None:
            raise ValueError(
                f"{type(self).__name__} {self.name!r} must know the number of channels when it is "
                f"built; of {wanted} it got {tuple(input_shape)}."
            )
        return channels

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output has the shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for saving."""
        return {**super().get_config(), "data_format": self.data_format}


def _independent(initializer: Any) -> Any:
    """An initializer like this one with random numbers of its own, unless it was given a seed.

    Keras draws the same numbers whenever the same initializer object is asked.
    """
    return (
        initializer.clone()
        if isinstance(initializer, keras.initializers.Initializer)
        else initializer
    )


@keras.saving.register_keras_serializable(package="aad_tf")
class ChannelGate(_Gate):
    """Multiplies each channel by a number in (0, 1), the gate, which it computes from the inputs.

    Inputs are feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
    width]` with "channels_first". With `avg` and `max` the mean and the largest value of each
    channel, `[batch, channels]`, and one MLP with a hidden layer of `channels // reduction` ReLU
    units for both,

        gate = sigmoid(mlp(avg) + mlp(max))
        outputs = gate * inputs

    Args:
        reduction: number of channels per hidden unit of the MLP, at least 1.
        data_format: "channels_last", "channels_first", or None for Keras's global setting.
        kernel_initializer: initializer of the kernels of both layers of the MLP. None is uniform
            within `1 / sqrt(inputs)`, as in the authors' code. Biases begin at 0.
        kernel_regularizer: regularizer of the kernels of both layers of the MLP.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.

    Raises:
        TypeError: a reduction that is no integer.
        ValueError: a reduction below 1; when built, inputs that are not of four axes, an unknown
            number of channels, or fewer channels than `reduction`.

    Example:
        >>> gate = ChannelGate(reduction=4)
        >>> gate(np.ones((1, 5, 5, 8), "float32")).shape
        TensorShape([1, 5, 5, 8])

    Woo et al., "CBAM: Convolutional Block Attention Module" (2018), Eq. 2. CBAM is the attention
    module of [Agrawal Sec. III].
    """

    def __init__(
        self,
        reduction: int = 16,
        data_format: str | None = None,
        kernel_initializer: Any = None,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.reduction = check_count(reduction, f"reduction of {self.name}")
        self.kernel_initializer = keras.initializers.get(
            kernel_initializer or keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        )
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the MLP that computes the gate; Keras calls it before the first use.

        Args:
            input_shape: shape of the feature maps, four axes, of which the channels must be known.

        Raises:
            ValueError: another number of axes, an unknown number of channels, or fewer channels
                than `reduction`.
        """
        channels = self._channels(input_shape)
        if channels < self.reduction:
            raise ValueError(
                f"{channels} channels leave {self.name!r} no hidden unit at reduction="
                f"{self.reduction}: choose a reduction of at most {channels}."
            )
        options: dict[str, Any] = {
            "kernel_regularizer": self.kernel_regularizer,
            "dtype": self.dtype_policy,
        }
        self.hidden = keras.layers.Dense(
            channels // self.reduction,
            activation="relu",
            kernel_initializer=_independent(self.kernel_initializer),
            name="hidden",
            **options,
        )
        self.scores = keras.layers.Dense(
            channels,
            kernel_initializer=_independent(self.kernel_initializer),
            name="scores",
            **options,
        )
        self.hidden.build((None, channels))
        self.scores.build((None, channels // self.reduction))
        self.built = True

    def gate(self, inputs: Any) -> Any:
        """The numbers in (0, 1) that channels are multiplied by.

        Args:
            inputs: feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
                width]` with `data_format` "channels_first".

        Returns:
            `[batch, 1, 1, channels]`, or `[batch, channels, 1, 1]` with "channels_first".
        """
        pooled = (
            ops.mean(inputs, axis=self._spatial_axes),
            ops.max(inputs, axis=self._spatial_axes),
        )
        score = sum(self.scores(self.hidden(values)) for values in pooled)
        return ops.expand_dims(ops.sigmoid(score), self._spatial_axes)

    def call(self, inputs: Any) -> Any:
        """Multiplies each channel of feature maps by a number in (0, 1) that is computed from them.

        Args:
            inputs: feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
                width]` with `data_format` "channels_first".

        Returns:
            The product, of the same shape and dtype.
        """
        return inputs * self.gate(inputs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for saving."""
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable(package="aad_tf")
class SpatialGate(_Gate):
    """Multiplies each position by a number in (0, 1), the gate, which it computes from the inputs.

    Inputs are feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
    width]` with "channels_first". With `max` and `mean` over the channels of each position,
    stacked in this order,

        gate = sigmoid(batch_normalization(convolution([max, mean])))
        outputs = gate * inputs

    The convolution has no bias and keeps height and width (padding "same"). The normalization's
    gamma begins at 0, so the gate is 0.5 everywhere until it is trained, as in the authors' code.

    Args:
        kernel_size: height and width of the convolution's kernel, odd; 7 by default.
        data_format: "channels_last", "channels_first", or None for Keras's global setting.
        kernel_initializer: initializer of the convolution's kernel; "he_normal" by default.
        kernel_regularizer: regularizer of the convolution's kernel; None, the default, for none.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.

    Raises:
        TypeError: a kernel size that is no integer.
        ValueError: a kernel size that is even or below 1; when built, inputs that are not of four
            axes, or an unknown number of channels.

    Example:
        >>> gate = SpatialGate()
        >>> gate(np.ones((1, 5, 5, 8), "float32"))[0, 0, 0, 0].numpy()
        np.float32(0.5)

    Woo et al., "CBAM: Convolutional Block Attention Module" (2018), Eq. 3. CBAM is the attention
    module of [Agrawal Sec. III].
    """

    def __init__(
        self,
        kernel_size: int = 7,
        data_format: str | None = None,
        kernel_initializer: Any = "he_normal",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.kernel_size = check_count(kernel_size, f"kernel_size of {self.name}")
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size of {self.name} must be odd, so that it has a middle, got "
                f"{kernel_size}."
            )
        self.convolution = keras.layers.Conv2D(
            1,
            self.kernel_size,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            kernel_initializer=_independent(kernel_initializer),
            kernel_regularizer=kernel_regularizer,
            name="convolution",
            dtype=self.dtype_policy,
        )
        self.normalization = keras.layers.BatchNormalization(
            axis=3,
            momentum=0.99,
            epsilon=1e-5,
            gamma_initializer="zeros",
            name="normalization",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables of the convolution and its normalization; Keras calls it.

        Args:
            input_shape: shape of the feature maps, four axes, of which the channels must be known.

        Raises:
            ValueError: another number of axes, or an unknown number of channels.
        """
        self._channels(input_shape)
        height, width = (input_shape[axis] for axis in self._spatial_axes)
        self.convolution.build((input_shape[0], height, width, 2))
        self.normalization.build((input_shape[0], height, width, 1))
        self.built = True

    def gate(self, inputs: Any, training: bool | None = None) -> Any:
        """The numbers in (0, 1) that positions are multiplied by.

        Args:
            inputs: feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
                width]` with `data_format` "channels_first".
            training: True normalizes by the statistics of the batch; False or None by the moving
                averages.

        Returns:
            `[batch, height, width, 1]`, or `[batch, 1, height, width]` with "channels_first".
        """
        axis = self._channel_axis
        # Two channels that always come last: TensorFlow's convolutions on CPUs take no others.
        stacked = ops.stack([ops.max(inputs, axis=axis), ops.mean(inputs, axis=axis)], axis=3)
        score = self.normalization(self.convolution(stacked), training=training)
        return ops.moveaxis(ops.sigmoid(score), 3, axis)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Multiplies each position of feature maps by a number in (0, 1) computed from them.

        Args:
            inputs: feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
                width]` with `data_format` "channels_first".
            training: True normalizes by the statistics of the batch; False or None by the moving
                averages.

        Returns:
            The product, of the same shape and dtype.
        """
        return inputs * self.gate(inputs, training)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for saving."""
        own = self.convolution.get_config()
        initializer, regularizer = own["kernel_initializer"], own["kernel_regularizer"]
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "kernel_initializer": initializer,
            "kernel_regularizer": regularizer,
        }


@keras.saving.register_keras_serializable(package="aad_tf")
class CBAM(_Gate):
    """The convolutional block attention module: a `ChannelGate`, then a `SpatialGate`.

        outputs = spatial(channel(inputs) * inputs) * (channel(inputs) * inputs)

    In a residual block it follows the last normalization, before the shortcut is added. Inputs
    are feature maps `[batch, height, width, channels]`, or `[batch, channels, height, width]` with
    "channels_first".

    Args:
        reduction: number of channels per hidden unit of the channel gate's MLP, at least 1.
        kernel_size: height and width of the spatial gate's convolution, odd.
        data_format: "channels_last", "channels_first", or None for Keras's global setting.
        kernel_regularizer: regularizer of all kernels of both gates; None, the default, for none.
        kernel_initializer: initializer of all kernels of both gates; None, the default, for that of
            each gate, as in the authors' code.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.

    Attributes:
        channel: the `ChannelGate`.
        spatial: the `SpatialGate`.

    Raises:
        TypeError: a reduction or kernel size that is no integer.
        ValueError: a reduction below 1, or a kernel size that is even or below 1; when built,
            inputs that are not of four axes, an unknown number of channels, or fewer channels than
            `reduction`.

    Example:
        >>> images = keras.Input((32, 32, 3))
        >>> features = keras.layers.Conv2D(64, 3, activation="relu")(images)
        >>> attended = CBAM()(features)

    Woo et al., "CBAM: Convolutional Block Attention Module" (2018). It is the attention module of
    [Agrawal Sec. III].
    """

    def __init__(
        self,
        reduction: int = 16,
        kernel_size: int = 7,
        data_format: str | None = None,
        kernel_regularizer: Any = None,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        options: dict[str, Any] = {
            "data_format": self.data_format,
            "kernel_regularizer": kernel_regularizer,
            "dtype": self.dtype_policy,
        }
        if self.kernel_initializer is not None:
            options["kernel_initializer"] = self.kernel_initializer
        self.channel = ChannelGate(reduction, name="channel", **options)
        self.spatial = SpatialGate(kernel_size, name="spatial", **options)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables of both gates; Keras calls it before the first call of the layer.

        Args:
            input_shape: shape of the feature maps, four axes, of which the channels must be known.

        Raises:
            ValueError: another number of axes, an unknown number of channels, or fewer channels
                than `reduction`.
        """
        self.channel.build(input_shape)
        self.spatial.build(input_shape)
        self.built = True

    def gates(self, inputs: Any, training: bool | None = None) -> tuple[Any, Any]:
        """The numbers in (0, 1) by which channels and then positions are multiplied.

        Args:
            inputs: feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
                width]` with `data_format` "channels_first".
            training: True normalizes by the statistics of the batch; False or None by the moving
                averages.

        Returns:
            The channel gate, `[batch, 1, 1, channels]`, and the spatial gate, which is computed
            from the inputs times the channel gate, `[batch, height, width, 1]`; with
            "channels_first" the channel axis is the second.
        """
        channel = self.channel.gate(inputs)
        return channel, self.spatial.gate(inputs * channel, training)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Multiplies channels, then positions of feature maps by numbers in (0, 1) made of them.

        Args:
            inputs: feature maps `[batch, height, width, channels]`, or `[batch, channels, height,
                width]` with `data_format` "channels_first".
            training: True normalizes by the statistics of the batch; False or None by the moving
                averages.

        Returns:
            The product, of the same shape and dtype.
        """
        channel, spatial = self.gates(inputs, training)
        return inputs * channel * spatial

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for saving."""
        return {
            **super().get_config(),
            "reduction": self.channel.reduction,
            "kernel_size": self.spatial.kernel_size,
            "kernel_regularizer": self.channel.get_config()["kernel_regularizer"],
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
