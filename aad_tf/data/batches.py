"""Streams of examples and batches over the known data sets."""

from __future__ import annotations

import dataclasses
import functools
from typing import Protocol

import tensorflow as tf

from aad_tf.data.arguments import check_at_least, check_choice, check_image_size
from aad_tf.data.augmentation import AUGMENTATIONS
from aad_tf.data.description import SPLITS, DatasetInfo
from aad_tf.data.imagenet import source as imagenet
from aad_tf.data.imagenet.training import StreamedImageNet
from aad_tf.data.sharding.requests import (
    EvaluationRequest,
    PathLike,
    TrainingRequest,
)
from aad_tf.data.sharding.sharing import WHOLE, ReplicaShare
from aad_tf.data.small import digits, tfds_source
from aad_tf.data.small.in_memory import InMemory


class Source(Protocol):
    """Where the examples of a data set come from; gets only what was checked."""

    def info(self, data_dir: PathLike | None) -> DatasetInfo:
        """Describes the copy in a directory."""

    def examples(self, split: str, data_dir: PathLike | None) -> tf.data.Dataset:
        """Single examples in the stored order."""

    def evaluation(self, request: EvaluationRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Each example of a split once, in batches."""

    def training(self, request: TrainingRequest, data_dir: PathLike | None) -> tf.data.Dataset:
        """Endless batches of the training split."""


_SOURCES: dict[str, Source] = {
    "digits": InMemory(lambda _: digits.info(), lambda split, _: digits.examples(split)),
    **{
        name: InMemory(
            functools.partial(tfds_source.info, name),
            functools.partial(tfds_source.examples, name),
        )
        for name in tfds_source.NAMES
    },
    imagenet.NAME: StreamedImageNet(),
}


def available() -> tuple[str, ...]:
    """Returns the names of the known data sets, whether present or not.

    Example:
        >>> aad_tf.data.available()
        ('cifar10', 'digits', 'fashion_mnist', 'imagenet2012', 'mnist', 'tiny_imagenet_boxes')
    """
    return tuple(sorted(_SOURCES))


def info(name: str, data_dir: PathLike | None = None, image_size: int = 0) -> DatasetInfo:
    """Describes a data set without decoding its images.

    Args:
        name: one of `available()`.
        data_dir: a TFDS data directory; None takes the environment variable
            TFDS_DATA_DIR, else "~/tensorflow_datasets". "digits" needs none.
        image_size: side that images are resized to; 0 is the data's own.

    Returns:
        A `DatasetInfo`.

    Raises:
        ValueError: for an unknown name (the message lists the near ones), or an image size that
            is none.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> aad_tf.data.info("digits").num_examples
        {'train': 1297, 'validation': 140, 'test': 360}
    """
    check_image_size(image_size)
    found = _source(name).info(data_dir)
    if not image_size:
        return found
    return dataclasses.replace(found, image_shape=(image_size, image_size, found.image_shape[2]))


def load(name: str, split: str, data_dir: PathLike | None = None) -> tf.data.Dataset:
    """Returns a split as single examples in a fixed order.

    Args:
        name: one of `available()`.
        split: "train", "validation" or "test". The validation split is carved from
            the published training split and shares no example with "train".
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
    source = _source(name)
    check_choice("split", split, SPLITS)
    return source.examples(split, data_dir)


def evaluation_batches(
    name: str,
    split: str,
    batch_size: int,
    data_dir: PathLike | None = None,
    limit: int | None = None,
    *,
    image_size: int = 0,
    share: ReplicaShare = WHOLE,
    start: int = 0,
) -> tf.data.Dataset:
    """Returns each example of a split once, in a fixed order, in batches.

    Args:
        name: one of `available()`.
        split: "train", "validation" or "test".
        batch_size: examples a batch, at least 1. The last batch may be shorter.
        data_dir: as for `info`.
        limit: use only the first `limit` examples; None, or more than there are, is all.
        image_size: side that images are resized to, bilinearly; 0 is the data's own.
        share: replicas to feed, as for `training_batches`; every share has as many elements for
            each replica as another.
        start: leave out so many examples at the beginning of the split; they are never decoded.
            Batches are cut from there on. `limit` counts from the beginning of the split all the
            same: the examples are those of the places `start` to `limit` - 1.

    Returns:
        A finite dataset of (images float32 [batch, height, width, channels] in
        [0, 1], labels int32 [batch]).

    Raises:
        ValueError: for an unknown name or split, a batch size or limit below 1 or below the
            number of replicas, an image size that is none, a start that leaves nothing.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> len(aad_tf.data.evaluation_batches("digits", "test", 100))
        4
    """
    source = _source(name)
    check_choice("split", split, SPLITS)
    check_at_least("batch_size", batch_size, 1)
    if limit is not None:
        check_at_least("limit", limit, 1)
    check_at_least("start", start, 0)
    check_image_size(image_size)
    request = EvaluationRequest(split, batch_size, limit, image_size, share, start)
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
    image_size: int = 0,
    share: ReplicaShare = WHOLE,
    limit: int | None = None,
) -> tf.data.Dataset:
    """Returns an endless stream of training batches that can start anywhere.

    The order of an epoch is a permutation of the whole split that depends on `seed`
    and the epoch's number alone, so the stream from (epoch, step) equals the tail of
    an uninterrupted stream. A data set kept in memory has only its indices shuffled and costs
    nothing to enter anywhere; "imagenet2012" is streamed, see `aad_tf.data.imagenet.training`.

    With a share the stream holds, for every batch, one element for each replica fed, in order,
    as `tf.distribute.Strategy.distribute_datasets_from_function` expects. The elements of all
    replicas, put together, are the batch that one replica alone would get, bit for bit (of a
    data set kept in memory); each worker touches only the images of its own replicas.

    Args:
        name: one of `available()`.
        batch_size: examples a batch of all replicas together, at least 1. The last batch of an
            epoch may be shorter; see `steps_per_epoch`.
        seed: integer from 0 to 2**63 - 1; other seeds give other orders.
        data_dir: as for `info`.
        start_epoch: first epoch, from 0.
        start_step: batches to leave out; a whole epoch's worth moves on to the next.
        augmentation: "none", "flip" (half of the images mirrored), "crop_flip" (a random half
            or more of the picture besides) or "inception" (a random box of 8% or more, mirrored
            or not, brightness and saturation changed); drawn from `seed` and the batch's number
            alone.
        image_size: side that images are resized to, bilinearly; 0 is the data's own.
        share: replicas to feed; by default one replica that gets whole batches.
        limit: an epoch has the first `limit` examples of the split only; None, or more than there
            are, is all.

    Returns:
        An infinite dataset of (images float32 [batch, height, width, channels] in
        [0, 1], labels int32 [batch]).

    Raises:
        ValueError: for an unknown name or augmentation, a batch size or limit below 1 or below the
            number of replicas, fewer examples than replicas, a negative seed or start, an image
            size that is none.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> batches = aad_tf.data.training_batches("digits", batch_size=100, seed=1)
        >>> model.fit(batches, steps_per_epoch=13, epochs=5)
    """
    source = _source(name)
    check_at_least("batch_size", batch_size, 1)
    check_at_least("seed", seed, 0)
    check_at_least("start_epoch", start_epoch, 0)
    check_at_least("start_step", start_step, 0)
    check_choice("augmentation", augmentation, AUGMENTATIONS)
    if limit is not None:
        check_at_least("limit", limit, 1)
    check_image_size(image_size)
    request = TrainingRequest(
        batch_size, seed, start_epoch, start_step, augmentation, image_size, share, limit
    )
    return source.training(request, data_dir)


def _source(name: str) -> Source:
    check_choice("data set", name, available())
    return _SOURCES[name]
