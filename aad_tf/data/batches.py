"""Streams of examples and batches over the known data sets."""

from __future__ import annotations

import difflib
import os
from numbers import Integral

import tensorflow as tf

from aad_tf.data import digits, tfds_source
from aad_tf.data.augmentation import AUGMENTATIONS, augmented
from aad_tf.data.description import SPLITS, DatasetInfo

PathLike = str | os.PathLike[str]


def available() -> tuple[str, ...]:
    """Returns the names of the known data sets, whether present or not.

    Example:
        >>> aad_tf.data.available()
        ('cifar10', 'digits', 'fashion_mnist', 'mnist', 'tiny_imagenet_boxes')
    """
    return tuple(sorted(("digits", *tfds_source.NAMES)))


def info(name: str, data_dir: PathLike | None = None) -> DatasetInfo:
    """Describes a data set without decoding its images.

    Args:
        name: one of `available()`.
        data_dir: a TFDS data directory; None takes the environment variable
            TFDS_DATA_DIR, else "~/tensorflow_datasets". "digits" needs none.

    Returns:
        A `DatasetInfo`.

    Raises:
        ValueError: for an unknown name; the message lists the near ones.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> aad_tf.data.info("digits").num_examples
        {'train': 1297, 'validation': 140, 'test': 360}
    """
    _check_choice("data set", name, available())
    return digits.info() if name == "digits" else tfds_source.info(name, data_dir)


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
    images, labels = _examples(name, split, data_dir)
    return tf.data.Dataset.from_tensor_slices((images, labels)).map(_in_unit_range)


def evaluation_batches(
    name: str,
    split: str,
    batch_size: int,
    data_dir: PathLike | None = None,
    limit: int | None = None,
) -> tf.data.Dataset:
    """Returns each example of a split once, in a fixed order, in batches.

    Args:
        name: one of `available()`.
        split: "train", "validation" or "test".
        batch_size: examples a batch, at least 1. The last batch may be shorter.
        data_dir: as for `info`.
        limit: use only the first `limit` examples; None, or more than there are, is all.

    Returns:
        A finite dataset of (images float32 [batch, height, width, channels] in
        [0, 1], labels int32 [batch]).

    Raises:
        ValueError: for an unknown name or split, a batch size or limit below 1.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> len(aad_tf.data.evaluation_batches("digits", "test", 100))
        4
    """
    _check_at_least("batch_size", batch_size, 1)
    if limit is not None:
        _check_at_least("limit", limit, 1)
    images, labels = _examples(name, split, data_dir)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    if limit is not None:
        dataset = dataset.take(limit)
    return dataset.batch(batch_size).map(_in_unit_range).prefetch(tf.data.AUTOTUNE)


def training_batches(
    name: str,
    batch_size: int,
    seed: int,
    data_dir: PathLike | None = None,
    start_epoch: int = 0,
    start_step: int = 0,
    augmentation: str = "none",
) -> tf.data.Dataset:
    """Returns an endless stream of training batches that can start anywhere.

    The order of an epoch is a permutation of the whole split that depends on `seed`
    and the epoch's number alone, so the stream from (epoch, step) equals the tail of
    an uninterrupted stream and costs nothing to reach. Only indices are shuffled.

    Args:
        name: one of `available()`.
        batch_size: examples a batch, at least 1. The last batch of an epoch may be
            shorter; an epoch has ceil(examples / batch_size) batches.
        seed: integer from 0 to 2**63 - 1; other seeds give other orders.
        data_dir: as for `info`.
        start_epoch: first epoch, from 0.
        start_step: batches to leave out; a whole epoch's worth moves on to the next.
        augmentation: "none", "flip" (half of the images mirrored), or "crop_flip" (a random half
            or more of the picture besides); drawn from `seed` and the batch's number alone.

    Returns:
        An infinite dataset of (images float32 [batch, height, width, channels] in
        [0, 1], labels int32 [batch]).

    Raises:
        ValueError: for an unknown name, a batch size below 1, a negative seed or start.
        DatasetNotFoundError: if the directory does not hold the data set.

    Example:
        >>> batches = aad_tf.data.training_batches("digits", batch_size=100, seed=1)
        >>> model.fit(batches, steps_per_epoch=13, epochs=5)
    """
    _check_at_least("batch_size", batch_size, 1)
    _check_at_least("seed", seed, 0)
    _check_at_least("start_epoch", start_epoch, 0)
    _check_at_least("start_step", start_step, 0)
    _check_choice("augmentation", augmentation, AUGMENTATIONS)
    images, labels = _examples(name, "train", data_dir)
    count = len(labels)
    steps = -(-count // batch_size)
    first_epoch = start_epoch + start_step // steps
    first_step = start_step % steps
    seed = tf.constant(seed, tf.int64)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([seed, epoch]), alg="philox"
        )
        step = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
        numbers = tf.data.Dataset.range(epoch * steps + step, (epoch + 1) * steps)
        batches = tf.data.Dataset.from_tensor_slices(order[step * batch_size :])
        return tf.data.Dataset.zip(numbers, batches.batch(batch_size))

    def gather(number: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pictures, answers = _in_unit_range(tf.gather(images, chosen), tf.gather(labels, chosen))
        own = tf.random.experimental.stateless_fold_in(tf.stack([seed, 1]), number)
        return augmented(pictures, augmentation, own), answers

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return epochs.flat_map(epoch_batches).map(gather).prefetch(tf.data.AUTOTUNE)


def _examples(name: str, split: str, data_dir: PathLike | None) -> tuple[tf.Tensor, tf.Tensor]:
    _check_choice("data set", name, available())
    _check_choice("split", split, SPLITS)
    if name == "digits":
        return digits.examples(split)
    return tfds_source.examples(name, split, data_dir)


def _in_unit_range(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    if images.dtype == tf.uint8:
        images = tf.cast(images, tf.float32) / 255.0
    return images, labels


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"Unknown {what} {value!r}.{hint} Available: {', '.join(choices)}.")


def _check_at_least(what: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{what} must be an integer of at least {least}, got {value!r}.")
