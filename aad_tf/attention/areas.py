"""Attention areas: binary masks of where attention is high, [AAD Eqs. 2, 6]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.utils.checks import check_count, check_number, near_names
from aad_tf.utils.ops import resize_maps, spatial_size


@dataclass(frozen=True)
class MeanThreshold:
    """Rule of the attention area: cells above the mean, kappa = mean(g(x)) of [AAD Eq. 2].

    Called with maps `[batch, h, w]`, it returns areas of the same shape and dtype, 1 where a cell
    is strictly above the mean and 0 elsewhere; no gradient flows through them.

    Attributes:
        over_batch: False compares with the mean of the cell's own map, as in the paper; True with
            the mean over all maps of the batch, as in the authors' code.

    Example:
        >>> MeanThreshold()(tf.constant([[[0.0, 1.0], [2.0, 3.0]]])).numpy().tolist()
        [[[0.0, 0.0], [1.0, 1.0]]]
    """

    over_batch: bool = False

    def __call__(self, maps: tf.Tensor) -> tf.Tensor:
        axes = (0, 1, 2) if self.over_batch else (1, 2)
        return strictly_above(maps, tf.reduce_mean(maps, axis=axes, keepdims=True))


@dataclass(frozen=True)
class TopCells:
    """Rule of the attention area: the `count` highest cells of each map, [AAD Table 3].

    Called with maps `[batch, h, w]`, it returns areas of the same shape and dtype, 1 in the highest
    cells and 0 elsewhere. Of equal cells the earlier one, row by row, counts as the higher.

    Attributes:
        count: number of cells of each area, at least 1.

    Raises:
        TypeError: a count that is not an integer.
        ValueError: a count below 1.

    Example:
        >>> TopCells(1)(tf.constant([[[0.0, 1.0], [2.0, 3.0]]])).numpy().tolist()
        [[[0.0, 0.0], [0.0, 1.0]]]
    """

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "count")

    def __call__(self, maps: tf.Tensor) -> tf.Tensor:
        return highest_cells(maps, tf.fill(tf.shape(maps)[:1], self.count))


class MatchingArea:
    """Rule of the attention area: as many highest cells as a ground-truth mask has, [AAD Table 1].

    Called with maps `[batch, h, w]`, it returns areas of the same shape and dtype, 1 in the highest
    cells and 0 elsewhere. Area i has as many cells as mask i.

    Args:
        masks: `[batch, h, w]`, in {0, 1} or bool, of the same grid and batch as the maps.

    Raises:
        ValueError: masks of another rank; when called, maps of another size than the masks.

    Example:
        >>> area = MatchingArea([[[1, 1], [1, 0]]])  # three cells
        >>> area(tf.constant([[[0.0, 1.0], [2.0, 3.0]]])).numpy().tolist()
        [[[0.0, 1.0], [1.0, 1.0]]]
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
    """Marks the cells above a threshold: sign(ReLU(g(x) - kappa)), [AAD Eq. 2].

    Args:
        maps: `[batch, h, w]`.
        threshold: kappa, of a shape that broadcasts to that of `maps`.

    Returns:
        1 where a map is strictly above the threshold, else 0, in the shape and dtype of `maps`; no
        gradient flows through it.
    """
    return tf.stop_gradient(tf.cast(maps > threshold, maps.dtype))


def highest_cells(maps: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Marks the `counts[i]` highest cells of map i.

    Args:
        maps: `[batch, h, w]`.
        counts: int `[batch]`.

    Returns:
        1 in the highest cells, else 0, in the shape and dtype of `maps`; no gradient flows through
        it. Of equal cells the earlier one, row by row, counts as the higher.
    """
    shape = tf.shape(maps)
    flat = tf.reshape(maps, (shape[0], -1))
    order = tf.argsort(flat, direction="DESCENDING", stable=True)
    rank = tf.argsort(order, stable=True)
    kept = rank < tf.cast(counts, rank.dtype)[:, tf.newaxis]
    return tf.stop_gradient(tf.reshape(tf.cast(kept, maps.dtype), shape))


def attention_area(maps: Any, threshold: Any = "mean") -> tf.Tensor:
    """Binary attention area Att(x): the cells where an attention map is high, [AAD Eq. 2].

    Args:
        maps: float `[batch, h, w]`, attention maps.
        threshold: which cells are in the area: `"mean"`, those above the mean of their map;
            `"batch_mean"`, above the mean of all maps of the batch; a number, above it;
            `TopCells(count)`, the `count` highest of each map; `MatchingArea(masks)`, as many
            highest cells as a mask has; or a function from maps to areas.

    Returns:
        1 inside the area, else 0, in the shape and dtype of `maps`; no gradient flows through it.

    Raises:
        TypeError: maps that are not floating point, or a rule that is neither a name, a number nor
            a function.
        ValueError: maps of wrong rank, an unknown rule, or a number that is not finite.

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
    """Returns the function that marks the cells where attention maps are high, by a rule.

    Args:
        threshold: which cells are in the area: `"mean"`, those above the mean of their map;
            `"batch_mean"`, above the mean of all maps of the batch; a number, above it;
            `TopCells(count)`, the `count` highest of each map; `MatchingArea(masks)`, as many
            highest cells as a mask has; or another function from maps to areas. The last three are
            returned as they are.

    Returns:
        A function from maps `[batch, h, w]` to areas in {0, 1} of the same shape and dtype.

    Raises:
        TypeError: neither a name, a number nor a function.
        ValueError: an unknown rule, or a number that is not finite.
    """
    if isinstance(threshold, str) and threshold in RULES:
        return RULES[threshold]
    if callable(threshold):
        return threshold
    if isinstance(threshold, str) or np.ndim(threshold) != 0:
        raise ValueError(
            f"Unknown threshold rule {threshold!r}.{near_names(str(threshold), RULES)} A number, "
            f"TopCells(count), MatchingArea(masks) or another function is taken, too."
        )
    # Scalar tensors and arrays are numbers, too.
    value = np.asarray(threshold).item()
    number = check_number(value, "threshold", ", the name of a rule or a function")
    return lambda maps: strictly_above(maps, tf.constant(number, maps.dtype))


def rule_for_any_batch(threshold: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function from maps to attention areas for a rule that suits every batch.

    An attention area is a binary mask of the cells where an attention map is high.

    Args:
        threshold: which cells are in the area: `"mean"`, those above the mean of their map;
            `"batch_mean"`, above the mean of all maps of the batch; a number, above it;
            `TopCells(count)`, the `count` highest of each map; or another function from maps to
            areas. The last two are returned as they are.

    Returns:
        A function from maps `[batch, h, w]` to areas in {0, 1} of the same shape and dtype.

    Raises:
        TypeError: a `MatchingArea`, since its masks belong to one batch; or neither a name, a
            number nor a function.
        ValueError: an unknown rule, or a number that is not finite.
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

    In the equation hidden pixels are 0. That is black for pixels in [0, 1] and mid-gray for pixels
    in [-1, 1]; the latter corresponds to `fill=0.5` in [0, 1].

    Rules that compare with a threshold, and functions, are applied to maps resized bilinearly to
    the images. Rules that count cells (`TopCells`, `MatchingArea`) are applied to the grid of the
    maps, and each cell hides its part of the image: 10 of 8 x 8 cells hide 10/64 of an image.

    Args:
        images: `[batch, H, W, C]`.
        maps: `[batch, h, w]`, attention maps.
        threshold: rule of the attention area: `"mean"`, above the mean of each map; `"batch_mean"`,
            above the mean of all maps of the batch; a number, above it; `TopCells(count)`;
            `MatchingArea(masks)`; or a function from maps to areas.
        fill: value of hidden pixels, in the unit of `images`: one number, or one per channel.

    Returns:
        Masked images in the shape and dtype of `images`; no gradient flows to the maps.

    Raises:
        TypeError: maps that are not floating point, or a rule that is neither a name, a number nor
            a function.
        ValueError: maps of wrong rank, an unknown rule, or a number that is not finite.

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
