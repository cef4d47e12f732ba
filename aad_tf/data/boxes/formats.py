"""Bounding boxes: their canonical format, checks, and conversion to pixel masks.

The canonical format is float32 `[n, 4]`, (ymin, xmin, ymax, xmax) in fractions of the image, called
"rel_yxyx" in Keras and KerasCV, with int32 class labels `[n]`. In a batch both are padded with -1:
a box with a negative label is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CANONICAL = "rel_yxyx"
PADDING = -1
RANK = "boxes must be [n, 4], or [batch, n, 4] padded with -1, got shape {}."
# Fractions above this can only be pixels; boxes drawn carelessly past the edge stay below.
_SURELY_PIXELS = 2.0
# Edges this near (in pixels) to a pixel's centre lie on it: float32 fractions are no finer.
_DECIMALS = 3


def check_boxes(
    boxes: Any,
    box_labels: Any = None,
    *,
    clip: bool = False,
    tolerance: float = 1e-4,
    first_example: int = 0,
) -> np.ndarray:
    """Checks boxes and clips them to the image.

    Args:
        boxes: array-like `[n, 4]` or `[batch, n, 4]`, (ymin, xmin, ymax, xmax) in fractions of the
            image.
        box_labels: integers `[n]` or `[batch, n]`; boxes with a negative label are padding and are
            not checked. None if there is no padding.
        clip: whether boxes may exceed the image by any amount, to which they are then clipped; a
            box that is wholly outside is an error all the same.
        tolerance: by how much, in fractions of the image, a box may exceed it with `clip=False`.
        first_example: index of the first example, for error messages.

    Returns:
        float32 NumPy array of the same shape, within [0, 1]; padding is returned as it was.

    Raises:
        ValueError: a wrong shape, NaN or infinity, pixels instead of fractions, swapped corners, a
            box that exceeds the image, or one without area; the message names the first such box.

    Example:
        >>> check_boxes([[0.1, 0.2, 1.1, 0.9]], clip=True)
        array([[0.1, 0.2, 1. , 0.9]], dtype=float32)
    """
    array = np.asarray(boxes, dtype=np.float32)
    if array.ndim not in (2, 3) or array.shape[-1] != 4:
        raise ValueError(RANK.format(array.shape))
    real = np.ones(array.shape[:-1], bool)
    if box_labels is not None:
        real = np.asarray(box_labels) >= 0
        if real.shape != array.shape[:-1]:
            raise ValueError(
                f"box_labels must hold one label per box, {array.shape[:-1]}, got {real.shape}."
            )
    clipped = np.clip(array, 0.0, 1.0)
    outside = np.abs(clipped - array) > (np.inf if clip else tolerance)
    for bad, complaint in (
        (~np.isfinite(array).all(-1), "holds NaN or infinity. Repair or remove it."),
        (
            (np.abs(array) > _SURELY_PIXELS).any(-1),
            "seems to be in pixels where fractions of the image are expected. Convert it with "
            "canonical_boxes(boxes, box_format, image_size), or give its box_format.",
        ),
        (
            (array[..., :2] > array[..., 2:]).any(-1),
            "has swapped corners: ymin must not exceed ymax, nor xmin xmax. Is its box_format "
            "right?",
        ),
        (
            outside.any(-1),
            "reaches outside the image, whose fractions run from 0 to 1. Correct it, or pass "
            "clip=True to cut boxes at the image's edges.",
        ),
        (
            (clipped[..., :2] >= clipped[..., 2:]).any(-1),
            "has no area within the image. Remove it.",
        ),
    ):
        if (real & bad).any():
            *example, box = np.argwhere(real & bad)[0]
            values = ", ".join(f"{value:g}" for value in array[(*example, box)])
            raise ValueError(
                f"Example {first_example + sum(example)}, box {box}: (ymin, xmin, ymax, xmax) = "
                f"({values}) {complaint}"
            )
    return np.where(real[..., None], clipped, array)


def object_masks(
    boxes: Any, box_labels: Any, labels: Any, size: int | tuple[int, int]
) -> np.ndarray:
    """Makes pixel masks of the labelled objects: the union of the boxes of each image's class.

    A pixel belongs to a box if its centre lies in [ymin, ymax) and [xmin, xmax). So boxes on pixel
    edges give exactly their pixels, and adjacent boxes share none. Boxes of other classes and
    padding are ignored.

    Args:
        boxes: `[batch, n, 4]`, (ymin, xmin, ymax, xmax) in fractions of the image.
        box_labels: integers `[batch, n]`, the class of each box, negative for padding.
        labels: integers `[batch]`, the class of each image.
        size: (height, width) of the masks in pixels, or one number for both.

    Returns:
        bool `[batch, height, width]`; all False for an example without a box of its class,
        or whose boxes hold no pixel's centre.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> object_masks([[[0, 0, 0.5, 0.5]]], [[7]], [7], size=4).sum()
        4
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    box_labels, labels = np.asarray(box_labels), np.asarray(labels)
    if boxes.ndim != 3 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must be [batch, n, 4], got shape {boxes.shape}.")
    if box_labels.shape != boxes.shape[:2] or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"boxes {boxes.shape} need box_labels {boxes.shape[:2]} and labels "
            f"{boxes.shape[:1]}, got {box_labels.shape} and {labels.shape}."
        )
    height, width = size if isinstance(size, Sequence) else (size, size)
    counted = (box_labels >= 0) & (box_labels == labels[:, None])
    rows = _spans(boxes[..., 0], boxes[..., 2], height) & counted[..., None]
    columns = _spans(boxes[..., 1], boxes[..., 3], width)
    # How many boxes hold a pixel: [b, h, n] x [b, n, w], small whole numbers.
    counts = np.swapaxes(rows, 1, 2).astype(np.float32) @ columns.astype(np.float32)
    return counts > 0.5


def _spans(lower: np.ndarray, upper: np.ndarray, pixels: int) -> np.ndarray:
    """Which of `pixels` centres lie in [lower, upper): bool [..., pixels]."""
    centres = np.arange(pixels) + 0.5
    first = np.round(lower * pixels, _DECIMALS)[..., None]
    end = np.round(upper * pixels, _DECIMALS)[..., None]
    return (first <= centres) & (centres < end)
