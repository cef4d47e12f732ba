"""Streams of images with bounding boxes: never whole in memory, always in one order."""

from __future__ import annotations

import tensorflow as tf

from aad_tf.data.batches import available, info, source_of
from aad_tf.data.boxes.formats import PADDING
from aad_tf.data.description import SPLITS, DatasetInfo
from aad_tf.data.images import ImageSize, resized, sides
from aad_tf.data.requests import BoxedRequest, Sides
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.files import PathLike

Example = dict[str, tf.Tensor]


def boxed_available() -> tuple[str, ...]:
    """Returns the names that `boxed_batches` takes: all data sets, also those without boxes.

    Example:
        >>> aad_tf.data.boxed_available()
        ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'imagenet2012', 'mnist',
         'tiny_imagenet_10', 'tiny_imagenet_100', 'tiny_imagenet_20', 'tiny_imagenet_50',
         'tiny_imagenet_boxes')
    """
    return available()


def boxed_info(
    name: str,
    data_dir: PathLike | None = None,
    annotations: PathLike | None = None,
    image_size: ImageSize = None,
) -> DatasetInfo:
    """Describes a data set as `aad_tf.data.info` does, the boxes included.

    Args:
        name: one of `boxed_available()`.
        data_dir: a TFDS data directory; None as for `info`.
        annotations: for "imagenet2012" the archive of a split's boxes.
        image_size: height and width, or one number, that images are resized to; None keeps them.

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
    """Streams the examples [start, stop) of a split in batches, in the stored order.

    Examples before `start` are skipped undecoded, so shards and resumed passes begin at once.

    Args:
        name: one of `boxed_available()`. Images of "tiny_imagenet_boxes" have one box, which
            carries the image's label; those of "imagenet2012" any number.
        split: "train", "validation" or "test", the same examples in the same order as those of
            `evaluation_batches`. "test" of "imagenet2012" are the published validation images.
        batch_size: examples per batch, at least 1. The last batch may be shorter.
        data_dir: a TFDS data directory; None as for `info`.
        start: index of the first example in the split, at most the number of examples.
        stop: the index after the last example; None, or more than there are, is the end.
        image_size: height and width (or one number for both) that images are resized to,
            bilinearly; None or 0 keeps them as they are, and is 299 for "imagenet2012", whose
            images are first cropped to their central 87.5%.
        annotations: for "imagenet2012" the archive of the split's boxes or the directory
            unpacked from it: of "test" ILSVRC2012_bbox_val_v3.tgz.

    Returns:
        A finite dataset of dicts: "image" float32 [batch, height, width, channels] in [0, 1],
        "label" int32 [batch], "boxes" float32 [batch, n, 4] of (ymin, xmin, ymax, xmax) as
        fractions, "box_labels" int32 [batch, n]; both padded with -1 to the batch's longest.

    Raises:
        TypeError: a number that is not an integer.
        ValueError: an unknown name or split, a number out of range, annotations that are missing,
            wrong, or of another split.
        DatasetNotFoundError: if the directory does not hold the data set.
        tf.errors.InvalidArgumentError: while iterating, if an annotation belongs to an image
            of another shape; names the file.

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
    return in_batches(source.boxed(request, data_dir), batch_size, size)


def in_batches(examples: tf.data.Dataset, batch_size: int, size: Sides = None) -> tf.data.Dataset:
    """Resizes and batches single examples with boxes.

    Args:
        examples: dicts of "image", "label", "boxes" `[n, 4]` and "box_labels" `[n]`.
        batch_size: examples per batch; the last one may be shorter.
        size: height and width that images are resized to; None keeps them.

    Returns:
        A dataset of the same keys; boxes and box_labels are padded with -1 to the batch's longest.
    """

    def prepared(example: Example) -> Example:
        return {**example, "image": resized(example["image"], size)}

    examples = examples.map(prepared, tf.data.AUTOTUNE)
    filling = {"image": 0.0, "label": 0, "boxes": float(PADDING), "box_labels": PADDING}
    # One batch ahead and no more: photographs are large, and memory must not grow.
    return examples.padded_batch(batch_size, padding_values=filling).prefetch(1)
