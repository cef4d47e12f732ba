"""Data sets of images in folders, one per class, as in Keras's `image_dataset_from_directory`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from aad_tf.data.description import DatasetInfo
from aad_tf.data.images import ImageSize, resized, sides
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_bounds, check_choice, check_count
from aad_tf.utils.files import PathLike
from aad_tf.utils.ops import without_autograph

SPLIT = "all"
"""The one split that a directory of images has."""
CHANNELS = (1, 3)
# How the files that TensorFlow decodes begin: JPEG and PNG, and GIF and BMP, which it decodes in
# colour alone.
_IN_COLOUR = (b"GI", b"BM")
_BEGINNINGS = (b"\xff\xd8", b"\x89P", *_IN_COLOUR)


class _Listing(NamedTuple):
    """Files of a directory in their order, the class number of each, and the names of classes."""

    paths: list[str]
    labels: np.ndarray
    class_names: tuple[str, ...]


def image_folder(
    directory: PathLike,
    batch_size: int,
    image_size: ImageSize,
    *,
    bounds: Bounds | tuple[float, float] = (0.0, 1.0),
    channels: int = 3,
    class_names: Sequence[str] | None = None,
    indices: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Returns the images in the folders of a directory in batches, in a fixed order.

    Files, decoding and bilinear resizing are those of
    `keras.utils.image_dataset_from_directory(directory, shuffle=False)`, whose pixels are in
    0..255; here they are scaled to `bounds`. Images in folders within a class folder belong to its
    class. Images are ordered by the name of their folder, then by their own name. This order is for
    evaluation; for training, shuffle across classes.

    Args:
        directory: directory with one folder for each class, which holds JPEG, PNG, GIF or BMP
            files.
        batch_size: images per batch, at least 1. The last batch may be shorter.
        image_size: side in pixels, or (height, width), that images are resized to.
        bounds: pixel range of the result: (0, 255) leaves pixels as they are stored, (0, 1)
            divides them by 255.
        channels: 1 for gray images, 3 for colour images.
        class_names: names of all classes in the order of the network's outputs; every folder must
            have one of these names. None for the names of the folders in alphabetical order.
        indices: integers, indices of the images to read, in the order above, from 0; negative ones
            count from the last image, -1; None for all.

    Returns:
        A finite dataset of (images, labels): float32 `[batch, height, width, channels]` within
        `bounds`, and int32 `[batch]`.

    Raises:
        TypeError: a batch size, bounds or indices of another type, such as a boolean mask.
        ValueError: no such directory, no folders or images, a folder that is not a class, equal
            class names, an invalid size or number of channels, or no indices.
        IndexError: an index beyond the last or the first image.
        tf.errors.InvalidArgumentError: while iterating, for a file that is not an image of these
            formats, which the message names, and for a damaged image, which it need not name.

    Example:
        >>> photos = aad_tf.data.image_folder("photos", 50, image_size=224, bounds=(0, 255))
        >>> aad_tf.evaluate_robustness(classifier, photos, aad_tf.attacks.fgsm(1))
    """
    check_count(batch_size, "batch_size")
    lower, upper = check_bounds(bounds)
    size = _needed(image_size)
    _check_channels(channels)
    listing = _listed(directory, class_names)
    chosen = np.arange(len(listing.paths)) if indices is None else _checked_indices(indices)
    paths = [listing.paths[index] for index in chosen]

    @without_autograph
    def example(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = _decoded(path, channels, size)
        return lower + pixels * ((upper - lower) / 255.0), label

    files = tf.data.Dataset.from_tensor_slices((paths, listing.labels[chosen]))
    examples = files.map(example, tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size).prefetch(1)


def image_folder_info(
    directory: PathLike,
    image_size: ImageSize,
    *,
    channels: int = 3,
    class_names: Sequence[str] | None = None,
) -> DatasetInfo:
    """Describes the images in the folders of a directory without decoding them.

    Args:
        directory: directory with one folder of images for each class.
        image_size: side in pixels, or (height, width), that images will be resized to.
        channels: 1 for gray images, 3 for colour images.
        class_names: names of all classes in the order of the network's outputs; every folder must
            have one of these names. None for the names of the folders in alphabetical order.

    Returns:
        A `DatasetInfo`: name of the directory, image shape, class names, number of images under the
        only split "all", and a hash of the names and sizes of the files.

    Raises:
        ValueError: no such directory, no folders or images, a folder that is not a class, equal
            class names, an invalid size or number of channels.

    Example:
        >>> aad_tf.data.image_folder_info("photos", 224).class_names
        ('cat', 'dog')
    """
    _check_channels(channels)
    listing = _listed(directory, class_names)
    digest = hashlib.sha256()
    for path in map(Path, listing.paths):
        digest.update(f"{path.relative_to(directory).as_posix()} {path.stat().st_size}\n".encode())
    return DatasetInfo(
        name=Path(directory).absolute().name,
        image_shape=(*_needed(image_size), channels),
        num_classes=len(listing.class_names),
        class_names=listing.class_names,
        num_examples={SPLIT: len(listing.paths)},
        source=f"{len(listing.paths)} images in folders",
        fingerprint=digest.hexdigest()[:16],
    )


def folder_classes(
    directory: PathLike, class_names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Returns the names of the classes of images in folders.

    Args:
        directory: directory with one folder of images for each class.
        class_names: names of all classes in the order of the network's outputs; every folder must
            have one of these names. None for the names of the folders in alphabetical order.

    Returns:
        The names in the order of the labels.

    Raises:
        ValueError: no such directory, no folders or images, a folder that is not a class, or equal
            class names.
    """
    return _listed(directory, class_names).class_names


def _listed(directory: PathLike, class_names: Sequence[str] | None) -> _Listing:
    root = Path(directory)
    if not root.is_dir():
        raise ValueError(f"{root} is no directory. It must hold one folder of images per class.")
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    if not folders:
        raise ValueError(
            f"{root} holds no folders. It must hold one folder of images for each class."
        )
    # Its data set is not used: it would decode all images before the first that is wanted.
    found = keras.utils.image_dataset_from_directory(
        root, batch_size=None, shuffle=False, verbose=False
    )
    names = tuple(found.class_names if class_names is None else class_names)
    if len(set(names)) < len(names):
        raise ValueError(f"class_names holds a name twice: {', '.join(names)}.")
    numbers = {
        folder: names.index(check_choice(folder, names, "class of the folder"))
        for folder in found.class_names
    }
    labels = [numbers[Path(path).relative_to(root).parts[0]] for path in found.file_paths]
    return _Listing(found.file_paths, np.array(labels, np.int32), names)


def _checked_indices(indices: Sequence[int]) -> np.ndarray:
    numbers = np.asarray(indices)
    if not numbers.size:
        raise ValueError("indices is empty: give one index or more, or None for all images.")
    if not np.issubdtype(numbers.dtype, np.integer):
        raise TypeError(
            f"indices must be integers, got {numbers.dtype}. Of a boolean mask take "
            f"np.flatnonzero(mask)."
        )
    return numbers


def _decoded(path: tf.Tensor, channels: int, size: tuple[int, int]) -> tf.Tensor:
    """float32 pixels in 0..255, `[*size, channels]`."""
    content = tf.io.read_file(path)
    beginning = tf.strings.substr(content, 0, 2)
    known = tf.reduce_any(beginning == tf.constant(_BEGINNINGS))
    complaint = "is no image in JPEG, PNG, GIF or BMP, whatever its name says: remove or convert it"
    check = tf.debugging.Assert(known, [tf.strings.join([path, complaint], " ")])
    with tf.control_dependencies([check]):
        content = tf.identity(content)

    def decoded(depth: int) -> tf.Tensor:
        return tf.io.decode_image(content, depth, expand_animations=False)

    if channels == 1:
        in_colour = tf.reduce_any(beginning == tf.constant(_IN_COLOUR))
        image = tf.cond(
            in_colour, lambda: tf.image.rgb_to_grayscale(decoded(3)), lambda: decoded(1)
        )
    else:
        image = decoded(channels)
    return tf.ensure_shape(resized(image, size), [*size, channels])


def _needed(image_size: ImageSize) -> tuple[int, int]:
    size = sides(image_size)
    if size is None:
        raise ValueError("Images in folders have any size: give the image_size to bring them to.")
    return size


def _check_channels(channels: int) -> None:
    if channels not in CHANNELS:
        raise ValueError(f"channels must be 1 or 3, got {channels!r}.")
