"""Images as screens show them, and attention maps laid over them."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np

from aad_tf.checks import check_bounds
from aad_tf.ops import resize_maps
from aad_tf.types import Bounds


def displayable(image: Any, bounds: Bounds = Bounds()) -> np.ndarray:
    """An image as colours a screen shows.

    Args:
        image: `[H, W, C]` within `bounds`; values outside are clipped.
        bounds: pixel range.

    Returns:
        float64 `[H, W, 3]` in [0, 1].

    Raises:
        ValueError: wrong rank.
    """
    image = np.asarray(image, np.float64)
    if image.ndim != 3:
        raise ValueError(f"image must have shape [height, width, channels], got {image.shape}.")
    bounds = check_bounds(bounds)
    unit = np.clip((image - bounds.lower) / (bounds.upper - bounds.lower), 0.0, 1.0)
    return unit if unit.shape[-1] == 3 else np.repeat(unit.mean(-1, keepdims=True), 3, axis=-1)


def overlay(
    image: Any,
    attention_map: Any,
    *,
    bounds: Bounds = Bounds(),
    opacity: float = 0.55,
    colormap: str = "turbo",
) -> np.ndarray:
    """An attention map in colours over its image, as the figures of [AAD] show them.

    Args:
        image: `[H, W, C]` within `bounds`.
        attention_map: `[h, w]`, non-negative and finite; resized to the image and scaled by its
            highest value, so colours of different maps do not compare. Zeros stay zeros.
        bounds: pixel range.
        opacity: weight of the map's colours, in [0, 1].
        colormap: name of a matplotlib colormap.

    Returns:
        float64 `[H, W, 3]` in [0, 1].

    Raises:
        ValueError: wrong rank, NaN or infinity in the map, opacity out of range.

    Example:
        >>> picture = overlay(images[0], grad_cam(classifier, images, labels)[0])
    """
    colours = displayable(image, bounds)
    attention = np.asarray(attention_map, np.float64)
    if attention.ndim != 2:
        raise ValueError(f"attention_map must have shape [h, w], got {attention.shape}.")
    if not np.isfinite(attention).all():
        raise ValueError(
            "attention_map holds NaN or infinity, so the network's weights or the images do too."
        )
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity must be in [0, 1], got {opacity}.")
    highest = attention.max()
    scaled = attention / highest if highest > 0 else np.zeros_like(attention)
    resized = resize_maps(scaled[np.newaxis], colours.shape[:2]).numpy()[0]
    heat = matplotlib.colormaps[colormap](np.clip(resized, 0.0, 1.0))[..., :3]
    return (1.0 - opacity) * colours + opacity * heat
