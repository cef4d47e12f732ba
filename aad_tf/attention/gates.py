"""The gates of a network with CBAM: computed, replaced by constants, compared with attention maps.

A CBAM layer (convolutional block attention module) multiplies its input by a channel gate and then
by a spatial gate, both with values in (0, 1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aad_tf.attention.areas import TopCells
from aad_tf.metrics import iou, rank_correlation
from aad_tf.models import CBAM
from aad_tf.utils.checks import check_choice, check_count

KINDS = ("channel", "spatial")


class Gates(NamedTuple):
    """The factors, in (0, 1), by which one CBAM layer multiplies its input.

    Attributes:
        channel: channel gate, `[batch, channels]`; `[channels]` if it is a mean over images.
        spatial: spatial gate, `[batch, h, w]`; `[h, w]` if it is a mean over images.
    """

    channel: Any
    spatial: Any


class NetworkGates:
    """Computes the gates of all CBAM layers of a network in one forward pass.

    Gates are the factors in (0, 1) by which a layer of CBAM, the convolutional block attention
    module (Woo et al. 2018), multiplies the channels and then the positions of its input. Called
    with a batch of images `[batch, H, W, C]` in the model's pixel range, the object returns a
    dictionary from the name of each CBAM layer to its `Gates`: `channel`, `[batch, channels]`, and
    `spatial`, `[batch, h, w]`.

    Args:
        model: a functional or sequential Keras model that has `aad_tf.models.CBAM` layers; those
            inside nested models are ignored.

    Attributes:
        names: names of the CBAM layers, in the order of the model's layers.

    Raises:
        ValueError: a model without a CBAM layer.

    Example:
        >>> gates = NetworkGates(models.build("cbam_resnet50", (32, 32, 3), 10))
        >>> images = tf.random.uniform((2, 32, 32, 3))
        >>> gates(images)["block4_3_cbam"].spatial.shape
        TensorShape([2, 4, 4])

    CBAM is the attention module of [Agrawal Sec. III].
    """

    def __init__(self, model: keras.Model) -> None:
        self._layers = _cbam_layers(model)
        self.names = tuple(layer.name for layer in self._layers)
        inputs = keras.Model(model.inputs, [layer.input for layer in self._layers])
        self._inputs = tf.function(lambda images: inputs(images, training=False))

    def __call__(self, images: Any) -> dict[str, Gates]:
        """Computes the gates of a batch, in inference mode.

        Args:
            images: `[batch, H, W, C]`, in the pixel range of the model.

        Returns:
            A dictionary from the name of each CBAM layer to its `Gates`: tensors `channel`,
            `[batch, channels]`, and `spatial`, `[batch, h, w]`, in (0, 1) and in the layer's
            compute dtype.
        """
        found = self._inputs(tf.convert_to_tensor(images))
        found = found if isinstance(found, (list, tuple)) else [found]
        return {
            layer.name: _flat(layer, layer.gates(each, training=False), len(each))
            for layer, each in zip(self._layers, found, strict=True)
        }

    def means(self, batches: Iterable[Any]) -> dict[str, Gates]:
        """Computes the mean of each gate over all images, for each channel and each position.

        Args:
            batches: batches of images `[batch, H, W, C]`, or tuples whose first entry is such a
                batch.

        Returns:
            A dictionary from the name of each CBAM layer to its mean `Gates`: float64 arrays
            `channel`, `[channels]`, and `spatial`, `[h, w]`.

        Raises:
            ValueError: no images.
        """
        sums: dict[str, list[np.ndarray]] = {}
        count = 0
        for batch in batches:
            images = batch[0] if isinstance(batch, (list, tuple)) else batch
            count += len(images)
            for name, gates in self(images).items():
                added = [np.asarray(each, np.float64).sum(0) for each in gates]
                known = sums.get(name, [0.0, 0.0])
                sums[name] = [one + other for one, other in zip(known, added, strict=True)]
        if not count:
            raise ValueError("There are no images to take the mean of the gates over.")
        return {name: Gates(*(each / count for each in both)) for name, both in sums.items()}


@keras.saving.register_keras_serializable(package="aad_tf")
class HeldCBAM(CBAM):
    """A `CBAM` layer in which one or both gates are constants that do not depend on the input.

    The layer multiplies channels by the channel gate, then positions by the spatial gate.

    If only the channel gate is constant, the spatial gate is computed from the input multiplied by
    that constant.

    Args:
        held_channel: `[channels]`, numbers that replace the channel gate; None computes it.
        held_spatial: `[h, w]`, numbers that replace the spatial gate; None computes it.
        **kwargs: arguments of `CBAM`, such as `reduction` (channels divided by units of the hidden
            layer of the channel gate) and `kernel_size` (of the spatial gate's convolution).

    Raises:
        ValueError: arguments that `CBAM` refuses; when the layer is built, constants whose shape
            does not fit the inputs.

    Example:
        >>> layer = HeldCBAM(held_spatial=np.ones((4, 4)))  # the channel gate alone
        >>> layer(tf.random.uniform((2, 4, 4, 32))).shape
        TensorShape([2, 4, 4, 32])

    CBAM is the attention module of [Agrawal Sec. III].
    """

    def __init__(
        self, *, held_channel: Any = None, held_spatial: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.held_channel = None if held_channel is None else np.asarray(held_channel, np.float64)
        self.held_spatial = None if held_spatial is None else np.asarray(held_spatial, np.float64)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights of both gates and checks `held_channel` and `held_spatial`.

        Args:
            input_shape: shape of the inputs, batch axis included.

        Raises:
            ValueError: `held_channel` is not `[channels]` of the inputs, or `held_spatial` not
                their `[h, w]`.
        """
        super().build(input_shape)
        channels = self._channels(input_shape)
        sides = tuple(input_shape[axis] for axis in self._spatial_axes)
        for name, held, wanted in (
            ("held_channel", self.held_channel, (channels,)),
            ("held_spatial", self.held_spatial, sides),
        ):
            if held is not None and not tf.TensorShape(wanted).is_compatible_with(held.shape):
                raise ValueError(
                    f"{name} of {self.name!r} must have shape {wanted}, as its inputs "
                    f"{tuple(input_shape)} have, got {held.shape}."
                )

    def gates(self, inputs: Any, training: bool | None = None) -> tuple[Any, Any]:
        """Computes both gates of a batch, or takes the constant where a gate is held.

        Args:
            inputs: features `[batch, h, w, channels]`, or channels first if the layer is so.
            training: whether the spatial gate's normalisation runs in training mode.

        Returns:
            The channel gate `[batch, 1, 1, channels]` and the spatial gate `[batch, h, w, 1]`
            (axes in the order of the inputs). A constant gate has a batch axis of 1.
        """
        dtype, axis = inputs.dtype, self._channel_axis
        if self.held_channel is None:
            channel = self.channel.gate(inputs)
        else:
            held = ops.convert_to_tensor(self.held_channel, dtype)
            channel = ops.expand_dims(held, [0, *self._spatial_axes])
        if self.held_spatial is None:
            return channel, self.spatial.gate(inputs * channel, training)
        held = ops.convert_to_tensor(self.held_spatial, dtype)
        return channel, ops.expand_dims(held, [0, axis])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, from which Keras rebuilds the layer."""
        held = {"held_channel": self.held_channel, "held_spatial": self.held_spatial}
        lists = {name: None if each is None else each.tolist() for name, each in held.items()}
        return {**super().get_config(), **lists}


def hold_gates(
    model: keras.Model, values: Mapping[str, Gates], kinds: Collection[str] = KINDS
) -> keras.Model:
    """Copies a network with CBAM and replaces its gates by constants.

    With mean gates as constants, the accuracy of the copy shows how much of the network's accuracy
    does not need gates that depend on the image.

    Args:
        model: a functional or sequential Keras model that has `aad_tf.models.CBAM` layers; it is
            not changed.
        values: a dictionary from the name of each CBAM layer to `Gates`, arrays `channel`,
            `[channels]`, and `spatial`, `[h, w]`, such as `NetworkGates(model).means(batches)`.
        kinds: which gates become constant: a collection of `"channel"` and `"spatial"`.

    Returns:
        A model with the same layers and weights, in which `HeldCBAM` replaces `CBAM`.

    Raises:
        ValueError: `kinds` is empty or has another name, a CBAM layer is not in `values`, or the
            model has no CBAM layer.

    Example:
        >>> means = NetworkGates(model).means(validation_batches)
        >>> without_places = hold_gates(model, means, ["spatial"])
    """
    for kind in kinds:
        check_choice(kind, KINDS, "kind of gate")
    if not kinds:
        raise ValueError("kinds is empty: name 'channel', 'spatial' or both.")
    missing = [layer.name for layer in _cbam_layers(model) if layer.name not in values]
    if missing:
        raise ValueError(f"values has no gates for {', '.join(missing)}.")

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, CBAM):
            return type(layer).from_config(layer.get_config())
        held = {f"held_{kind}": getattr(values[layer.name], kind) for kind in kinds}
        return HeldCBAM(**{**layer.get_config(), **held})

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


class GateAgreement(NamedTuple):
    """Similarity of spatial gates and attention maps; NaN where one of the two is constant.

    Attributes:
        rank_correlation: Spearman's rank correlation over the cells, float64 `[batch]` in [-1, 1].
        iou: IoU of the highest cells of gate and map, float64 `[batch]` in [0, 1].
    """

    rank_correlation: np.ndarray
    iou: np.ndarray


def gate_agreement(spatial: Any, maps: Any, cells: int) -> GateAgreement:
    """Compares spatial gates with attention maps of the same images.

    If the grids differ, the gate is first averaged over the cells of the map, whose grid should be
    the coarser one.

    Args:
        spatial: spatial gates `[batch, h, w]`.
        maps: attention maps `[batch, h', w']`, such as those of `grad_cam`.
        cells: number of highest cells, on the map's grid, whose overlap is measured by IoU.

    Returns:
        A GateAgreement: `rank_correlation` in [-1, 1] and `iou` in [0, 1], float64 `[batch]`; NaN
        where the gate or the map is constant.

    Raises:
        TypeError: a number of cells that is not an integer.
        ValueError: arrays of another rank or of different batch sizes, or fewer than one cell.

    Example:
        >>> gate_agreement([[[0.1, 0.9]]], [[[0.0, 1.0]]], 1).iou
        array([1.])
    """
    gates, maps = np.asarray(spatial, np.float64), np.asarray(maps, np.float64)
    if gates.ndim != 3 or maps.ndim != 3 or len(gates) != len(maps):
        raise ValueError(
            f"Expected gates and maps [batch, h, w] of as many images, got {gates.shape} and "
            f"{maps.shape}."
        )
    area = TopCells(check_count(cells, "cells"))
    if gates.shape != maps.shape:
        # Sums as they are, not divided to means, have the same ranks. Rounding, as of
        # tf.image.resize in float32, would rank cells that are equal.
        rows, columns = map(_overlaps, gates.shape[1:], maps.shape[1:])
        gates = rows @ (gates - gates.min((1, 2), keepdims=True)) @ columns.T
    correlation = rank_correlation(gates, maps)
    shared = iou(area(tf.constant(gates)), area(tf.constant(maps))).numpy().astype(np.float64)
    return GateAgreement(correlation, np.where(np.isnan(correlation), np.nan, shared))


def _overlaps(size: int, other_size: int) -> np.ndarray:
    """How much of each of `size` cells lies in each of `other_size` along the same line.

    They are whole numbers, so that sums weighted by them are exact for cells of float32.
    """
    begin, other = np.arange(size) * other_size, np.arange(other_size)[:, np.newaxis] * size
    shared = np.minimum(begin + other_size, other + size) - np.maximum(begin, other)
    return np.maximum(shared, 0).astype(np.float64)


def _cbam_layers(model: keras.Model) -> list[CBAM]:
    layers = [layer for layer in model.layers if isinstance(layer, CBAM)]
    if not layers:
        raise ValueError(
            f"{model.name} has no layer of the kind aad_tf.models.CBAM, so it has no gates. Build "
            f'one as aad_tf.models.build("cbam_resnet50", (32, 32, 3), 10).'
        )
    return layers


def _flat(layer: CBAM, gates: tuple[Any, Any], batch: int) -> Gates:
    # Held gates are the same for all images.
    channel, spatial = (ops.broadcast_to(each, (batch, *each.shape[1:])) for each in gates)
    first = layer.data_format == "channels_first"
    axes = (2, 3) if first else (1, 2)
    return Gates(ops.squeeze(channel, axes), ops.squeeze(spatial, 1 if first else 3))
