"""What is known of a data set without reading its images, and the errors about it."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "validation", "test")


class DatasetNotFoundError(ValueError):
    """A known data set that is missing or incomplete in the directory looked at."""


@dataclass(frozen=True)
class DatasetInfo:
    """A data set's shape, size and origin.

    Attributes:
        name: the name given to `load`.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        class_names: one name a class, in the order of the labels.
        num_examples: number of examples of "train", "validation" and "test".
        source: one line on which copy this is, for instance "tfds mnist/3.0.1".
        fingerprint: 16 hexadecimal digits that differ between copies.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    num_examples: dict[str, int]
    source: str
    fingerprint: str
