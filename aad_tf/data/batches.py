"""Streams of examples and batches over the known data sets."""

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
from aad_tf.data.sharding.slices import WHOLE, ReplicaSlice
from aad_tf.data.small import digits, first_classes, tfds_source
from aad_tf.data.small.in_memory import InMemory
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.files import PathLike


class Source(Protocol):
    """Where the examples of a data set come from; gets only what was checked.

    The names of splits mean the same in every method, with boxes or without.
    """

    def info(self, data_dir: PathLike | None, annotations: PathLike | None) -> DatasetInfo:
        """Describes the copy in a directory."""

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Single examples `(image, label)` in the stored order."""

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Batches `(images, labels)` of a split, each example once."""

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Endless batches `(images, labels)` of the training split."""

    def boxed(self, request: BoxedRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Single examples as dictionaries with boxes, in the stored order."""


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
            functools.partial(first_classes.info, name),
            functools.partial(first_classes.examples, name),
            functools.partial(first_classes.stored, name),
        )
        for name in first_classes.PARTS
    },
    imagenet.NAME: StreamedImageNet(),
}


def available() -> tuple[str, ...]:
    """Returns the names of the known data sets, whether present or not.

    Example:
        >>> aad_tf.data.available()
        ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'imagenet2012', 'mnist',
         'tiny_imagenet_10', 'tiny_imagenet_100', 'tiny_imagenet_20', 'tiny_imagenet_50',
         'tiny_imagenet_boxes')
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
        name: one of `available()`.
        data_dir: a TFDS data directory; None takes the environment variable
            TFDS_DATA_DIR, else "~/tensorflow_datasets". "digits" needs none.
        image_size: height and width, or one number for both, that images are resized to; 0 or
            None is the data's own.
        annotations: the box archive of "imagenet2012", which the description then covers.

    Returns:
        A `DatasetInfo`. A copy of "imagenet2012" may have the published validation images alone,
        its split "test"; asking `num_examples` for another split then says how to get it.

    Raises:
        ValueError: for an unknown name (the message lists the near ones), an image size that is
            none, annotations for a data set that keeps its own boxes or none.
        DatasetNotFoundError: if the directory does not hold the data set.

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
        name: one of `available()`.
        split: "train", "validation" or "test". "validation" is the end of the published
            training split and shares no example with "train"; "test" is the published test
            split or, of "tiny_imagenet_boxes" and "imagenet2012", whose published test images
            have no labels, the published validation split.
        data_dir: as for `info`.

    Returns:
        A dataset of (image float32 [height, width, channels] in [0, 1], label int32 []).

    Raises:
        ValueError: for an unknown name or split.
        DatasetNotFoundError: if the directory does not hold the data set.

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
    replica_slice: ReplicaSlice = WHOLE,
    start: int = 0,
) -> tf.data.Dataset:
    """Returns each example of a split once, in a fixed order, in batches.

    Args:
        name: one of `available()`.
        split: "train", "validation" or "test".
        batch_size: examples per batch, at least 1. The last batch may be shorter.
        data_dir: as for `info`.
        limit: use only the first `limit` examples; None, or more than there are, is all.
        image_size: as for `info`; images are resized bilinearly.
        replica_slice: replicas to feed, as for `training_batches`; every worker gets as many
            elements per replica as another.
        start: leave out so many examples at the beginning of the split; they are never decoded.
            Batches are cut from there on. `limit` counts from the beginning of the split all the
            same: the examples have the indices `start` to `limit` - 1.

    Returns:
        A finite dataset of (images float32 [batch, height, width, channels] in
        [0, 1], labels int32 [batch]).

    Raises:
        TypeError: a batch size, limit or start that is not an integer.
        ValueError: for an unknown name or split, a batch size or limit below 1 or below the
            number of replicas, an image size that is none, a start that leaves nothing.
        DatasetNotFoundError: if the directory does not hold the data set.

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
    request = EvaluationRequest(split, batch_size, limit, sides(image_size), replica_slice, start)
    return source.evaluation(request, data_dir)


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
    replica_slice: ReplicaSlice = WHOLE,
    limit: int | None = None,
) -> tf.data.Dataset:
    """Returns an endless stream of training batches that can start anywhere.

    The order of an epoch is a permutation of the whole split that depends on `seed`
    and the epoch's number alone, so the stream from (epoch, step) equals the tail of
    an uninterrupted stream. A data set kept in memory has only its indices shuffled and costs
    nothing to enter anywhere; "imagenet2012" is streamed, see `aad_tf.data.imagenet.training`.

    No iterator is saved: a checkpoint holds the epoch and the step
    (`aad_tf.training.checkpoints.ResumableCheckpoint`), training hands them on as `start_epoch` and
    `start_step`, `TrainingRequest.first_step` turns them into the first batch, and from there
    `small.in_memory` or `sharding.streaming` continue.

    With a `replica_slice` of several replicas the stream holds, for every batch, one element per
    replica fed, in order, as `tf.distribute.Strategy.distribute_datasets_from_function` expects.
    The elements of all replicas, put together, are the batch that one replica alone would get, bit
    for bit (of a data set kept in memory); each worker touches only the images of its replicas.

    Args:
        name: one of `available()`.
        batch_size: examples per batch of all replicas together, at least 1. The last batch of an
            epoch may be shorter; see `steps_per_epoch`.
        seed: integer from 0 to 2**63 - 1; other seeds give other orders.
        data_dir: as for `info`.
        start_epoch: first epoch, from 0.
        start_step: batches to leave out; a whole epoch's worth moves on to the next.
        augmentation: "none", "flip" (half of the images mirrored), "shift_flip" (moved by up to an
            eighth besides), "crop_flip" (a random half or more of the image besides) or
            "inception" (a random box of 8% or more, mirrored or not, brightness and saturation
            changed); drawn from `seed` and the batch's number alone.
        image_size: as for `info`; images are resized bilinearly.
        replica_slice: replicas to feed; by default one replica that gets whole batches.
        limit: an epoch has the first `limit` examples of the split only; None, or more than there
            are, is all.

    Returns:
        An infinite dataset of (images float32 [batch, height, width, channels] in
        [0, 1], labels int32 [batch]).

    Raises:
        TypeError: a batch size, limit, seed or start that is not an integer.
        ValueError: for an unknown name or augmentation, a batch size or limit below 1 or below the
            number of replicas, fewer examples than replicas, a negative seed or start, an image
            size that is none.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> batches = aad_tf.data.training_batches("digits", batch_size=100, seed=1)
        >>> model.fit(batches, steps_per_epoch=13, epochs=5)
    """
    source = source_of(name)
    check_count(batch_size, "batch_size")
    check_count(seed, "seed", 0)
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
        replica_slice,
        limit,
    )
    return source.training(request, data_dir)


def source_of(name: str, annotations: PathLike | None = None) -> Source:
    """Returns where a data set comes from, for the streams of this package.

    Raises:
        ValueError: for an unknown name, or annotations for a data set that takes none.
    """
    check_choice(name, available(), "data set")
    if annotations is not None and name != imagenet.NAME:
        raise ValueError(
            f"annotations belong to {imagenet.NAME!r} alone; {name!r} keeps the boxes it has "
            "beside its images. Leave annotations out."
        )
    return _SOURCES[name]
