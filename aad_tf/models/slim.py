"""Loads checkpoints of TF-slim, the format in which adversarially trained ImageNet networks exist.

TF-slim is TensorFlow 1's library of networks. Its checkpoints hold variables by name, such as
`InceptionV3/Conv2d_1a_3x3/weights`; `load_slim_weights` finds the variable of this package's
network that each belongs to. For InceptionV3, download.tensorflow.org/models has weights trained on
clean images (`inception_v3_2016_08_28.tar.gz`) and adversarially trained ones:
`adv_inception_v3_2017_08_18.tar.gz` by Kurakin et al. (2017), `ens3_adv_inception_v3_...` and
`ens4_adv_inception_v3_...` by Tramer et al. (2018).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.utils.logging import LOGGER

# Scopes of InceptionV3's convolutions, in the order in which Keras and slim alike create them.
# Where a block's branches begin anew the number is that of the branch.
_INCEPTION_V3: Mapping[str, tuple[str, ...]] = {
    "": ("Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3",),
    "Mixed_5b": (
        "Conv2d_0a_1x1",
        "Conv2d_0a_1x1 Conv2d_0b_5x5",
        "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3",
        "Conv2d_0b_1x1",
    ),
    "Mixed_5c": (
        "Conv2d_0a_1x1",
        # So in slim, and therefore in every checkpoint.
        "Conv2d_0b_1x1 Conv_1_0c_5x5",
        "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3",
        "Conv2d_0b_1x1",
    ),
    "Mixed_5d": (
        "Conv2d_0a_1x1",
        "Conv2d_0a_1x1 Conv2d_0b_5x5",
        "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3",
        "Conv2d_0b_1x1",
    ),
    "Mixed_6a": ("Conv2d_1a_1x1", "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_1a_1x1"),
    **dict.fromkeys(
        ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        (
            "Conv2d_0a_1x1",
            "Conv2d_0a_1x1 Conv2d_0b_1x7 Conv2d_0c_7x1",
            "Conv2d_0a_1x1 Conv2d_0b_7x1 Conv2d_0c_1x7 Conv2d_0d_7x1 Conv2d_0e_1x7",
            "Conv2d_0b_1x1",
        ),
    ),
    "Mixed_7a": (
        "Conv2d_0a_1x1 Conv2d_1a_3x3",
        "Conv2d_0a_1x1 Conv2d_0b_1x7 Conv2d_0c_7x1 Conv2d_1a_3x3",
    ),
    "Mixed_7b": (
        "Conv2d_0a_1x1",
        "Conv2d_0a_1x1 Conv2d_0b_1x3 Conv2d_0b_3x1",
        "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_1x3 Conv2d_0d_3x1",
        "Conv2d_0b_1x1",
    ),
    "Mixed_7c": (
        "Conv2d_0a_1x1",
        "Conv2d_0a_1x1 Conv2d_0b_1x3 Conv2d_0c_3x1",
        "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_1x3 Conv2d_0d_3x1",
        "Conv2d_0b_1x1",
    ),
}
_PLAIN = {
    "cifarnet": ("CifarNet", ("conv1", "conv2", "fc3", "fc4", "logits"), "logits"),
    "lenet": ("LeNet", ("conv1", "conv2", "fc3", "logits"), "fc4"),
}
_NETWORKS = ("inception_v3", *_PLAIN)
# The second head that InceptionV3 has in training alone, and counters of optimizers.
_NOT_OF_THE_NETWORK = re.compile(r"InceptionV3/AuxLogits/|(global_step|beta[12]_power)$")
# Files of a checkpoint, whose common beginning is its name.
_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
# What TensorFlow raises about files that are cut short or something else.
_UNREADABLE = (tf.errors.OpError, LookupError, RuntimeError, ValueError)
# At most so many names are listed in a message.
_NAMES = 3


def load_slim_weights(network: keras.Model, checkpoint: str | os.PathLike[str]) -> bool:
    """Sets the weights of a network to those of a checkpoint of TF-slim, a library of TensorFlow 1.

    InceptionV3's auxiliary head, which is used in training alone, is not loaded, nor are the
    variables of optimizers and moving averages of weights. TF-slim's ImageNet networks have 1,001
    classes, of which class 0 is a background class that no image has. An InceptionV3 with one class
    fewer gets the logits of the others, in the order of the data set `imagenet2012`; so it never
    predicts background.

    Args:
        network: `inception_v3`, `cifarnet` or `lenet` of `aad_tf.models`, of an image size that
            the checkpoint's dense layers fit.
        checkpoint: path without the endings `.index` and `.data-...`, such as
            `adv_inception_v3.ckpt`, or the path of a checkpoint that is a single file.

    Returns:
        Whether the logits were loaded too. If the checkpoint has another number of classes, the
        logits layer stays as it is, and all other layers are loaded.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: another network; no checkpoint; or one that lacks variables of the network, has
            further ones, or has them in other shapes. The network is then unchanged.

    Example:
        >>> network = aad_tf.models.inception_v3((299, 299, 3), 1000)
        >>> load_slim_weights(network, "adv_inception_v3.ckpt")
        True
    """
    path = _existing(os.fspath(checkpoint))
    variables = dict(_variables(network))
    try:
        reader = tf.train.load_checkpoint(path)
        shapes = reader.get_variable_to_shape_map()
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} is no checkpoint of TensorFlow, or it is cut short: {error}"
        ) from error
    _check_names(path, network, variables, shapes)
    whole, first = _classes(network, variables, shapes)
    if not whole:
        variables = {name: value for name, value in variables.items() if not _is_logits(value)}
    try:
        values = {name: reader.get_tensor(name) for name in variables}
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read; is it cut short? {error}") from error
    given = {}
    for name, variable in variables.items():
        value = values[name][..., first:] if _is_logits(variable) else values[name]
        given[name] = _fitting(path, name, value, variable)
    for name, variable in variables.items():
        variable.assign(given[name])
    if whole and first:
        LOGGER.info("Left out class 0 of %s, background.", path)
    return whole


def _existing(path: str) -> str:
    """The name of a checkpoint that is there."""
    path = _ENDING.sub("", path)
    if os.path.isdir(path):
        found = [os.fspath(file.with_suffix("")) for file in sorted(Path(path).glob("*.index"))]
        raise ValueError(
            f"{path} is a directory. Give the checkpoint in it, without ending"
            f"{': ' + ', '.join(found) if found else '; it holds none'}."
        )
    if not os.path.isfile(path) and not os.path.isfile(f"{path}.index"):
        raise FileNotFoundError(
            f"There is no checkpoint {path!r}: neither this file nor {path}.index."
        )
    return path


def _variables(network: keras.Model) -> Iterator[tuple[str, Any]]:
    """Names in slim and variables of a network."""
    if network.name not in _NETWORKS:
        raise ValueError(
            f"Checkpoints of TF-slim are loaded into {', '.join(_NETWORKS)} of aad_tf.models, got "
            f"a network named {network.name!r}."
        )
    if network.name in _PLAIN:
        scope, layers, logits = _PLAIN[network.name]
        for name in layers:
            layer = network.get_layer(name)
            yield from _weights_and_biases(f"{scope}/{logits if name == 'logits' else name}", layer)
        return
    convolutions = zip(
        _inception_scopes(),
        _in_order(network, keras.layers.Conv2D),
        _in_order(network, keras.layers.BatchNormalization),
        strict=True,
    )
    for scope, convolution, normalization in convolutions:
        yield f"{scope}/weights", convolution.kernel
        yield f"{scope}/BatchNorm/beta", normalization.beta
        yield f"{scope}/BatchNorm/moving_mean", normalization.moving_mean
        yield f"{scope}/BatchNorm/moving_variance", normalization.moving_variance
    yield from _weights_and_biases("InceptionV3/Logits/Conv2d_1c_1x1", network.get_layer("logits"))


def _weights_and_biases(scope: str, layer: Any) -> Iterator[tuple[str, Any]]:
    yield f"{scope}/weights", layer.kernel
    yield f"{scope}/biases", layer.bias


def _inception_scopes() -> Iterator[str]:
    for block, branches in _INCEPTION_V3.items():
        for number, names in enumerate(branches):
            within = f"{block}/Branch_{number}/" if block else ""
            for name in names.split():
                yield f"InceptionV3/{within}{name}"


def _in_order(network: keras.Model, kind: type[keras.layers.Layer]) -> list[Any]:
    """Layers of a kind as they were created, which Keras counts in their names."""

    def number(layer: keras.layers.Layer) -> int:
        found = re.search(r"_(\d+)$", layer.name)
        return int(found[1]) if found else 0

    return sorted((layer for layer in network.layers if isinstance(layer, kind)), key=number)


def _is_logits(variable: Any) -> bool:
    return variable.path.split("/")[-2] == "logits"


def _check_names(
    path: str,
    network: keras.Model,
    variables: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Raises ValueError unless a checkpoint has the network's variables and no others."""
    missing = [name for name in variables if name not in shapes]
    # Optimizers and moving averages name theirs after the variable, with an ending of their own.
    surplus = [
        name
        for name in sorted(shapes)
        if name not in variables
        and name.rpartition("/")[0] not in variables
        and not _NOT_OF_THE_NETWORK.match(name)
    ]
    if missing or surplus:
        wrong = [
            f"{verb} {', '.join(names[:_NAMES])}"
            f"{f' and {len(names) - _NAMES:,} more' if len(names) > _NAMES else ''}"
            for verb, names in (("lacks", missing), ("has", surplus))
            if names
        ]
        raise ValueError(
            f"{path} is no checkpoint of {network.name} as TF-slim builds it: it "
            f"{', and '.join(wrong)}. Is it of another network, or of another library?"
        )


def _classes(
    network: keras.Model, variables: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[bool, int]:
    """Whether a checkpoint has logits for the network's classes, and which is the first of them."""
    (name,) = (
        name for name, value in variables.items() if _is_logits(value) and name.endswith("/weights")
    )
    stored, own = shapes[name][-1], network.output_shape[-1]
    background = network.name == "inception_v3" and stored == own + 1
    return stored == own or background, int(background)


def _fitting(path: str, name: str, value: np.ndarray, variable: Any) -> np.ndarray:
    """A value in the shape of its variable; slim's logits are a convolution of one pixel."""
    shape = tuple(variable.shape)
    squeezed = value.reshape(value.shape[2:]) if value.shape[:2] == (1, 1) else value
    fitting = squeezed if len(shape) == 2 else value
    if fitting.shape != shape:
        raise ValueError(
            f"{name} of {path} has shape {value.shape}, the network's {variable.path} {shape}. "
            f"Is the network built for the checkpoint's images and options?"
        )
    return fitting
