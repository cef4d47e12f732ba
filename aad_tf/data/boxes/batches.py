"""Batches of images with bounding boxes of the known data sets, in a fixed order."""

from __future__ import annotations

import tensorflow as tf

from aad_tf.data.batches import available, info, source_of
from aad_tf.data.boxes.formats import PADDING
from aad_tf.data.description import SPLITS, DatasetInfo
from aad_tf.data.images import ImageSize, resized, sides
from aad_tf.data.requests import BoxedRequest, Sides
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.files import PathLike
from aad_tf.utils.ops import without_autograph

Example = dict[str, tf.Tensor]


def boxed_available() -> tuple[str, ...]:
    """Returns the names of data sets that `boxed_batches` takes; some of them have no boxes.

    Example:
        >>> aad_tf.data.boxed_available()
        ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'imagenet2012', 'mnist',
         'tiny_imagenet_10', 'tiny_imagenet_100', 'tiny_imagenet_20', 'tiny_imagenet_50',
         'tiny_imagenet_boxes', 'tiny_imagenet_spread_10', 'tiny_imagenet_spread_20',
         'tiny_imagenet_spread_50')
    """
    return available()


def boxed_info(
    name: str,
    data_dir: PathLike | None = None,
    annotations: PathLike | None = None,
    image_size: ImageSize = None,
) -> DatasetInfo:
    """Describes a data set including its boxes, without decoding its images.

    Args:
        name: one of the names that `boxed_available()` returns.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        annotations: for "imagenet2012" the archive of its boxes, or the directory unpacked from it,
            which then is part of the result's `source` and `fingerprint`; else None.
        image_size: side in pixels, or (height, width), that images will be resized to; None or 0
            for the size of the data.

    Returns:
        A `DatasetInfo`: `name`, `image_shape` (height, width, channels), `num_classes`,
        `class_names`, `num_examples` by split, `source` (one line that identifies the copy) and
        `fingerprint` (a hash of the data).

    Raises:
        ValueError: an unknown name, an invalid image size, or annotations for another data set than
            "imagenet2012".
        DatasetNotFoundError: the directory does not hold the data set.

    Example:
        >>> aad_tf.data.boxed_info("tiny_imagenet_boxes").num_examples
        {'train': 17000, 'validation': 3000, 'test': 2000}
    """
    return info(name, data_dir, image_size, annotations)


def boxed_batches(
    name: str,
    split: str,
    batch_size: int,
    data_dir: PathLike | None = None,
    start: int = 0,
    stop: int | None = None,
    image_size: ImageSize = None,
    annotations: PathLike | None = None,
) -> tf.data.Dataset:
    """Returns examples of a split with their boxes in batches, in the stored order.

    Images are decoded while iterating, and those before `start` are not decoded.

    Args:
        name: one of the names that `boxed_available()` returns. Images of "tiny_imagenet_boxes"
            have one box, of the image's class; those of "imagenet2012" have any number of boxes;
            those of other data sets have none.
        split: "train", "validation" or "test", the same examples in the same order as in
            `evaluation_batches`. "test" of "imagenet2012" are the published validation images.
        batch_size: examples per batch, at least 1. The last batch may be shorter.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        start: index of the first example in the split, at most the number of examples.
        stop: index after the last example; None, or more than there are, for the end.
        image_size: side in pixels, or (height, width), that images are resized to, bilinearly; None
            or 0 for the size of the data. Images of "imagenet2012" are first cropped to the central
            87.5% of each side, and have 299 x 299 pixels by default.
        annotations: for "imagenet2012" the archive of the split's boxes, or the directory unpacked
            from it: for "test" ILSVRC2012_bbox_val_v3.tgz.

    Returns:
        A finite dataset of dictionaries: "image" float32 `[batch, height, width, channels]` in
        [0, 1], "label" int32 `[batch]`, "boxes" float32 `[batch, n, 4]` as (ymin, xmin, ymax, xmax)
        in fractions of the image, and "box_labels" int32 `[batch, n]`. Boxes and box_labels are
        padded with -1 to the largest n of the batch.

    Raises:
        TypeError: a number that is not an integer.
        ValueError: an unknown name or split, a number out of range, or annotations that are
            missing, not valid, or of another split.
        DatasetNotFoundError: the directory does not hold the data set, or there are no annotations
            at their path.
        tf.errors.InvalidArgumentError: while iterating, if an annotation does not fit the shape of
            its image; the message names the file.

    Example:
        >>> batch = next(iter(aad_tf.data.boxed_batches("tiny_imagenet_boxes", "test", 100)))
        >>> batch["boxes"].shape
        TensorShape([100, 1, 4])
    """
    source = source_of(name, annotations)
    check_choice(split, SPLITS, "split")
    check_count(batch_size, "batch_size")
    size = sides(image_size)
    request = BoxedRequest(split, start, stop, size, annotations)
    examples = without_autograph(source.boxed)(request, data_dir)
    return in_batches(examples, batch_size, size)


def in_batches(examples: tf.data.Dataset, batch_size: int, size: Sides = None) -> tf.data.Dataset:
    """Resizes single examples with boxes and puts them into batches.

    Args:
        examples: dictionaries with "image" float32 `[height, width, channels]`, "label" int32,
            "boxes" float32 `[n, 4]` in fractions of the image, and "box_labels" int32 `[n]`.
        batch_size: examples per batch; the last batch may be shorter.
        size: (height, width) in pixels that images are resized to, bilinearly; None for their own
            size.

    Returns:
        A dataset of dictionaries with the same keys, whose values have a batch axis in front; boxes
        and box_labels are padded with -1 to the largest n of the batch.
    """

    @without_autograph
    def prepared(example: Example) -> Example:
        return {**example, "image": resized(example["image"], size)}

    examples = examples.map(prepared, tf.data.AUTOTUNE)
    filling = {"image": 0.0, "label": 0, "boxes": float(PADDING), "box_labels": PADDING}
    # One batch ahead and no more: photographs are large, and memory must not grow.
    return examples.padded_batch(batch_size, padding_values=filling).prefetch(1)
