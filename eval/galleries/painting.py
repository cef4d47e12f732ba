"""Finished pictures of panels: enlarged pixels, smooth maps over them, boxes, areas, differences.

Pixels of small photographs stay squares when they are enlarged; maps, which have far fewer cells,
are interpolated to the enlarged size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
import tensorflow as tf

from aad_tf.ops import resize_maps
from aad_tf.plots import displayable
from aad_tf.types import Bounds

# Of rising lightness, told apart by the color-blind and in gray.
COLORMAP = "viridis"
# Weight of the map's colours where it is lowest and where it is highest.
_FAINT, _STRONG = 0.35, 0.7
# Of luminance in linear mixes of red, green and blue (Rec. 601).
_LUMINANCE = (0.299, 0.587, 0.114)
_BOX, _EDGE = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
_AREA_EDGE = (0.94, 0.89, 0.26)


def enlarged(image: np.ndarray, side: int, bounds: Bounds = Bounds()) -> np.ndarray:
    """An image as colours, its longer side of so many pixels.

    Args:
        image: `[H, W, C]` within `bounds`.
        side: pixels.
        bounds: pixel range.

    Returns:
        float64 `[h, w, 3]` in [0, 1]: pixels repeated if it grows, averaged if it shrinks.
    """
    colours = displayable(image, bounds)
    height, width = _size(colours.shape[:2], side)
    if max(height, width) >= max(colours.shape[:2]):
        rows, columns = (
            np.arange(target) * source // target
            for target, source in zip((height, width), colours.shape[:2], strict=True)
        )
        return colours[rows][:, columns]
    return np.clip(tf.image.resize(colours, (height, width), antialias=True).numpy(), 0.0, 1.0)


def with_map(picture: np.ndarray, attention_map: np.ndarray) -> np.ndarray:
    """An attention map in colours over its picture, which shows through in gray.

    Args:
        picture: `[h, w, 3]` in [0, 1].
        attention_map: `[rows, columns]`, not negative; scaled by its highest value.

    Returns:
        float64 `[h, w, 3]` in [0, 1].

    Raises:
        ValueError: NaN or infinity in the map.
    """
    if not np.isfinite(attention_map).all():
        raise ValueError("An attention map holds NaN or infinity.")
    highest = attention_map.max()
    scaled = attention_map / highest if highest > 0 else np.zeros_like(attention_map)
    level = np.clip(resize_maps(scaled[np.newaxis], picture.shape[:2]).numpy()[0], 0.0, 1.0)
    heat = matplotlib.colormaps[COLORMAP](level)[..., :3]
    gray = (picture @ np.array(_LUMINANCE))[..., np.newaxis]
    opacity = (_FAINT + (_STRONG - _FAINT) * level)[..., np.newaxis]
    return (1.0 - opacity) * gray + opacity * heat


def with_area(picture: np.ndarray, area: np.ndarray) -> np.ndarray:
    """A picture in colour inside an area, with its outline, and pale gray outside.

    Args:
        picture: `[h, w, 3]` in [0, 1].
        area: bool `[H, W]`, of any size.
    """
    rows, columns = (
        np.arange(target) * source // target
        for target, source in zip(picture.shape[:2], area.shape, strict=True)
    )
    inside = area[rows][:, columns]
    gray = np.repeat((picture @ np.array(_LUMINANCE))[..., np.newaxis], 3, axis=-1)
    painted = np.where(inside[..., np.newaxis], picture, 0.35 * gray + 0.55)
    painted[_outline(inside)] = _AREA_EDGE
    return painted


def with_boxes(picture: np.ndarray, boxes: Iterable[Sequence[float]]) -> np.ndarray:
    """A picture with boxes drawn in white between black lines.

    Args:
        picture: `[h, w, 3]` in [0, 1].
        boxes: (ymin, xmin, ymax, xmax), fractions.
    """
    painted = picture.copy()
    height, width = picture.shape[:2]
    for ymin, xmin, ymax, xmax in boxes:
        top, bottom = round(ymin * height), max(round(ymax * height) - 1, 0)
        left, right = round(xmin * width), max(round(xmax * width) - 1, 0)
        for inset, colour in ((0, _EDGE), (3, _EDGE), (1, _BOX), (2, _BOX)):
            _rectangle(painted, top + inset, bottom - inset, left + inset, right - inset, colour)
    return painted


def difference(
    original: np.ndarray, adversarial: np.ndarray, factor: float, bounds: Bounds = Bounds()
) -> np.ndarray:
    """An amplified difference of two images around mid gray, `[H, W, C]` within [0, 1]."""
    change = (adversarial - original) / (bounds.upper - bounds.lower)
    return np.clip(0.5 + factor * change, 0.0, 1.0)


def _size(shape: Sequence[int], side: int) -> tuple[int, int]:
    height, width = (max(1, round(side * extent / max(shape))) for extent in shape)
    return height, width


def _outline(inside: np.ndarray) -> np.ndarray:
    """Pixels of a mask beside one outside it; two wide."""
    eroded = inside
    for _ in range(2):
        padded = np.pad(eroded, 1, mode="edge")
        eroded = (
            eroded & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        )
    return inside & ~eroded


def _rectangle(
    picture: np.ndarray, top: int, bottom: int, left: int, right: int, colour: Sequence[float]
) -> None:
    if top > bottom or left > right:
        return
    picture[[top, bottom], left : right + 1] = colour
    picture[top : bottom + 1, [left, right]] = colour
