"""The description of a data set, and the error for one that is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")


class DatasetNotFoundError(ValueError):
    """Error: a data set that is known by name is missing or incomplete in the data directory."""


class SplitSizes(dict[str, int]):
    """A dictionary from splits to numbers of examples, if a data set may lack some splits.

    Args:
        sizes: number of examples of each split that is there.
        how: advice on how to get the other splits, for the error message.

    Raises:
        DatasetNotFoundError: when a split is looked up that is not there.
    """

    def __init__(self, sizes: Mapping[str, int], how: str) -> None:
        super().__init__(sizes)
        self.how = how

    def __missing__(self, split: str) -> int:
        raise DatasetNotFoundError(self.how)


@dataclass(frozen=True)
class DatasetInfo:
    """The description of a data set.

    Attributes:
        name: name of the data set, such as "mnist"; for images in folders that of the directory.
        image_shape: (height, width, channels) of the images.
        num_classes: number of classes.
        class_names: one name per class, in the order of the labels.
        num_examples: number of examples by split: "train", "validation" and "test", without splits
            that the copy lacks; "all" for images in folders.
        source: one line that identifies the copy, such as "tfds mnist/3.0.1".
        fingerprint: 16 hexadecimal digits, a hash that differs between different data.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    num_examples: Mapping[str, int]
    source: str
    fingerprint: str
