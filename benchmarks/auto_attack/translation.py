"""A Keras network as a list of operations that the original code's process can rebuild."""

from __future__ import annotations

from typing import Any

import keras

Operation = dict[str, Any]


def operations(network: keras.Model) -> list[Operation]:
    """The layers of a network that is a chain of them, such as LeNet and CifarNet.

    Args:
        network: a chain of Rescaling, convolutions of stride 1 with padding "same", max pooling
            without overlap, LocalResponseNormalization, Flatten, Dropout and Dense layers, whose
            activations are ReLU or none.

    Returns:
        An operation for each layer that does something at inference: its `kind`, its settings, and
        its weights as arrays in Keras's order.

    Raises:
        ValueError: the network has another layer, or a setting that is not covered.
    """
    found: list[Operation] = []
    for layer in network.layers:
        kind = type(layer).__name__
        if kind in ("InputLayer", "Dropout"):
            continue
        if kind not in _SETTINGS:
            raise ValueError(
                f"Layer {layer.name!r} of {network.name!r} is a {kind}; only these can be "
                f"translated: {', '.join(_SETTINGS)}, Dropout."
            )
        settings = _SETTINGS[kind](layer.get_config())
        weights = {f"weight_{i}": value for i, value in enumerate(layer.get_weights())}
        found.append({"kind": kind, **settings, **weights})
    return found


def _convolution(config: dict[str, Any]) -> Operation:
    _check(config, {"padding": "same", "strides": (1, 1), "dilation_rate": (1, 1), "groups": 1})
    return _dense(config)


def _dense(config: dict[str, Any]) -> Operation:
    if config["activation"] not in ("relu", "linear") or not config["use_bias"]:
        raise ValueError(f"Layer {config['name']!r} must have a bias and ReLU or no activation.")
    return {"relu": config["activation"] == "relu"}


def _pooling(config: dict[str, Any]) -> Operation:
    size = tuple(config["pool_size"])
    _check(config, {"strides": size, "padding": "valid", "pool_size": (size[0], size[0])})
    return {"size": size[0]}


def _check(config: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        found = config[name]
        if (tuple(found) if isinstance(found, list) else found) != value:
            raise ValueError(f"Layer {config['name']!r}: {name} must be {value}, got {found}.")


def _take(*names: str) -> Any:
    return lambda config: {name: config[name] for name in names}


_SETTINGS: dict[str, Any] = {
    "Rescaling": _take("scale", "offset"),
    "Conv2D": _convolution,
    "MaxPooling2D": _pooling,
    "LocalResponseNormalization": _take("depth_radius", "bias", "alpha", "beta"),
    "Flatten": _take(),
    "Dense": _dense,
}
