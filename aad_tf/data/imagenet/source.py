"""ImageNet 2012 with its published boxes, streamed from a copy prepared by TFDS.

The images are TFDS's `imagenet2012` (`tfds build imagenet2012`, after downloading
ILSVRC2012_img_val.tar by hand), the boxes the archive ILSVRC2012_bbox_val_v3.tgz; the two
are joined by file name. Pictures are prepared as InceptionV3 is evaluated: the central
87.5% of each side, resized bilinearly to 299x299; boxes follow. Class names are WordNet ids.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.data.description import DatasetInfo, DatasetNotFoundError
from aad_tf.data.imagenet.boxes import BoxIndex, read_boxes
from aad_tf.data.imagenet.decoding import joined
from aad_tf.data.small import tfds_source

NAME = "imagenet2012"
IMAGE_SIZE = (299, 299)
_SPLITS = ("train", "validation")
_FEATURES = ("file_name", "image", "label")

PathLike = str | os.PathLike[str]
Example = dict[str, tf.Tensor]


class BoxCoverage(NamedTuple):
    """How many images of a split have boxes.

    Attributes:
        examples: images of the split.
        without_annotation: those no XML file belongs to.
        without_label_box: those whose XML file has no usable box of the image's class.
        dropped_boxes: published boxes, of the whole archive, that hold nothing of the picture.
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
    import tensorflow_datasets as tfds

    try:
        directory = tfds_source._copy_directory(NAME, data_dir)
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(
            f"{error} ImageNet must first be downloaded by hand: put ILSVRC2012_img_val.tar (to "
            "train, ILSVRC2012_img_train.tar too) from image-net.org into "
            "<data_dir>/downloads/manual."
        ) from error
    # Read from files alone: a builder made by name would ask the network for metadata.
    builder = tfds.builder_from_directory(os.fspath(directory))
    lacking = [name for name in _FEATURES if name not in builder.info.features]
    if lacking:
        raise ValueError(
            f"{directory} is not TFDS's {NAME}: it lacks the features {', '.join(lacking)}."
        )
    splits = builder.info.splits
    files = [path for split in _SPLITS if split in splits for path in splits[split].filepaths]
    missing = [os.fspath(path) for path in files if not os.path.exists(path)]
    if missing or not files:
        raise DatasetNotFoundError(
            f"{NAME} in {directory} is incomplete: it lacks {', '.join(missing[:3]) or 'images'}. "
            f"Prepare it again with `tfds build {NAME} --overwrite`."
        )
    return builder


def info(
    data_dir: PathLike | None = None,
    annotations: PathLike | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
) -> DatasetInfo:
    """Describes the copy; with `annotations`, source and fingerprint cover the boxes too.

    Args:
        data_dir: a TFDS data directory; None as for `aad_tf.data.info`.
        annotations: the box archive or the directory unpacked from it; None leaves boxes out.
        image_size: (height, width) that pictures are prepared at.

    Returns:
        A `DatasetInfo` whose splits are those the copy has, without the unlabelled "test".

    Raises:
        DatasetNotFoundError, ValueError: as `open_builder` and `read_boxes`.
    """
    builder = open_builder(data_dir)
    names = tuple(builder.info.features["label"].names)
    splits = [split for split in _SPLITS if split in builder.info.splits]
    digest = hashlib.sha256("\n".join(names).encode())
    for split in splits:
        for path in builder.info.splits[split].filepaths:
            digest.update(f"{os.path.basename(path)} {os.path.getsize(path)}".encode())
    source = f"tfds {NAME}/{builder.info.version}"
    if annotations is not None:
        index = _boxes(annotations, names)
        digest.update(index.fingerprint.encode())
        source += f", boxes {index.source}"
    return DatasetInfo(
        name=NAME,
        image_shape=(*image_size, 3),
        num_classes=len(names),
        class_names=names,
        num_examples={split: builder.info.splits[split].num_examples for split in splits},
        source=source,
        fingerprint=digest.hexdigest()[:16],
    )


def _boxes(annotations: PathLike, names: Sequence[str]) -> BoxIndex:
    """`read_boxes`, once a process for the same archive."""
    path = Path(annotations).expanduser()
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _boxes_of(os.fspath(path), changed, tuple(names))


@functools.lru_cache(maxsize=2)
def _boxes_of(path: str, changed: int, names: tuple[str, ...]) -> BoxIndex:
    del changed  # Another time of change is another archive.
    return read_boxes(path, names)


def open_split(
    split: str, data_dir: PathLike | None, annotations: PathLike | None
) -> tuple[Any, Callable[[Example], Example]]:
    """Opens a split and its boxes.

    Returns:
        The builder, and the function that turns a stored example into one with "image",
        "label", "boxes" and "box_labels", in the picture's own size.

    Raises:
        DatasetNotFoundError, ValueError: as `open_builder` and `read_boxes`; a split that
            is not there; no annotations given.
    """
    if annotations is None:
        raise ValueError(
            f"{NAME} keeps its boxes in a separate archive: pass annotations=, the path of "
            "ILSVRC2012_bbox_val_v3.tgz or of the directory unpacked from it."
        )
    builder = open_builder(data_dir)
    _check_split(split, builder)
    return builder, joined(_boxes(annotations, builder.info.features["label"].names))


def coverage(split: str, annotations: PathLike, data_dir: PathLike | None = None) -> BoxCoverage:
    """Counts the images without boxes; reads file names and labels, decodes no picture.

    Args:
        split: "validation" or "train".
        annotations: the box archive or the directory unpacked from it.
        data_dir: a TFDS data directory; None as for `aad_tf.data.info`.

    Raises:
        DatasetNotFoundError, ValueError: as `aad_tf.data.boxed_batches`.

    Example:
        >>> aad_tf.data.imagenet.coverage("validation", "ILSVRC2012_bbox_val_v3.tgz")
        BoxCoverage(examples=50000, without_annotation=0, ...)
    """
    import tensorflow_datasets as tfds

    builder = open_builder(data_dir)
    _check_split(split, builder)
    index = _boxes(annotations, builder.info.features["label"].names)
    row_of = {stem: row for row, stem in enumerate(index.stems)}
    partial = tfds.decode.PartialDecoding({"file_name": True, "label": True})
    examples = without_annotation = without_label_box = 0
    for example in builder.as_dataset(split=split, decoders=partial).as_numpy_iterator():
        examples += 1
        row = row_of.get(os.path.splitext(os.path.basename(example["file_name"].decode()))[0])
        if row is None:
            without_annotation += 1
        elif example["label"] not in index.labels[index.starts[row] : index.starts[row + 1]]:
            without_label_box += 1
    return BoxCoverage(examples, without_annotation, without_label_box, index.dropped)


def _check_split(split: str, builder: Any) -> None:
    present = [name for name in _SPLITS if name in builder.info.splits]
    if split not in present:
        raise ValueError(
            f"Unknown split {split!r} of {NAME}. This copy has: {', '.join(present)} (the test "
            "images have no labels)."
        )
