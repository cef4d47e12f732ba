"""ImageNet 2012 as TensorFlow Datasets (TFDS) prepares it, with its published boxes.

The images are TFDS's `imagenet2012` (`tfds build imagenet2012`, after a download of the official
archives by hand). The boxes are in the archive ILSVRC2012_bbox_val_v3.tgz and are matched to images
by file name. Class names are WordNet ids.

Splits, with and without boxes:

    train       the published training images without those of "validation"
    validation  the last 10,000 of the published training images; of a small copy the last tenth
    test        the published validation images, whose boxes are in ILSVRC2012_bbox_val_v3.tgz; the
                published test images have no labels

Images are prepared as in the evaluation of InceptionV3: cropped to the central 87.5% of each side
and resized bilinearly, to 299x299 pixels by default; boxes are cropped with them.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.data.description import (
    SPLITS,
    DatasetInfo,
    DatasetNotFoundError,
    SplitSizes,
)
from aad_tf.data.imagenet.boxes import BoxIndex, read_boxes
from aad_tf.data.imagenet.decoding import joined
from aad_tf.data.prepared import StoredRange, add_files, open_copy, stored_examples
from aad_tf.utils.checks import check_choice
from aad_tf.utils.files import PathLike

NAME = "imagenet2012"
IMAGE_SIZE = (299, 299)
# The last of the published training images are "validation": so many, but at most a tenth.
MOST_HELD_OUT = 10_000
_ONE_IN = 10
_STORED = ("train", "validation")
_FEATURES = ("file_name", "image", "label")
# How the published validation images, and the XML files of their boxes, are named.
_PUBLISHED_VALIDATION = "ILSVRC2012_val_"

Example = dict[str, tf.Tensor]


class BoxCoverage(NamedTuple):
    """Counts of the images of a split with and without boxes.

    Attributes:
        examples: number of images of the split.
        without_annotation: number of images without an XML file.
        without_label_box: number of images whose XML file has no valid box of the image's class.
        dropped_boxes: number of boxes in the whole archive that were left out because of swapped
            corners or no area in the image.
    """

    examples: int
    without_annotation: int
    without_label_box: int
    dropped_boxes: int


def open_builder(data_dir: PathLike | None = None) -> Any:
    """Opens the newest prepared version of ImageNet, without a network connection.

    Args:
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        The builder object of TensorFlow Datasets.

    Raises:
        DatasetNotFoundError: the data set is missing or lacks files; the message says how to
            prepare it.
        ValueError: it lacks one of the features "file_name", "image" and "label".
    """
    try:
        builder = open_copy(NAME, data_dir, _STORED, all_needed=False)
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(
            f"{error} ImageNet must first be downloaded by hand: put ILSVRC2012_img_val.tar (to "
            "train, ILSVRC2012_img_train.tar too) from image-net.org into "
            "<data_dir>/downloads/manual."
        ) from error
    lacking = [name for name in _FEATURES if name not in builder.info.features]
    if lacking:
        raise ValueError(
            f"{builder.data_path} is not TFDS's {NAME}: it lacks the features {', '.join(lacking)}."
        )
    return builder


def stored_ranges(builder: Any) -> dict[str, StoredRange]:
    """Returns which examples, as TensorFlow Datasets (TFDS) stores them, make up each split.

    Args:
        builder: builder object of TFDS.

    Returns:
        A dictionary from "train", "validation" and "test" to a `StoredRange`: the name of a split
        in TFDS, the index of its first example and the index after its last. Splits that the copy
        lacks are left out.

    Raises:
        ValueError: fewer than 10 training images, from which none can be held out for validation.
    """
    splits = builder.info.splits
    train, published = (splits[name].num_examples if name in splits else 0 for name in _STORED)
    ranges = {}
    if train:
        held = min(MOST_HELD_OUT, train // _ONE_IN)
        if not held:
            raise ValueError(
                f"{NAME} in {builder.data_path} has {train} training images, too few to hold one "
                f"in {_ONE_IN} back for validation."
            )
        ranges["train"] = StoredRange("train", 0, train - held)
        ranges["validation"] = StoredRange("train", train - held, train)
    if published:
        ranges["test"] = StoredRange("validation", 0, published)
    return ranges


def stored_range(builder: Any, split: str) -> StoredRange:
    """Returns which examples, as TensorFlow Datasets (TFDS) stores them, make up a split.

    Args:
        builder: builder object of TFDS.
        split: "train", "validation" or "test".

    Returns:
        A `StoredRange`: the name of a split in TFDS, the index of the first example in it and the
        index after the last.

    Raises:
        DatasetNotFoundError: the copy has no images of the split; the message names the archive
            that is missing.
        ValueError: an unknown split, or fewer than 10 training images.
    """
    check_choice(split, SPLITS, "split")
    ranges = stored_ranges(builder)
    if split not in ranges:
        raise DatasetNotFoundError(_how_to_complete(builder, ranges))
    return ranges[split]


def _how_to_complete(builder: Any, ranges: dict[str, StoredRange]) -> str:
    """What to do about the splits that a copy lacks."""
    lacking, archive = ("validation", "img_val") if "train" in ranges else ("train", "img_train")
    return (
        f"{NAME} in {builder.data_path} has no {lacking} images. Put ILSVRC2012_{archive}.tar "
        f"from image-net.org into <data_dir>/downloads/manual and prepare it again with `tfds "
        f"build {NAME} --overwrite`."
    )


def info(
    data_dir: PathLike | None = None,
    annotations: PathLike | None = None,
) -> DatasetInfo:
    """Describes a copy of ImageNet without decoding its images.

    Args:
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        annotations: the archive of the boxes, or the directory unpacked from it. Its name is then
            added to the result's `source`, and its boxes to the `fingerprint`. None for no boxes.

    Returns:
        A `DatasetInfo`: image shape (299, 299, 3), class names, number of examples of the splits
        that the copy has, one line on the source, and a hash of the data. Looking up a split that
        the copy lacks raises DatasetNotFoundError.

    Raises:
        DatasetNotFoundError: the data set is missing or lacks files, or there are no annotations at
            their path.
        ValueError: a data set with other features, fewer than 10 training images, or annotations
            that are not valid.
    """
    builder = open_builder(data_dir)
    names = tuple(builder.info.features["label"].names)
    ranges = stored_ranges(builder)
    digest = hashlib.sha256("\n".join(names).encode())
    add_files(digest, builder, _STORED)
    source = f"tfds {NAME}/{builder.info.version}"
    if annotations is not None:
        index = _boxes(annotations, names)
        digest.update(index.fingerprint.encode())
        # Records from when splits with boxes kept their published names are not continued.
        digest.update(b"test: published validation")
        source += f", boxes {index.source}"
    return DatasetInfo(
        name=NAME,
        image_shape=(*IMAGE_SIZE, 3),
        num_classes=len(names),
        class_names=names,
        num_examples=SplitSizes(
            {split: found.num_examples for split, found in ranges.items()},
            _how_to_complete(builder, ranges),
        ),
        source=source,
        fingerprint=digest.hexdigest()[:16],
    )


def _boxes(annotations: PathLike, names: Sequence[str]) -> BoxIndex:
    """`read_boxes`, once per process for the same archive."""
    path = Path(annotations).expanduser()
    mtime_ns = path.stat().st_mtime_ns if path.exists() else 0
    return _boxes_of(os.fspath(path), tuple(names), mtime_ns)


@functools.lru_cache(maxsize=2)
def _boxes_of(path: str, names: tuple[str, ...], mtime_ns: int) -> BoxIndex:
    """`mtime_ns` is part of the cache's key, so that an archive that was replaced is read again."""
    return read_boxes(path, names)


def _boxes_for(split: str, stored: StoredRange, annotations: PathLike, builder: Any) -> BoxIndex:
    """The boxes of an archive; ValueError if they are those of another split."""
    index = _boxes(annotations, builder.info.features["label"].names)
    published = all(stem.startswith(_PUBLISHED_VALIDATION) for stem in index.stems)
    if published and stored.split != "validation":
        raise ValueError(
            f"{annotations} annotates the published validation images, which are split 'test'; "
            f"{split!r} is a part of the published training images."
        )
    return index


def open_split(
    split: str,
    data_dir: PathLike | None,
    annotations: PathLike | None,
) -> tuple[Any, StoredRange, Callable[[Example], Example]]:
    """Opens a split and its boxes.

    Args:
        split: "train", "validation" or "test".
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        annotations: the archive of the boxes, or the directory unpacked from it.

    Returns:
        The builder object of TensorFlow Datasets; the range of stored examples; and a function for
        `tf.data` that finds the boxes of a stored example by its file name. It takes a dictionary
        of "image" uint8, "label" and "file_name", and returns one of "image" float32 in [0, 1],
        "label", "boxes" `[n, 4]` in fractions of the image, and "box_labels" `[n]`.

    Raises:
        DatasetNotFoundError: the data set or the split is missing, or there are no annotations at
            their path.
        ValueError: an unknown split, or annotations that are None, not valid, or of another split.
    """
    if annotations is None:
        raise ValueError(
            f"{NAME} keeps its boxes in a separate archive: pass annotations=, the path of "
            "ILSVRC2012_bbox_val_v3.tgz or of the directory unpacked from it."
        )
    builder = open_builder(data_dir)
    stored = stored_range(builder, split)
    return builder, stored, joined(_boxes_for(split, stored, annotations, builder))


def coverage(split: str, annotations: PathLike, data_dir: PathLike | None = None) -> BoxCoverage:
    """Counts the images of a split with and without boxes; no image is decoded.

    Args:
        split: "train", "validation" or "test".
        annotations: the archive of the boxes, or the directory unpacked from it.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        A `BoxCoverage`: number of images, of those without an XML file, of those whose file has no
        valid box of the image's class, and of boxes left out in the whole archive.

    Raises:
        DatasetNotFoundError: the data set or the split is missing, or there are no annotations at
            their path.
        ValueError: an unknown split, or annotations that are not valid or of another split.

    Example:
        >>> aad_tf.data.imagenet.coverage("test", "ILSVRC2012_bbox_val_v3.tgz")
        BoxCoverage(examples=50000, without_annotation=0, ...)
    """
    import tensorflow_datasets as tfds

    builder = open_builder(data_dir)
    stored = stored_range(builder, split)
    index = _boxes_for(split, stored, annotations, builder)
    row_of = {stem: row for row, stem in enumerate(index.stems)}
    partial = tfds.decode.PartialDecoding({"file_name": True, "label": True})
    examples = without_annotation = without_label_box = 0
    for example in stored_examples(builder, stored, partial).as_numpy_iterator():
        examples += 1
        row = row_of.get(os.path.splitext(os.path.basename(example["file_name"].decode()))[0])
        if row is None:
            without_annotation += 1
        elif example["label"] not in index.labels[index.starts[row] : index.starts[row + 1]]:
            without_label_box += 1
    return BoxCoverage(examples, without_annotation, without_label_box, index.dropped)
