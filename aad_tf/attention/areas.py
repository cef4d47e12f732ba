"""Attention areas: binary masks of where attention is high, [AAD Eqs. 2, 6]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.utils.checks import check_count
from aad_tf.utils.ops import resize_maps, spatial_size


@dataclass(frozen=True)
class MeanThreshold:
    """Keeps the cells above the mean of a map: kappa = mean(g(x)) in [AAD Eq. 2], Sec. 4.1.

    Called with maps `[batch, h, w]` it gives areas of the same shape and dtype, 1 where a cell is
    kept and 0 elsewhere, without gradient.

    Attributes:
        over_batch: False takes each map's own mean, as printed; True the mean over the whole
            batch, as in the authors' code.
    """

    over_batch: bool = False

    def __call__(self, maps: tf.Tensor) -> tf.Tensor:
        axes = (0, 1, 2) if self.over_batch else (1, 2)
        return strictly_above(maps, tf.reduce_mean(maps, axis=axes, keepdims=True))


@dataclass(frozen=True)
class TopCells:
    """Keeps the `count` highest cells of each map, [AAD Table 3].

    Attributes:
        count: cells to keep in every map.
    """

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "count")

    def __call__(self, maps: tf.Tensor) -> tf.Tensor:
        return highest_cells(maps, tf.fill(tf.shape(maps)[:1], self.count))


class MatchingArea:
    """Keeps as many cells as a ground-truth mask has, [AAD Table 1].

    Args:
        masks: `[batch, h, w]` in {0, 1} or bool, of the size of the maps.
    """

    def __init__(self, masks: Any) -> None:
        masks = tf.cast(masks, tf.float32)
        if masks.shape.rank != 3:
            raise ValueError(f"masks must have shape [batch, h, w], got {tuple(masks.shape)}.")
        self._counts = tf.reduce_sum(tf.cast(masks > 0, tf.int32), axis=(1, 2))

        self._size = masks.shape[1:]

    def __call__(self, maps: tf.Tensor) -> tf.Tensor:
        if not maps.shape[1:].is_compatible_with(self._size):
            raise ValueError(
                f"MatchingArea counts the cells of masks of the size of the maps, "
                f"{tuple(maps.shape[1:])}, but its masks have {tuple(self._size)}. Resize the maps "
                f"with aad_tf.utils.ops.resize_maps, or make the masks on their grid."
            )
        return highest_cells(maps, self._counts)


RULES = {"mean": MeanThreshold(), "batch_mean": MeanThreshold(over_batch=True)}


def strictly_above(maps: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """sign(ReLU(g(x) - kappa)), [AAD Eq. 2]; it has no gradient.

    Args:
        maps: `[batch, h, w]`.
        threshold: kappa, broadcastable to `maps`.

    Returns:
        {0, 1} in the shape and dtype of `maps`.
    """
    return tf.stop_gradient(tf.cast(maps > threshold, maps.dtype))


def highest_cells(maps: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Marks the `counts[i]` highest cells of map i; ties go to the earlier cell.

    Args:
        maps: `[batch, h, w]`.
        counts: int `[batch]`.

    Returns:
        {0, 1} in the shape and dtype of `maps`.
    """
    shape = tf.shape(maps)
    flat = tf.reshape(maps, (shape[0], -1))
    order = tf.argsort(flat, direction="DESCENDING", stable=True)
    rank = tf.argsort(order, stable=True)
    kept = rank < tf.cast(counts, rank.dtype)[:, tf.newaxis]
    return tf.stop_gradient(tf.reshape(tf.cast(kept, maps.dtype), shape))


def attention_area(maps: Any, threshold: Any = "mean") -> tf.Tensor:
    """Binary attention area Att(x), [AAD Eq. 2].

    Args:
        maps: float `[batch, h, w]`.
        threshold: `"mean"` (kappa is each map's mean), `"batch_mean"`, a number (kappa itself),
            `TopCells(count)`, or `MatchingArea(masks)`.

    Returns:
        {0, 1} in the shape and dtype of `maps`; gradients stop here.

    Raises:
        TypeError: maps not floating point.
        ValueError: wrong rank or unknown rule.

    Example:
        >>> attention_area([[[0.0, 1.0], [2.0, 3.0]]], "mean").numpy().tolist()
        [[[0.0, 0.0], [1.0, 1.0]]]
    """
    maps = tf.convert_to_tensor(maps)
    if maps.shape.rank != 3:
        raise ValueError(f"maps must have shape [batch, h, w], got {tuple(maps.shape)}.")
    if not maps.dtype.is_floating:
        raise TypeError(f"maps must be floating point, got dtype {maps.dtype.name}.")
    return threshold_rule(threshold)(maps)


def threshold_rule(threshold: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function from maps to areas that a `threshold` of `attention_area` stands for.

    Raises:
        ValueError: unknown rule.
    """
    if isinstance(threshold, str) and threshold in RULES:
        return RULES[threshold]
    if callable(threshold):
        return threshold
    if isinstance(threshold, str) or np.ndim(threshold) != 0:
        raise ValueError(
            f"Unknown threshold rule {threshold!r}: expected one of {sorted(RULES)}, a number, "
            f"TopCells(count) or MatchingArea(masks)."
        )
    return lambda maps: strictly_above(maps, tf.constant(float(threshold), maps.dtype))


def rule_for_any_batch(threshold: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """As `threshold_rule`, for what is used on one batch after another.

    Raises:
        TypeError: `MatchingArea`, which belongs to the masks of one batch.
        ValueError: unknown rule.
    """
    if isinstance(threshold, MatchingArea):
        raise TypeError(
            "MatchingArea belongs to the masks of one batch and cannot serve a data set. Use "
            "TopCells(count) or 'mean'."
        )
    return threshold_rule(threshold)


def mask_out(
    images: tf.Tensor,
    maps: tf.Tensor,
    threshold: Any = "mean",
    fill: float | Sequence[float] = 0.0,
) -> tf.Tensor:
    """Hides the attention area of images: x * (1 - Att(x)), [AAD Eq. 6].

    As printed, hidden pixels are 0. What that looks like depends on the range of the pixels: black
    in [0, 1], mid-gray in [-1, 1], which is `fill=0.5` in [0, 1].

    Rules that compare with a value see maps that are resized to the images, so their areas have
    smooth outlines. Rules that count cells (`TopCells`, `MatchingArea`) see the grid of the maps,
    and the pixels of the cells they keep are hidden: 10 of 8 x 8 cells hide 10/64 of an image.

    Args:
        images: `[batch, H, W, C]`.
        maps: `[batch, h, w]` attention maps.
        threshold: as for `attention_area`.
        fill: value of hidden pixels, in the unit of `images`; one for all channels, or C.

    Returns:
        Masked images in the shape and dtype of `images`; no gradient flows to the maps.

    Example:
        >>> masked = mask_out(images, grad_cam(classifier, images, labels), TopCells(10))
    """
    maps, size = tf.stop_gradient(maps), spatial_size(images)
    if isinstance(threshold, (TopCells, MatchingArea)):
        cells = attention_area(maps, threshold)[..., tf.newaxis]
        area = tf.image.resize(cells, size, "nearest")
    else:
        area = attention_area(resize_maps(maps, size), threshold)[..., tf.newaxis]
    area = tf.cast(area, images.dtype)
    return images * (1.0 - area) + tf.cast(fill, images.dtype) * area
