"""The data sets that are known by name, as examples and as batches for training and evaluation."""

from __future__ import annotations

import dataclasses
import functools
from typing import Protocol

import tensorflow as tf

from aad_tf.data.augmentation import AUGMENTATIONS
from aad_tf.data.description import SPLITS, DatasetInfo
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.training import StreamedImageNet
from aad_tf.data.images import ImageSize, sides
from aad_tf.data.requests import BoxedRequest, EvaluationRequest, TrainingRequest
from aad_tf.data.sharding.slices import WHOLE, ReplicaRange
from aad_tf.data.small import digits, some_classes, tfds_source
from aad_tf.data.small.in_memory import InMemory
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.files import PathLike
from aad_tf.utils.ops import without_autograph


class Source(Protocol):
    """The interface of an object that reads a data set; there is one for each known data set.

    The functions of `aad_tf.data` call its methods after they have checked the arguments. Splits
    have the same examples in the same order with and without boxes.
    """

    def info(self, data_dir: PathLike | None, annotations: PathLike | None) -> DatasetInfo:
        """Describes the data set in a directory; `aad_tf.data.info` calls it.

        Args:
            data_dir: directory of TensorFlow Datasets; None for the default one.
            annotations: archive of boxes whose name and hash the description includes, or None.

        Returns:
            A `DatasetInfo`: name, image shape, classes, number of examples by split, a line on the
            source, and a hash of the data.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
        """

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns single examples of a split in the stored order; `aad_tf.data.load` calls it.

        Args:
            split: "train", "validation" or "test".
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of (image, label): float32 `[H, W, C]` in [0, 1], and a scalar int32.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
        """

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns each example of a part of a split once, in batches, in the stored order.

        `aad_tf.data.evaluation_batches` calls it.

        Args:
            request: split, range of examples, batch size, size of images, and the replicas to feed.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of (images, labels): float32 `[batch, H, W, C]` in [0, 1], and int32
            `[batch]`; with several replicas each batch is divided into one element per replica.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
            ValueError: the range holds no example, or fewer examples than replicas.
        """

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns batches of the training split in random order, without end.

        `aad_tf.data.training_batches` calls it.

        Args:
            request: seed, first epoch and step, batch size, augmentation, size of images, number of
                examples, and the replicas to feed.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            An infinite dataset of (images, labels): float32 `[batch, H, W, C]` in [0, 1], and int32
            `[batch]`; for each step it has one element per replica that is fed.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
            ValueError: fewer examples than replicas.
        """

    def boxed(self, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Returns single examples with boxes in the stored order; `boxed_batches` calls it.

        Args:
            request: split, range of examples, size of images, and archive of boxes.
            data_dir: directory of TensorFlow Datasets; None for the default one.

        Returns:
            A finite dataset of dictionaries: "image" float32 `[H, W, C]` in [0, 1], "label" int32,
            "boxes" float32 `[n, 4]` as (ymin, xmin, ymax, xmax) in fractions of the image, and
            "box_labels" int32 `[n]`; n is 0 for a data set without boxes.

        Raises:
            DatasetNotFoundError: the directory does not hold the data set.
            ValueError: a range of examples that is not valid.
        """


_SOURCES: dict[str, Source] = {
    "digits": InMemory(
        lambda _: digits.info(),
        lambda split, _: digits.examples(split),
        lambda request, _: digits.stored(request),
    ),
    **{
        name: InMemory(
            functools.partial(tfds_source.info, name),
            functools.partial(tfds_source.examples, name),
            functools.partial(tfds_source.stored, name),
        )
        for name in tfds_source.NAMES
    },
    **{
        name: InMemory(
            functools.partial(some_classes.info, name),
            functools.partial(some_classes.examples, name),
            functools.partial(some_classes.stored, name),
        )
        for name in some_classes.PARTS
    },
    imagenet.NAME: StreamedImageNet(),
}


def available() -> tuple[str, ...]:
    """Returns the names of the known data sets, whether present or not.

    Example:
        >>> aad_tf.data.available()
        ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'imagenet2012', 'mnist',
         'tiny_imagenet_10', 'tiny_imagenet_100', 'tiny_imagenet_20', 'tiny_imagenet_50',
         'tiny_imagenet_boxes', 'tiny_imagenet_spread_10', 'tiny_imagenet_spread_20',
         'tiny_imagenet_spread_50')
    """
    return tuple(sorted(_SOURCES))


def info(
    name: str,
    data_dir: PathLike | None = None,
    image_size: ImageSize = 0,
    annotations: PathLike | None = None,
) -> DatasetInfo:
    """Describes a data set without decoding its images.

    Args:
        name: one of the names that `available()` returns.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets". "digits" needs none.
        image_size: side in pixels, or (height, width), that images will be resized to; 0 or None
            for the size of the data.
        annotations: for "imagenet2012" the archive of its boxes, or the directory unpacked from it.
            Its name is then added to the result's `source`, and its boxes to the `fingerprint`.
            None for no boxes, and for other data sets.

    Returns:
        A `DatasetInfo`: `name`, `image_shape` (height, width, channels), `num_classes`,
        `class_names`, `num_examples` by split, `source` (one line that identifies the copy) and
        `fingerprint` (a hash of the data). If a copy of "imagenet2012" lacks a split, looking that
        split up in `num_examples` raises DatasetNotFoundError with advice.

    Raises:
        ValueError: an unknown name, an invalid image size, or annotations for another data set than
            "imagenet2012".
        DatasetNotFoundError: the directory does not hold the data set.

    Example:
        >>> aad_tf.data.info("digits").num_examples
        {'train': 1297, 'validation': 140, 'test': 360}
    """
    size, source = sides(image_size), source_of(name, annotations)
    found = source.info(data_dir, annotations)
    if size is None:
        return found
    return dataclasses.replace(found, image_shape=(*size, found.image_shape[2]))


def load(name: str, split: str, data_dir: PathLike | None = None) -> tf.data.Dataset:
    """Returns a split as single examples in a fixed order.

    Args:
        name: one of the names that `available()` returns.
        split: "train", "validation" or "test". "validation" is the end of the published training
            split and shares no example with "train". "test" is the published test split; for
            ImageNet and Tiny ImageNet, whose published test images have no labels, it is the
            published validation split.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets". "digits" needs none.

    Returns:
        A dataset of (image, label): float32 `[height, width, channels]` in [0, 1], and a scalar
        int32.

    Raises:
        ValueError: an unknown name or split.
        DatasetNotFoundError: the directory does not hold the data set.

    Example:
        >>> image, label = next(iter(aad_tf.data.load("digits", "test")))
        >>> image.shape
        TensorShape([28, 28, 1])
    """
    source = source_of(name)
    check_choice(split, SPLITS, "split")
    return source.examples(split, data_dir)


def evaluation_batches(
    name: str,
    split: str,
    batch_size: int,
    data_dir: PathLike | None = None,
    limit: int | None = None,
    *,
    image_size: ImageSize = 0,
    replica_range: ReplicaRange = WHOLE,
    start: int = 0,
) -> tf.data.Dataset:
    """Returns each example of a split once, in a fixed order, in batches.

    Args:
        name: one of the names that `available()` returns, such as "mnist" or "digits".
        split: "train", "validation" or "test".
        batch_size: examples per batch of all replicas together, at least 1. The last batch may be
            shorter.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets". "digits" needs none.
        limit: index after the last example to use; None, or more than there are, for all.
        image_size: side in pixels, or (height, width), that images are resized to, bilinearly; 0 or
            None for the size of the data.
        replica_range: which replicas of a distributed evaluation the data set feeds; by default one
            replica that gets whole batches. `ReplicaRange(first=2, count=2, total=4)` means the
            last two of four. With several replicas, each batch is divided into one element per
            replica, and all workers get equally many elements per replica.
        start: index of the first example to use; earlier ones are not decoded. The examples have
            the indices `start` to `limit` - 1.

    Returns:
        A finite dataset of (images, labels): float32 `[batch, height, width, channels]` in [0, 1],
        and int32 `[batch]`.

    Raises:
        TypeError: a batch size, limit or start that is not an integer.
        ValueError: an unknown name or split, a batch size or limit below 1, a batch size below the
            number of replicas, fewer examples than replicas, an invalid image size, or a start that
            leaves no example.
        DatasetNotFoundError: the directory does not hold the data set.

    Example:
        >>> len(aad_tf.data.evaluation_batches("digits", "test", 100))
        4
    """
    source = source_of(name)
    check_choice(split, SPLITS, "split")
    check_count(batch_size, "batch_size")
    if limit is not None:
        check_count(limit, "limit")
    check_count(start, "start", 0)
    request = EvaluationRequest(split, batch_size, limit, sides(image_size), replica_range, start)
    return without_autograph(source.evaluation)(request, data_dir)


def training_batches(
    name: str,
    batch_size: int,
    seed: int,
    data_dir: PathLike | None = None,
    start_epoch: int = 0,
    start_step: int = 0,
    augmentation: str = "none",
    *,
    image_size: ImageSize = 0,
    replica_range: ReplicaRange = WHOLE,
    limit: int | None = None,
) -> tf.data.Dataset:
    """Returns training batches in random order, without end, from any epoch and step on.

    The order of an epoch is a permutation of the split that depends on `seed` and the number of the
    epoch, and for "imagenet2012" on the number of replicas, too. So on as many replicas the batches
    from an epoch and step on equal those of an uninterrupted data set, and a resumed run needs only
    these two numbers from its checkpoint. Small data sets are kept in memory, where starting
    anywhere takes no time; "imagenet2012" is read from files and shuffled in a buffer, and a run
    that resumes within an epoch reads the earlier examples of that epoch again without decoding
    them.

    With a `replica_range` of several replicas, the data set has one element per replica for every
    batch, in order, as `tf.distribute.Strategy.distribute_datasets_from_function` expects. For a
    data set in memory, the elements of all replicas together are the batch that a single replica
    would get, bit for bit. Each worker decodes only the images of its own replicas.

    Args:
        name: one of the names that `available()` returns.
        batch_size: examples per batch of all replicas together, at least 1. The last batch of an
            epoch may be shorter. `steps_per_epoch` tells the number of batches.
        seed: integer from 0 to 2**63 - 1, of the order and of the augmentation.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets". "digits" needs none.
        start_epoch: number of the first epoch, from 0.
        start_step: number of batches to leave out, from that epoch on; they may exceed an epoch.
        augmentation: "none"; "flip", mirrored with probability 1/2; "shift_flip", also moved by up
            to an eighth of the sides; "crop_flip", mirrored with probability 1/2 and cropped to a
            random half or more of the area; or "inception", a random box of 8% or more of the area,
            mirrored with probability 1/2, with brightness and saturation changed. It depends on
            `seed` and the number of the batch alone.
        image_size: side in pixels, or (height, width), that images are resized to, bilinearly; 0 or
            None for the size of the data.
        replica_range: which replicas the data set feeds; by default one replica that gets whole
            batches.
        limit: number of examples of the split to use, the first ones; None, or more than there are,
            for all.

    Returns:
        An infinite dataset of (images, labels): float32 `[batch, height, width, channels]` in
        [0, 1], and int32 `[batch]`.

    Raises:
        TypeError: a batch size, limit, seed or start that is not an integer.
        ValueError: an unknown name or augmentation, a batch size or limit below 1, a batch size
            below the number of replicas, fewer examples than replicas, a seed out of range, a
            negative start, or an invalid image size.
        DatasetNotFoundError: the directory does not hold the data set.

    Example:
        >>> batches = aad_tf.data.training_batches("digits", batch_size=100, seed=1)
        >>> model.fit(batches, steps_per_epoch=13, epochs=5)
    """
    source = source_of(name)
    check_count(batch_size, "batch_size")
    check_count(seed, "seed", 0, tf.int64.max)
    check_count(start_epoch, "start_epoch", 0)
    check_count(start_step, "start_step", 0)
    check_choice(augmentation, AUGMENTATIONS, "augmentation")
    if limit is not None:
        check_count(limit, "limit")
    request = TrainingRequest(
        batch_size,
        seed,
        start_epoch,
        start_step,
        augmentation,
        sides(image_size),
        replica_range,
        limit,
    )
    return without_autograph(source.training)(request, data_dir)


def source_of(name: str, annotations: PathLike | None = None) -> Source:
    """Returns the object that reads a data set.

    Args:
        name: one of the names that `available()` returns.
        annotations: archive of boxes, for "imagenet2012" only; else None. It is only checked that
            the data set takes one.

    Returns:
        The data set's `Source`, whose methods describe the data set and read its examples.

    Raises:
        ValueError: an unknown name, or annotations for another data set than "imagenet2012".
    """
    check_choice(name, available(), "data set")
    if annotations is not None and name != imagenet.NAME:
        raise ValueError(
            f"annotations belong to {imagenet.NAME!r} alone; {name!r} keeps the boxes it has "
            "beside its images. Leave annotations out."
        )
    return _SOURCES[name]
