"""Converts boxes of Keras's formats and data sets with boxes, and applies KerasCV layers to them.

Only this module uses KerasCV, which it imports when it is first needed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.data.boxes.batches import Example, in_batches
from aad_tf.data.boxes.formats import CANONICAL, RANK, check_boxes
from aad_tf.data.images import ImageSize, sides, unit_range
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.ops import without_autograph

FORMATS = (
    "center_xywh",
    "center_yxhw",
    "rel_xywh",
    "rel_xyxy",
    "rel_yxyx",
    "xywh",
    "xyxy",
    "yxyx",
)
_EXPECTED = (
    "Expected single examples (image [height, width, channels], label []) with, if there are "
    "boxes, boxes [n, 4] as third and, if these have their own classes, box_labels [n] as fourth"
)
_RANGE_TOLERANCE = 1e-4


def canonical_boxes(
    boxes: Any, box_format: str, image_size: int | Sequence[Any] | None = None
) -> tf.Tensor:
    """Converts boxes of a format of Keras to (ymin, xmin, ymax, xmax) in fractions of the image.

    It works inside `tf.data` functions too.

    Args:
        boxes: array-like `[n, 4]` or `[batch, n, 4]` of any number type, without padding.
        box_format: Keras's name of the format: "xyxy", "yxyx", "xywh", "center_xywh" or
            "center_yxhw" in pixels; "rel_xyxy", "rel_yxyx" or "rel_xywh" in fractions of the image.
            "xyxy" is (xmin, ymin, xmax, ymax).
        image_size: (height, width) of the image in pixels, as integers or scalar tensors, or one
            integer for both; only needed for formats in pixels.

    Returns:
        float32 of the same shape.

    Raises:
        ValueError: an unknown format, a wrong shape, or pixels without `image_size`.

    Example:
        >>> canonical_boxes([[10, 20, 30, 40]], "xywh", image_size=(100, 200)).numpy()
        array([[0.2 , 0.05, 0.6 , 0.2 ]], dtype=float32)
    """
    box_format = check_choice(str(box_format).lower(), FORMATS, "box format")
    boxes = boxes if tf.is_tensor(boxes) else _box_array(boxes)
    if boxes.shape.rank not in (2, 3) or boxes.shape[-1] not in (4, None):
        raise ValueError(RANK.format(boxes.shape))
    if image_size is None and not box_format.startswith("rel_"):
        raise ValueError(
            f"Boxes in {box_format!r} are in pixels: pass image_size=(height, width) in pixels."
        )
    # Fractions are fractions of any size, which Keras wants to know all the same.
    size: Any = 1 if image_size is None else image_size
    height, width = (size, size) if isinstance(size, Integral) else (size[0], size[1])
    return keras.utils.bounding_boxes.convert_format(
        boxes, box_format, CANONICAL, height=height, width=width, dtype="float32"
    )


def _box_array(boxes: Any) -> tf.Tensor:
    array = np.asarray(boxes)
    return tf.convert_to_tensor(np.zeros([0, 4]) if array.shape == (0,) else array)


def from_tuples(
    dataset: tf.data.Dataset,
    batch_size: int,
    box_format: str = CANONICAL,
    image_size: ImageSize = None,
    start: int = 0,
    stop: int | None = None,
    clip: bool = False,
) -> tf.data.Dataset:
    """Converts a data set of single images, labels and boxes to batches for attention studies.

    Args:
        dataset: single examples (image, label), (image, label, boxes) or (image, label, boxes,
            box_labels). Images are `[height, width, channels]`, uint8 in 0..255 or floating point
            in [0, 1]; labels are integers; boxes are `[n, 4]`, where n may differ; box_labels are
            integers `[n]` from 0. Without box_labels every box has the label of its image.
        batch_size: examples per batch, at least 1. The last batch may be shorter.
        box_format: Keras's name of the boxes' format: "xyxy", "yxyx", "xywh", "center_xywh",
            "center_yxhw", "rel_xyxy", "rel_yxyx" or "rel_xywh". Pixels are those of the image
            before it is resized.
        image_size: side in pixels, or (height, width), that images are resized to, bilinearly; None
            or 0 for their own size, which must then be the same for all.
        start: number of examples to leave out at the beginning; the data set still produces them.
        stop: index after the last example; None for the end.
        clip: True clips boxes to the image, False refuses those that exceed it.

    Returns:
        A dataset of dictionaries: "image" float32 `[batch, height, width, channels]` in [0, 1],
        "label" int32 `[batch]`, "boxes" float32 `[batch, n, 4]` as (ymin, xmin, ymax, xmax) in
        fractions of the image, and "box_labels" int32 `[batch, n]`. Boxes and box_labels are padded
        with -1 to the largest n of the batch.

    Raises:
        TypeError: elements of another structure or type.
        ValueError: elements of wrong rank, images of different sizes without `image_size`, an
            unknown format, or a number out of range.
        tf.errors.InvalidArgumentError: while iterating, for pixels out of range, negative
            box_labels, not one box_label per box, and boxes that hold NaN, are in pixels instead of
            fractions, have swapped corners or no area, or exceed the image (unless `clip` is True);
            the message names the example.

    Example:
        >>> mine = tfds.load("voc/2007", split="test").map(
        ...     lambda e: (e["image"], e["labels"][0], e["objects"]["bbox"], e["objects"]["label"]))
        >>> batches = aad_tf.data.from_tuples(mine, batch_size=16, image_size=224)
    """
    check_count(batch_size, "batch_size")
    check_count(start, "start", 0)
    if stop is not None:
        check_count(stop, "stop", start)
    size = sides(image_size)
    _check_specs(dataset.element_spec, size)

    @without_autograph
    def example(index: tf.Tensor, parts: tuple[tf.Tensor, ...]) -> Example:
        return _example(index, parts, box_format, clip)

    chosen = dataset.skip(start).take(-1 if stop is None else stop - start).enumerate(start)
    return in_batches(chosen.map(example, tf.data.AUTOTUNE), batch_size, size)


def _check_specs(element_spec: Any, size: tuple[int, int] | None) -> None:
    if not isinstance(element_spec, tuple) or len(element_spec) not in (2, 3, 4):
        raise TypeError(f"{_EXPECTED}; got elements of {element_spec}. Map them to such tuples.")
    kinds = (("image", 3), ("label", 0), ("boxes", 2), ("box_labels", 1))
    for (name, rank), spec in zip(kinds, element_spec, strict=False):
        found = spec.shape.rank if isinstance(spec, tf.TensorSpec) else None
        if name == "label" and found == 1 and spec.shape[0] == 1:
            continue  # A row of a column of labels, as keras.datasets gives them.
        if found != rank:
            hint = (
                " Is it in batches? Call .unbatch() on the data set." if found == rank + 1 else ""
            )
            raise ValueError(f"{_EXPECTED}; got {name} as {spec}.{hint}")
        if name in ("label", "box_labels") and not spec.dtype.is_integer:
            raise TypeError(f"{name} must be an integer from 0, got {spec.dtype.name}.")
    image = element_spec[0]
    if image.dtype != tf.uint8 and not image.dtype.is_floating:
        raise TypeError(
            f"image must be uint8 (0..255) or floating point in [0, 1], got {image.dtype.name}."
        )
    if image.shape[2] is None or (size is None and not image.shape.is_fully_defined()):
        raise ValueError(
            f"Images of shape {image.shape} may differ in size and cannot share a batch: pass "
            "image_size for height and width, and fix the channels with tf.ensure_shape."
        )


def _example(
    index: tf.Tensor, parts: tuple[tf.Tensor, ...], box_format: str, clip: bool
) -> Example:
    image, label = unit_range(parts[0]), tf.cast(tf.reshape(parts[1], ()), tf.int32)
    shape = tf.shape(image)
    boxes = canonical_boxes(parts[2], box_format, shape[:2]) if parts[2:] else tf.zeros([0, 4])
    box_labels = tf.fill(tf.shape(boxes)[:1], label)
    if len(parts) == 4:
        box_labels = tf.cast(parts[3], tf.int32)

    checked = functools.partial(_checked, clip)
    boxes = tf.numpy_function(checked, [index, image, boxes, box_labels], tf.float32)
    boxes = tf.ensure_shape(boxes, [None, 4])
    return {"image": image, "label": label, "boxes": boxes, "box_labels": box_labels}


def _checked(
    clip: bool, index: np.ndarray, image: np.ndarray, boxes: np.ndarray, box_labels: np.ndarray
) -> np.ndarray:
    where = f"Example {int(index)}"
    lowest, highest = (float(image.min()), float(image.max())) if image.size else (0.0, 0.0)
    # Written so that NaN fails too.
    if not (lowest >= -_RANGE_TOLERANCE and highest <= 1 + _RANGE_TOLERANCE):
        raise ValueError(
            f"{where}: floating-point images must lie in [0, 1], got [{lowest:.4g}, "
            f"{highest:.4g}]. Divide 0..255 pixels by 255, or give them as uint8."
        )
    if len(box_labels) != len(boxes):
        raise ValueError(f"{where} has {len(boxes)} boxes and {len(box_labels)} box_labels.")
    if (box_labels < 0).any():
        raise ValueError(f"{where}: box_labels must be class numbers from 0, got {box_labels}.")
    return check_boxes(boxes, clip=clip, first_example=int(index))


def with_keras_cv(dataset: tf.data.Dataset, layer: Any) -> tf.data.Dataset:
    """Applies a KerasCV layer to the images and boxes of a data set.

    Layers that move the image (RandomFlip, RandomRotation, Resizing, ...) move the boxes with it
    and remove boxes that end up outside. The layer runs in training mode. Random layers have their
    own random state: each iteration over the data set gives other images, also in a resumed run.

    Args:
        dataset: batches as dictionaries: "image" float32 `[batch, height, width, channels]` in
            [0, 1], "boxes" float32 `[batch, n, 4]` as (ymin, xmin, ymax, xmax) in fractions of the
            image, "box_labels" int32 `[batch, n]`, both padded with -1, and other entries such as
            "label", which are kept. `boxed_batches` and `from_tuples` make such batches.
        layer: a layer made with bounding_box_format="rel_yxyx" and, if it has this argument,
            value_range=(0, 1). It must keep the number of images and must not mix their labels.

    Returns:
        A dataset of the same dictionaries, with changed "image", "boxes" and "box_labels"; boxes
        and box_labels are padded with -1.

    Raises:
        ImportError: KerasCV is not installed.
        ValueError: a layer with another box format.

    Example:
        >>> flip = keras_cv.layers.RandomFlip(bounding_box_format="rel_yxyx")
        >>> flipped = aad_tf.data.with_keras_cv(batches, flip)
    """
    # Deferred: KerasCV brings matplotlib and its whole model zoo along.
    from keras_cv import bounding_box

    box_format = getattr(layer, "bounding_box_format", None)
    if box_format not in (None, CANONICAL):
        raise ValueError(
            f"{type(layer).__name__} works on boxes in {box_format!r}, these are {CANONICAL!r}: "
            f"make it with bounding_box_format={CANONICAL!r}."
        )

    def apply(example: Example) -> Example:
        boxes = {"boxes": example["boxes"], "classes": tf.cast(example["box_labels"], tf.float32)}
        inputs = {"images": example["image"], "bounding_boxes": boxes}
        outputs = layer(inputs, training=True)
        moved = bounding_box.to_dense(outputs["bounding_boxes"])
        return {
            **example,
            "image": tf.cast(outputs["images"], tf.float32),
            "boxes": tf.ensure_shape(tf.cast(moved["boxes"], tf.float32), [None, None, 4]),
            "box_labels": tf.cast(moved["classes"], tf.int32),
        }

    return dataset.map(apply, tf.data.AUTOTUNE).prefetch(1)
