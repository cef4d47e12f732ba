"""What is known of a data set without reading its images, and the errors about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")


class DatasetNotFoundError(ValueError):
    """A known data set that is missing or incomplete in the directory looked at."""


class SplitSizes(dict[str, int]):
    """Number of examples by split, of a copy that need not have every split.

    Args:
        sizes: examples of the splits that are there.
        how: what to do to get the others, for the error.

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
    """A data set's shape, size and origin.

    Attributes:
        name: the name given to `load`.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        class_names: one name per class, in the order of the labels.
        num_examples: number of examples of "train", "validation" and "test"; without those that
            the copy does not have.
        source: one line on which copy this is, for instance "tfds mnist/3.0.1".
        fingerprint: 16 hexadecimal digits that differ between copies.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    num_examples: Mapping[str, int]
    source: str
    fingerprint: str
