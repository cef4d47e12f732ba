"""Small image data sets from a directory prepared by TensorFlow Datasets.

A split is decoded once and kept in memory as uint8. The largest, the 17,000 training images of Tiny
ImageNet with boxes, takes 209 MB. Data sets of more than about 1 GB should be read from files
instead, as ImageNet is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.data.description import DatasetInfo, DatasetNotFoundError
from aad_tf.data.prepared import StoredRange, add_files, data_directory, open_copy, stored_examples
from aad_tf.data.requests import BoxedRequest
from aad_tf.utils.files import PathLike


class Layout(NamedTuple):
    """How "train", "validation" and "test" are made of a data set in TensorFlow Datasets (TFDS).

    "train" and "validation" are the beginning and the end of TFDS's split "train"; "test" is one
    whole split of TFDS.

    Attributes:
        validation_examples: number of examples of "validation", the last ones of TFDS's "train".
        test: TFDS's name of the split that is "test": "validation" for Tiny ImageNet, whose
            published test images have no labels.
    """

    validation_examples: int = 5000
    test: str = "test"


LAYOUTS = {
    "cifar10": Layout(),
    "cifar100": Layout(),
    "fashion_mnist": Layout(),
    "mnist": Layout(),
    "tiny_imagenet_100": Layout(5000, "validation"),
    "tiny_imagenet_boxes": Layout(3000, "validation"),
}
NAMES = tuple(LAYOUTS)
_JPEG_START = b"\xff\xd8"
_DECODE_BATCH = 1000


def _builder(name: str, data_dir: PathLike | None) -> Any:
    return open_copy(name, data_dir, ("train", LAYOUTS[name].test))


def stored_ranges(name: str, builder: Any) -> dict[str, StoredRange]:
    """Returns which stored examples make up "train", "validation" and "test".

    Args:
        name: "cifar10", "cifar100", "fashion_mnist", "mnist", "tiny_imagenet_100" or
            "tiny_imagenet_boxes".
        builder: builder object of TensorFlow Datasets (TFDS).

    Returns:
        A dictionary from the names of splits to a `StoredRange`: the name of a split in TFDS, the
        index of its first example and the index after its last.

    Raises:
        ValueError: the copy has too few examples for a validation split, or none for "test".
    """
    layout = LAYOUTS[name]
    held_out = layout.validation_examples
    train = builder.info.splits["train"].num_examples
    test = builder.info.splits[layout.test].num_examples
    if train <= held_out or test < 1:
        raise ValueError(
            f"Data set {name!r} in {builder.data_path} is empty or cut short: expected more than "
            f"{held_out} training examples (the last {held_out} are the validation split) and at "
            f"least 1 test example, found {train} and {test}. Prepare it again with `tfds build "
            f"{name} --overwrite`."
        )
    return {
        "train": StoredRange("train", 0, train - held_out),
        "validation": StoredRange("train", train - held_out, train),
        "test": StoredRange(layout.test, 0, test),
    }


def stored(name: str, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
    """Returns the requested single examples as they are stored.

    Args:
        name: "cifar10", "cifar100", "fashion_mnist", "mnist", "tiny_imagenet_100" or
            "tiny_imagenet_boxes".
        request: split, and range of examples.
        data_dir: directory of TensorFlow Datasets; None for the default one.

    Returns:
        A finite dataset of dictionaries of "image" uint8 `[height, width, channels]`, "label" and,
        if there are boxes, "objects", a dictionary whose "bbox" is `[n, 4]`, (ymin, xmin, ymax,
        xmax) in fractions of the image. Examples before the range are not decoded.

    Raises:
        DatasetNotFoundError: the data set is missing or incomplete.
        TypeError: a range that is not of integers.
        ValueError: the copy has too few examples for a validation split, or the range is not valid.
    """
    builder = _builder(name, data_dir)
    return stored_examples(builder, stored_ranges(name, builder)[request.split].part(request))


def examples(
    name: str, split: str, data_dir: PathLike | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images and labels of a split in the stored order; they are kept in memory.

    Args:
        name: "cifar10", "cifar100", "fashion_mnist", "mnist", "tiny_imagenet_100" or
            "tiny_imagenet_boxes".
        split: "train", "validation" or "test".
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        uint8 images `[n, height, width, channels]` and int32 labels `[n]`.

    Raises:
        DatasetNotFoundError: the data set is missing, incomplete or damaged.
        ValueError: the copy has too few examples for a validation split.
    """
    return _decoded(name, split, os.fspath(data_directory(data_dir)))


def labels(name: str, split: str, data_dir: PathLike | None = None) -> tf.Tensor:
    """Returns the labels of a split in the stored order; no image is decoded.

    Args:
        name: "cifar10", "cifar100", "fashion_mnist", "mnist", "tiny_imagenet_100" or
            "tiny_imagenet_boxes".
        split: "train", "validation" or "test".
        data_dir: directory of TensorFlow Datasets; None for the default one.

    Returns:
        int32 `[n]`.

    Raises:
        DatasetNotFoundError: the data set is missing or incomplete.
        ValueError: the copy has too few examples for a validation split.
    """
    return _labels(name, split, os.fspath(data_directory(data_dir)))


@functools.lru_cache(maxsize=6)
def _labels(name: str, split: str, data_dir: str) -> tf.Tensor:
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    decoders = {"image": tfds.decode.SkipDecoding()}
    dataset = stored_examples(builder, stored_ranges(name, builder)[split], decoders)
    with tf.device("CPU:0"):
        batches = [batch["label"] for batch in dataset.batch(_DECODE_BATCH)]
        return tf.cast(tf.concat(batches, axis=0), tf.int32)


# Train and validation of two sets: what one process works with at a time.
@functools.lru_cache(maxsize=4)
def _decoded(name: str, split: str, data_dir: str) -> tuple[tf.Tensor, tf.Tensor]:
    builder = _builder(name, data_dir)
    dataset = stored_examples(builder, stored_ranges(name, builder)[split])
    with tf.device("CPU:0"):
        try:
            batches = list(dataset.batch(_DECODE_BATCH))
        except tf.errors.DataLossError as error:
            raise DatasetNotFoundError(
                f"Data set {name!r} in {builder.data_path} is damaged: {error.message}. Prepare "
                f"it again with `tfds build {name} --overwrite`."
            ) from error
        images = tf.concat([batch["image"] for batch in batches], axis=0)
        labels = tf.concat([batch["label"] for batch in batches], axis=0)
        return images, tf.cast(labels, tf.int32)


def _stores_jpeg(builder: Any, split: str) -> bool:
    import tensorflow_datasets as tfds

    raw = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    first = next(iter(raw.take(1)))["image"].numpy()
    return bool(first.startswith(_JPEG_START))


def _fingerprint(builder: Any, test: str) -> str:
    """Hashes the metadata and the names and sizes of the files, not the images."""
    directory = Path(builder.data_path)
    digest = hashlib.sha256()
    for metadata in ("dataset_info.json", "features.json"):
        content = json.loads((directory / metadata).read_text(encoding="utf-8"))
        digest.update(json.dumps(content, sort_keys=True).encode())
    add_files(digest, builder, ("train", test))
    return digest.hexdigest()[:16]


def info(name: str, data_dir: PathLike | None = None) -> DatasetInfo:
    """Describes a copy of a data set without decoding its images.

    MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 are published without lossy compression. If a copy
    of one of them stores JPEG files, `source` says so, since results on it are not comparable with
    those on the original images. Tiny ImageNet is published as JPEG.

    Args:
        name: "cifar10", "cifar100", "fashion_mnist", "mnist", "tiny_imagenet_100" or
            "tiny_imagenet_boxes".
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        A `DatasetInfo`, whose `source` is a line such as "tfds mnist/3.0.1", and whose fingerprint
        is a hash of the metadata and of the names and sizes of the files.

    Raises:
        DatasetNotFoundError: the data set is missing or incomplete.
        ValueError: the copy has too few examples for a validation split.
    """
    builder = _builder(name, data_dir)
    ranges = stored_ranges(name, builder)
    label = builder.info.features["label"]
    test = LAYOUTS[name].test
    exact_elsewhere = not name.startswith("tiny_imagenet")
    lossy = ", JPEG copy, lossy" if exact_elsewhere and _stores_jpeg(builder, test) else ""
    # Tiny ImageNet's labels are WordNet ids, whose words are kept beside them.
    names = (builder.info.metadata or {}).get("names", {})
    return DatasetInfo(
        name=name,
        image_shape=tuple(builder.info.features["image"].shape),
        num_classes=label.num_classes,
        class_names=tuple(names.get(name, name) for name in label.names),
        num_examples={split: found.num_examples for split, found in ranges.items()},
        source=f"tfds {name}/{builder.info.version}{lossy}",
        fingerprint=_fingerprint(builder, test),
    )
