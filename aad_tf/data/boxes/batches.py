"""Streams of images with bounding boxes: never whole in memory, always in one order."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from aad_tf.data import batches
from aad_tf.data.arguments import check_at_least, check_choice
from aad_tf.data.boxes import PADDING
from aad_tf.data.description import SPLITS, DatasetInfo
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.decoding import central_crop
from aad_tf.data.small import digits, tfds_source

PathLike = str | os.PathLike[str]
Example = dict[str, tf.Tensor]
ImageSize = int | tuple[int, int] | None


def boxed_available() -> tuple[str, ...]:
    """Returns the names `boxed_batches` takes; those without boxes give none.

    Example:
        >>> aad_tf.data.boxed_available()
        ('cifar10', 'digits', 'fashion_mnist', 'imagenet2012', 'mnist', 'tiny_imagenet_boxes')
    """
    return tuple(sorted({*batches.available(), imagenet.NAME}))


def boxed_info(
    name: str,
    data_dir: PathLike | None = None,
    annotations: PathLike | None = None,
    image_size: ImageSize = None,
) -> DatasetInfo:
    """Describes a data set as `boxed_batches` gives it.

    Args:
        name: one of `boxed_available()`.
        data_dir: a TFDS data directory; None as for `info`.
        annotations: the box archive of "imagenet2012"; its fingerprint then covers the boxes.
        image_size: as for `boxed_batches`.

    Returns:
        A `DatasetInfo`; for "imagenet2012" with the splits the copy has, WordNet ids as class
        names, and images of 299x299 unless said otherwise.

    Raises:
        ValueError: an unknown name, annotations for a data set that keeps its own.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> aad_tf.data.boxed_info("tiny_imagenet_boxes").num_examples
        {'train': 17000, 'validation': 3000, 'test': 2000}
    """
    _check_request(name, annotations)
    size = sides(image_size)
    if name == imagenet.NAME:
        return imagenet.info(data_dir, annotations, size or imagenet.IMAGE_SIZE)
    found = batches.info(name, data_dir)
    if size is None:
        return found
    return dataclasses.replace(found, image_shape=(*size, found.image_shape[2]))


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
        split: "train", "validation" or "test"; "imagenet2012" has no labelled "test".
        batch_size: examples a batch, at least 1. The last batch may be shorter.
        data_dir: a TFDS data directory; None as for `info`.
        start: first example, by its position in the split, at most the number of examples.
        stop: the position after the last example; None, or more than there are, is the end.
        image_size: height and width (or one number for both) that images are resized to,
            bilinearly; None keeps them as they are, and is 299 for "imagenet2012", whose
            pictures are first cropped to their central 87.5%.
        annotations: for "imagenet2012" the archive ILSVRC2012_bbox_val_v3.tgz or the directory
            unpacked from it.

    Returns:
        A finite dataset of dicts: "image" float32 [batch, height, width, channels] in [0, 1],
        "label" int32 [batch], "boxes" float32 [batch, n, 4] of (ymin, xmin, ymax, xmax) as
        fractions, "box_labels" int32 [batch, n]; both padded with -1 to the batch's longest.

    Raises:
        ValueError: an unknown name or split, a bad number, annotations missing or wrong.
        DatasetNotFoundError: if the directory does not hold the data set.
        tf.errors.InvalidArgumentError: while iterating, if an annotation belongs to a picture
            of another shape; names the file.

    Example:
        >>> batch = next(iter(aad_tf.data.boxed_batches("tiny_imagenet_boxes", "test", 100)))
        >>> batch["boxes"].shape
        TensorShape([100, 1, 4])
    """
    _check_request(name, annotations)
    check_at_least("batch_size", batch_size, 1)
    size = sides(image_size)
    if name == "digits":
        check_choice("split", split, SPLITS)
        return in_batches(_digits(split, start, stop), batch_size, size)
    if name == imagenet.NAME:
        builder, convert = imagenet.open_split(split, data_dir, annotations)
        first, end = span(start, stop, builder.info.splits[split].num_examples)
        prepare = functools.partial(central_crop, image_size=size or imagenet.IMAGE_SIZE)
        examples = _streamed(builder, split, first, end).map(convert, tf.data.AUTOTUNE)
        return in_batches(examples.map(prepare, tf.data.AUTOTUNE), batch_size)
    return in_batches(_small(name, split, data_dir, start, stop), batch_size, size)


def in_batches(
    examples: tf.data.Dataset, batch_size: int, image_size: tuple[int, int] | None = None
) -> tf.data.Dataset:
    """Resizes and batches examples of the four keys, padding their boxes with -1."""
    if image_size is not None:

        def resized(example: Example) -> Example:
            return {**example, "image": tf.image.resize(example["image"], image_size)}

        examples = examples.map(resized, tf.data.AUTOTUNE)
    filling = {"image": 0.0, "label": 0, "boxes": float(PADDING), "box_labels": PADDING}
    # One batch ahead and no more: photographs are large, and memory must not grow.
    return examples.padded_batch(batch_size, padding_values=filling).prefetch(1)


def unit_range(image: tf.Tensor) -> tf.Tensor:
    """Returns float32 in [0, 1] of an image in uint8 or already in that range."""
    return tf.cast(image, tf.float32) / (255.0 if image.dtype == tf.uint8 else 1.0)


def span(start: int, stop: int | None, count: int) -> tuple[int, int]:
    """Returns [start, stop) within `count` examples, or says what is wrong with it."""
    check_at_least("start", start, 0)
    if stop is not None:
        check_at_least("stop", stop, start)
    if start > count:
        raise ValueError(f"start is {start}, but the split has {count} examples.")
    return start, count if stop is None else min(stop, count)


def _small(
    name: str, split: str, data_dir: PathLike | None, start: int, stop: int | None
) -> tf.data.Dataset:
    check_choice("split", split, SPLITS)
    builder = tfds_source._builder(name, data_dir)
    counts = tfds_source._split_counts(name, builder)
    first, end = span(start, stop, counts[split])
    offset = counts["train"] if split == "validation" else 0
    stored = tfds_source.LAYOUTS[name].test if split == "test" else "train"
    examples = _streamed(builder, stored, offset + first, offset + end)
    return examples.map(_with_own_boxes, tf.data.AUTOTUNE)


def _with_own_boxes(example: dict[str, Any]) -> Example:
    """Boxes stored beside the image, which are of its class; none where none are stored."""
    label = tf.cast(example["label"], tf.int32)
    boxes = example["objects"]["bbox"] if "objects" in example else tf.zeros([0, 4])
    return {
        "image": unit_range(example["image"]),
        "label": label,
        "boxes": boxes,
        "box_labels": tf.fill(tf.shape(boxes)[:1], label),
    }


def _streamed(builder: Any, stored: str, first: int, end: int) -> tf.data.Dataset:
    """Examples [first, end) of a stored split; what lies before is not decoded."""
    import tensorflow_datasets as tfds

    # TFDS refuses an empty range, which a finished shard has.
    empty = first == end
    split = tfds.core.ReadInstruction(
        stored, from_=0 if empty else first, to=1 if empty else end, unit="abs"
    )
    dataset = builder.as_dataset(
        split=split,
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    return dataset.take(0) if empty else dataset


def _digits(split: str, start: int, stop: int | None) -> tf.data.Dataset:
    images, labels = digits.examples(split)
    first, end = span(start, stop, len(labels))
    slices = {"image": images[first:end], "label": labels[first:end]}
    return tf.data.Dataset.from_tensor_slices(slices).map(_with_own_boxes)


def _check_request(name: str, annotations: PathLike | None) -> None:
    check_choice("data set", name, boxed_available())
    if annotations is not None and name != imagenet.NAME:
        raise ValueError(
            f"annotations belong to {imagenet.NAME!r} alone; {name!r} keeps the boxes it has "
            "beside its images. Leave annotations out."
        )


def sides(image_size: ImageSize) -> tuple[int, int] | None:
    """Returns (height, width) of an image size given as one number or two."""
    if image_size is None:
        return None
    both = image_size if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(both) != 2:
        raise ValueError(f"image_size must be one number or (height, width), got {image_size!r}.")
    for side in both:
        check_at_least("image_size", side, 1)
    return both[0], both[1]
