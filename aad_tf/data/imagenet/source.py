"""ImageNet 2012 as TensorFlow Datasets prepares it, and its published boxes.

The images are TFDS's `imagenet2012` (`tfds build imagenet2012`, after downloading the official
archives by hand), the boxes the archive ILSVRC2012_bbox_val_v3.tgz; the two are joined by file
name. Class names are WordNet ids.

Splits, the same with boxes and without:

    train       the published training images but for those held out
    validation  the last 10,000 of the published training images (of a smaller copy: the last tenth)
    test        the published validation images, whose boxes ILSVRC2012_bbox_val_v3.tgz holds; the
                published test images have no labels

Images are prepared as InceptionV3 is evaluated: the central 87.5% of each side, resized
bilinearly, to 299x299 unless another size is asked for; boxes follow.
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
    """How many images of a split have boxes.

    Attributes:
        examples: images of the split.
        without_annotation: those no XML file belongs to.
        without_label_box: those whose XML file has no usable box of the image's class.
        dropped_boxes: published boxes, of the whole archive, that hold nothing of the image.
    """

    examples: int
    without_annotation: int
    without_label_box: int
    dropped_boxes: int


def open_builder(data_dir: PathLike | None = None) -> Any:
    """Opens the prepared copy.

    Args:
        data_dir: a TFDS data directory; None as for `aad_tf.data.info`.

    Returns:
        TFDS's builder of the newest version there, made without the network.

    Raises:
        DatasetNotFoundError: if it is missing or lacks files; says how to prepare it.
        ValueError: if it has other features than TFDS's `imagenet2012`.
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
    """Where the splits of a copy are; those it has no images of are left out.

    Raises:
        ValueError: if there are too few training images to hold some out.
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
    """Where a split is.

    Raises:
        DatasetNotFoundError: the copy has no images of it; says which archive is lacking.
        ValueError: an unknown split, or as `stored_ranges`.
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
    """Describes the copy; with `annotations`, source and fingerprint cover the boxes too.

    Args:
        data_dir: a TFDS data directory; None as for `aad_tf.data.info`.
        annotations: the box archive or the directory unpacked from it; None leaves boxes out.

    Returns:
        A `DatasetInfo` whose splits are those the copy has.

    Raises:
        DatasetNotFoundError, ValueError: as `open_builder`, `stored_ranges` and `read_boxes`.
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

    Returns:
        The builder, where the split is, and the function that turns a stored example into one
        with "image", "label", "boxes" and "box_labels", in the image's own size.

    Raises:
        DatasetNotFoundError, ValueError: as `open_builder`, `stored_range` and `read_boxes`; no
            annotations given, or those of another split.
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
    """Counts the images without boxes; reads file names and labels, decodes no image.

    Args:
        split: "train", "validation" or "test"; see this module.
        annotations: the box archive or the directory unpacked from it.
        data_dir: a TFDS data directory; None as for `aad_tf.data.info`.

    Raises:
        DatasetNotFoundError, ValueError: as `aad_tf.data.boxed_batches`.

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
