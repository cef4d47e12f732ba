"""Images as RGB arrays for display: with attention maps, areas or boxes over them, or enlarged.

Enlarged images repeat their pixels, so that these stay squares; attention maps, which have far
fewer cells, are interpolated to the size of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
import tensorflow as tf
from scipy import ndimage

from aad_tf.types import Bounds
from aad_tf.utils.ops import resize_maps

# Of luminance in linear mixes of red, green and blue (Rec. 601).
_LUMINANCE = (0.299, 0.587, 0.114)
_BOX, _EDGE = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
AREA_EDGE = (0.94, 0.89, 0.26)


def displayable(image: Any, bounds: Bounds = Bounds()) -> np.ndarray:
    """Converts an image to RGB colours for display.

    Args:
        image: `[H, W, C]` within `bounds`; values outside are clipped. Three channels are red,
            green and blue; the mean of any other number of channels is shown in gray.
        bounds: pixel range, (lower, upper).

    Returns:
        float64 `[H, W, 3]` in [0, 1].

    Raises:
        ValueError: wrong rank.
    """
    image = np.asarray(image, np.float64)
    if image.ndim != 3:
        raise ValueError(f"image must have shape [height, width, channels], got {image.shape}.")
    lower, upper = bounds
    unit = np.clip((image - lower) / (upper - lower), 0.0, 1.0)
    return unit if unit.shape[-1] == 3 else np.repeat(unit.mean(-1, keepdims=True), 3, axis=-1)


def overlay(
    image: Any,
    attention_map: Any,
    *,
    bounds: Bounds = Bounds(),
    opacity: float | tuple[float, float] = 0.55,
    colormap: str = "turbo",
    gray: bool = False,
) -> np.ndarray:
    """An attention map in colours over its image, as the figures of [AAD] show them.

    Args:
        image: `[H, W, C]` within `bounds`.
        attention_map: `[h, w]`, non-negative and finite. It is divided by its highest value, so
            that colours of different maps cannot be compared, and resized to the image. A map of
            zeros stays zero.
        bounds: pixel range, (lower, upper).
        opacity: weight of the map's colours, in [0, 1]; or a pair, the weight where the map is 0
            and the weight where it is highest, between which it grows linearly with the map.
        colormap: name of a matplotlib colormap.
        gray: whether the image is shown in gray.

    Returns:
        float64 `[H, W, 3]` in [0, 1].

    Raises:
        ValueError: wrong rank, NaN or infinity in the map, opacity out of range.

    Example:
        >>> colours = overlay(images[0], grad_cam(classifier, images, labels)[0])
    """
    colours = displayable(image, bounds)
    attention = np.asarray(attention_map, np.float64)
    if attention.ndim != 2:
        raise ValueError(f"attention_map must have shape [h, w], got {attention.shape}.")
    if not np.isfinite(attention).all():
        raise ValueError(
            "attention_map holds NaN or infinity, so the network's weights or the images do too."
        )
    lowest, highest = opacity if isinstance(opacity, tuple) else (opacity, opacity)
    if not (0.0 <= lowest <= 1.0 and 0.0 <= highest <= 1.0):
        raise ValueError(f"opacity must be in [0, 1], got {opacity}.")
    peak = attention.max()
    scaled = attention / peak if peak > 0 else np.zeros_like(attention)
    level = np.clip(resize_maps(scaled[np.newaxis], colours.shape[:2]).numpy()[0], 0.0, 1.0)
    weight = (lowest + (highest - lowest) * level)[..., np.newaxis]
    below = _gray(colours) if gray else colours
    return (1.0 - weight) * below + weight * matplotlib.colormaps[colormap](level)[..., :3]


def enlarged(image: Any, side: int, bounds: Bounds = Bounds()) -> np.ndarray:
    """Resizes an image to a given length of its longer side, as RGB colours.

    Args:
        image: `[H, W, C]` within `bounds`.
        side: length of the longer side of the result, in pixels.
        bounds: pixel range, (lower, upper).

    Returns:
        `[h, w, 3]` in [0, 1]. An enlarged image repeats pixels, a smaller one averages them.

    Raises:
        ValueError: wrong rank.
    """
    colours = displayable(image, bounds)
    longer = max(colours.shape[:2])
    height, width = (max(1, round(side * extent / longer)) for extent in colours.shape[:2])
    if side >= longer:
        return _repeated(colours, height, width)
    return np.clip(tf.image.resize(colours, (height, width), antialias=True).numpy(), 0.0, 1.0)


def with_area(colours: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Draws an image in colour inside an area, with a yellow outline, and in pale gray outside.

    Args:
        colours: `[h, w, 3]` in [0, 1].
        area: bool `[H, W]`, True inside; it is resized to the image, by nearest neighbours.

    Returns:
        float64 `[h, w, 3]` in [0, 1]; the outline is two pixels wide and inside the area.
    """
    inside = _repeated(area, *colours.shape[:2])
    painted = np.where(inside[..., np.newaxis], colours, 0.35 * _gray(colours) + 0.55)
    painted[inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=1)] = AREA_EDGE
    return painted


def with_boxes(colours: np.ndarray, boxes: Iterable[Sequence[float]]) -> np.ndarray:
    """Draws boxes onto an image, as white lines with black edges, inside the boxes.

    Args:
        colours: `[h, w, 3]` in [0, 1].
        boxes: for each box (ymin, xmin, ymax, xmax), fractions of height and width in [0, 1].

    Returns:
        A copy `[h, w, 3]` with the boxes.
    """
    painted = colours.copy()
    height, width = colours.shape[:2]
    for ymin, xmin, ymax, xmax in boxes:
        top, bottom = round(ymin * height), max(round(ymax * height) - 1, 0)
        left, right = round(xmin * width), max(round(xmax * width) - 1, 0)
        for inset, colour in ((0, _EDGE), (3, _EDGE), (1, _BOX), (2, _BOX)):
            first, last = top + inset, bottom - inset
            start, end = left + inset, right - inset
            if first <= last and start <= end:
                painted[[first, last], start : end + 1] = colour
                painted[first : last + 1, [start, end]] = colour
    return painted


def _gray(colours: np.ndarray) -> np.ndarray:
    """Luminance in all three channels."""
    return np.repeat((colours @ np.array(_LUMINANCE))[..., np.newaxis], 3, axis=-1)


def _repeated(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resize of the first two axes."""
    rows, columns = (
        np.arange(target) * source // target
        for target, source in zip((height, width), values.shape[:2], strict=True)
    )
    return values[rows][:, columns]
