"""Copies of ImageNet in the format of TensorFlow Datasets, written for the tests."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

# JPEG file, label, file name.
Image = tuple[bytes, int, str]


def jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    return tf.io.encode_jpeg(image, quality=quality).numpy()


def write_imagenet(
    root: Path, images: Mapping[str, Sequence[Image]], names: Sequence[str], in_a_file: int = 3
) -> Path:
    """Writes images by split as `tfds build imagenet2012` does, so many in a file."""
    directory = root / "imagenet2012" / "5.1.0"
    directory.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="imagenet2012",
        version=tfds.core.Version("5.1.0"),
        data_dir=str(directory),
        module_name="tensorflow_datasets.datasets.imagenet2012.imagenet2012_dataset_builder",
    )
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=list(names)),
            "file_name": tfds.features.Text(),
        }
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=features, supervised_keys=("image", "label")
    )
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=in_a_file)
    writer.initialize_splits(list(images))
    # Each call writes the metadata.
    writer.add_examples(
        {
            split: [
                {"image": io.BytesIO(content), "label": label, "file_name": file_name}
                for content, label, file_name in of_split
            ]
            for split, of_split in images.items()
        }
    )
    writer.close_all()
    return root


def gradient(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A smooth coloured image that differs from index to index."""
    rows, columns = np.meshgrid(*(np.linspace(0, 1, side) for side in size), indexing="ij")
    tint = 0.2 + 0.6 * ((index * 0.37) % 1)
    channels = [rows, columns, np.full(size, tint)]
    return (np.stack(channels, -1) * 255).astype(np.uint8)


def write_numbered(root: Path, train: int, test: int, in_a_file: int = 3) -> Path:
    """Writes a copy in which each image's class is its index in its split."""
    names = [f"n{number:08d}" for number in range(max(train, test))]
    images = {
        split: [
            (jpeg(gradient(index, (48 + index % 5, 64 - index % 3))), index, f"{index}.JPEG")
            for index in range(count)
        ]
        for split, count in (("train", train), ("validation", test))
    }
    return write_imagenet(root, images, names, in_a_file)
