"""Reads data sets that TensorFlow Datasets has prepared in a directory; nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from aad_tf.data.description import DatasetNotFoundError
from aad_tf.data.requests import BoxedRequest, EvaluationRequest
from aad_tf.utils.files import PathLike


@dataclass(frozen=True)
class StoredRange:
    """Consecutive examples of a split as TensorFlow Datasets (TFDS) stores it.

    Attributes:
        split: TFDS's name of the stored split.
        start: index of the first example in that split.
        stop: index after the last example.
    """

    split: str
    start: int
    stop: int

    @property
    def num_examples(self) -> int:
        """Number of examples of this range of a split, at least 0."""
        return self.stop - self.start

    def part(self, request: BoxedRequest | EvaluationRequest) -> StoredRange:
        """Returns the part of this range that a request asks for.

        Args:
            request: which examples are wanted, by the indices of the first and after the last,
                counted from the beginning of this range.

        Returns:
            A `StoredRange` of the same split; it ends where this range ends if more was asked for.

        Raises:
            TypeError: indices that are not integers.
            ValueError: a negative start, a stop before the start, or a start beyond the range; for
                a request of an evaluation also a part without examples.
        """
        start, stop = request.span(self.num_examples)
        return StoredRange(self.split, self.start + start, self.start + stop)


def data_directory(data_dir: PathLike | None = None) -> Path:
    """Returns the directory of TensorFlow Datasets.

    Args:
        data_dir: the directory; None for the environment variable TFDS_DATA_DIR, or else
            "~/tensorflow_datasets".

    Returns:
        The path, with "~" replaced by the home directory.
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def _version_key(directory: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in directory.name.split(".") if part.isdigit())


def open_copy(
    name: str, data_dir: PathLike | None, splits: Sequence[str], *, all_needed: bool = True
) -> Any:
    """Opens the newest version of a data set in a directory, without a network connection.

    Args:
        name: name of the data set in TensorFlow Datasets (TFDS), such as "mnist".
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        splits: names of the splits in TFDS whose files are needed.
        all_needed: False if the copy may lack some of these splits as a whole.

    Returns:
        The builder object of TFDS.

    Raises:
        DatasetNotFoundError: the data set is missing or lacks files; the message says how to
            prepare it.
    """
    import tensorflow_datasets as tfds

    root = data_directory(data_dir)
    found = [path.parent for path in (root / name).glob("*/dataset_info.json")]
    if not found:
        raise DatasetNotFoundError(
            f"Data set {name!r} is not in {root}: expected {root / name}/<version>/"
            "dataset_info.json. Set TFDS_DATA_DIR (or pass data_dir) to a directory that holds "
            f"it, or prepare it with `tfds build {name} --data_dir={root}`."
        )
    directory = max(found, key=_version_key)
    # Read from files alone: a builder made by name would ask the network for metadata.
    builder = tfds.builder_from_directory(os.fspath(directory))
    for split in splits:
        paths = builder.info.splits[split].filepaths if split in builder.info.splits else []
        missing = [os.fspath(path) for path in paths if not os.path.exists(path)]
        if missing or (all_needed and not paths):
            raise DatasetNotFoundError(
                f"Data set {name!r} in {directory} is incomplete: split {split!r} lacks "
                f"{', '.join(missing[:3]) or 'its files'}. Prepare it again with `tfds build "
                f"{name} --overwrite --data_dir={root}`."
            )
    return builder


def add_files(digest: Any, builder: Any, splits: Sequence[str]) -> None:
    """Adds the names and sizes of the files of some splits to a hash.

    Args:
        digest: a `hashlib` object, which is updated.
        builder: builder object of TensorFlow Datasets.
        splits: names of splits in TensorFlow Datasets; those that the copy lacks are left out.
    """
    for split in splits:
        for path in builder.info.splits[split].filepaths if split in builder.info.splits else ():
            digest.update(f"{os.path.basename(path)} {os.path.getsize(path)}".encode())


def stored_examples(builder: Any, stored: StoredRange, decoders: Any = None) -> tf.data.Dataset:
    """Returns consecutive examples of a split in the stored order; earlier ones are not decoded.

    Args:
        builder: builder object of TensorFlow Datasets (TFDS).
        stored: the range of examples; it may be empty.
        decoders: argument `decoders` of TFDS's `as_dataset`, by which features are left undecoded
            or out; None decodes all.

    Returns:
        A finite dataset of dictionaries from the names of TFDS's features, such as "image" and
        "label", to their values.
    """
    import tensorflow_datasets as tfds

    # TFDS refuses an empty range, which a finished shard has.
    empty = stored.start == stored.stop
    split = tfds.core.ReadInstruction(
        stored.split,
        from_=0 if empty else stored.start,
        to=1 if empty else stored.stop,
        unit="abs",
    )
    dataset = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=decoders,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    return dataset.take(0) if empty else dataset
