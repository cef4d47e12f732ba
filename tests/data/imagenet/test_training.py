"""ImageNet streamed for training: who reads what, in which order, and where it resumes."""

from __future__ import annotations

import functools
import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data
from aad_tf.data import ReplicaRange, steps_per_epoch
from aad_tf.data.imagenet.training import StreamedImageNet
from aad_tf.data.requests import TrainingRequest
from tests.data.imagenet.imagenet_copies import gradient, jpeg, write_imagenet

# 36 stored training images in files of three, of which the last 3 are for validation.
TRAIN = 33
BATCH = 8
SIZE = 24


@pytest.fixture(scope="module")
def stream(numbered_imagenet):
    """The function that gives the first elements of a stream as arrays."""

    def give(count, batch_size=BATCH, seed=7, root=numbered_imagenet, **options):
        options = {"image_size": SIZE, **options}
        batches = data.training_batches("imagenet2012", batch_size, seed, root, **options)
        return [(x.numpy(), y.numpy()) for x, y in itertools.islice(batches, count)]

    return give


def labels_of(elements):
    return np.concatenate([labels for _, labels in elements]).tolist()


def assert_same(found, expected):
    assert len(found) == len(expected)
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_array_equal(images, expected_images)


# Order --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts_of(stream):
    """The function that gives what each replica is fed, one epoch more than there are replicas."""

    @functools.cache
    def give(batch_size, replicas):
        count = (replicas + 1) * steps_per_epoch(TRAIN, batch_size, replicas)
        fed = [ReplicaRange(replica, 1, replicas) for replica in range(replicas)]
        return [stream(count, batch_size, replica_range=part) for part in fed]

    return give


# Of 33 examples 9 are left for a last batch of 12; of 8 or 32 one is, which joins the batch before.
@pytest.mark.parametrize(("batch_size", "replicas"), [(8, 1), (12, 2), (12, 3), (8, 3), (32, 2)])
def test_every_example_once_an_epoch(parts_of, batch_size, replicas):
    steps = steps_per_epoch(TRAIN, batch_size, replicas)
    parts = parts_of(batch_size, replicas)
    for epoch in range(replicas + 1):
        now = slice(epoch * steps, (epoch + 1) * steps)
        assert sorted(sum((labels_of(part[now]) for part in parts), [])) == list(range(TRAIN))
        sizes = np.transpose([[len(labels) for _, labels in part[now]] for part in parts])
        last = TRAIN - (steps - 1) * batch_size
        whole = [batch_size] * (steps - 1) + [last]
        expected = [[len(one) for one in np.array_split(np.arange(n), replicas)] for n in whole]
        assert sizes.tolist() == expected


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_limited_epoch_is_the_first_examples(stream, replicas):
    steps = steps_per_epoch(13, 4, replicas)
    parts = [
        stream(3 * steps, 4, limit=13, replica_range=ReplicaRange(replica, 1, replicas))
        for replica in range(replicas)
    ]
    for epoch in range(3):
        now = slice(epoch * steps, (epoch + 1) * steps)
        assert sorted(sum((labels_of(part[now]) for part in parts), [])) == list(range(13))


@pytest.mark.parametrize("replicas", [2, 3])
def test_parts_move_on_until_each_replica_has_seen_everything(parts_of, replicas):
    steps = steps_per_epoch(TRAIN, 12, replicas)
    for part in parts_of(12, replicas):
        seen = labels_of(part[: replicas * steps])
        # A part smaller by one leaves an example out.
        assert len(set(seen)) >= TRAIN - (TRAIN % replicas > 0)


def test_orders_differ_between_epochs_and_seeds(stream):
    epochs = stream(10)
    first, second = labels_of(epochs[:5]), labels_of(epochs[5:])
    other = labels_of(stream(5, seed=8))
    for one, another in itertools.combinations((first, second, other, list(range(TRAIN))), 2):
        assert np.mean(np.equal(one, another)) < 0.3
        assert sorted(one) == sorted(another)


def test_seed_alone_decides(stream):
    tf.random.set_seed(1)
    before = stream(3, augmentation="inception")
    tf.random.set_seed(2)
    assert_same(stream(3, augmentation="inception"), before)


def test_a_buffer_mixes_what_files_hold(numbered_imagenet):
    def order(buffer_records):
        source = StreamedImageNet(buffer_records=buffer_records)
        request = TrainingRequest(TRAIN, 7, size=(8, 8))
        return next(iter(source.training(request, numbered_imagenet)))[1].numpy().tolist()

    unmixed, mixed = order(1), order(100)
    assert sorted(unmixed) == sorted(mixed) == list(range(TRAIN))
    # Without a buffer the images of a file still follow one another.
    neighbours = [b - a for a, b in itertools.pairwise(unmixed)]
    assert neighbours.count(1) >= 20
    assert [b - a for a, b in itertools.pairwise(mixed)].count(1) < 8


def test_a_worker_feeds_several_replicas_in_turn(stream):
    singles = [
        stream(6, replica_range=ReplicaRange(r, 1, 3), augmentation="inception") for r in (1, 2)
    ]
    both = stream(12, replica_range=ReplicaRange(1, 2, 3), augmentation="inception")
    assert_same(both[::2], singles[0])
    assert_same(both[1::2], singles[1])


# Resuming -----------------------------------------------------------------------------------


RESUMED = {"augmentation": "inception", "replica_range": ReplicaRange(1, 1, 2)}
# 33 = 4 * 8 + 1: the last example joins the fourth batch.
STEPS = 4


@pytest.fixture(scope="module")
def whole(stream):
    """From the beginning into the fourth epoch."""
    assert steps_per_epoch(TRAIN, BATCH, 2) == STEPS
    return stream(4 * STEPS + 2, **RESUMED)


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (0, 4), (2, 3), (0, 11)])
def test_stream_resumes_anywhere(stream, whole, epoch, step):
    first = epoch * STEPS + step
    later = stream(3, start_epoch=epoch, start_step=step, **RESUMED)
    assert_same(later, whole[first : first + 3])


def test_what_is_skipped_is_not_decoded(stream, numbered_imagenet, tmp_path):
    order = stream(4)
    broken = int(order[1][1][0])
    images = [(jpeg(gradient(index)), index, f"{index}.JPEG") for index in range(36)]
    images[broken] = (images[broken][0][:40], broken, "broken.JPEG")
    root = write_imagenet(
        tmp_path,
        {"train": images, "validation": images[:1]},
        data.info("imagenet2012", numbered_imagenet).class_names,
    )
    later = stream(2, root=root, start_step=2)
    assert labels_of(later) == labels_of(order[2:4])
    with pytest.raises(tf.errors.InvalidArgumentError):
        stream(1, root=root, start_step=1)


# Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("replica", [0, 1])
def test_a_worker_opens_the_files_of_its_part_alone(numbered_imagenet, tmp_path, replica):
    root = shutil.copytree(numbered_imagenet, tmp_path / "copy")
    fed = ReplicaRange(replica, 1, 2)
    batches = data.training_batches("imagenet2012", BATCH, 7, root, image_size=8, replica_range=fed)
    # The first replica has the examples 0 to 16, in the files 0 to 5 of twelve.
    others = {0: slice(6, 12), 1: slice(0, 5)}[replica]
    files = sorted(root.glob("imagenet2012/*/*-train.tfrecord*"))
    assert len(files) == 12
    for path in files[others]:
        path.unlink()
    found = labels_of([(None, y.numpy()) for _, y in itertools.islice(batches, 4)])
    assert sorted(found) == [list(range(17)), list(range(17, 33))][replica]


# Images -----------------------------------------------------------------------------------


def test_training_on_images_as_they_are_evaluated(stream, numbered_imagenet):
    held = dict(
        zip(range(TRAIN), data.load("imagenet2012", "train", numbered_imagenet), strict=True)
    )
    (images, labels), *_ = stream(1, image_size=0)
    assert images.shape == (BATCH, 299, 299, 3)
    for image, label in zip(images, labels, strict=True):
        np.testing.assert_array_equal(image, held[int(label)][0])


def test_inception_crops_differ_from_epoch_to_epoch(stream):
    seen = [
        dict(zip(labels.tolist(), images, strict=True))
        for images, labels in stream(2, batch_size=TRAIN, augmentation="inception")
    ]
    for image, other in ((seen[0][label], seen[1][label]) for label in range(TRAIN)):
        assert image.shape == (SIZE, SIZE, 3)
        assert np.abs(image - other).max() > 0.01
        assert image.min() >= 0 and image.max() <= 1


def test_every_augmentation_of_central_images(stream):
    plain = dict(zip(*reversed(stream(1, image_size=24)[0]), strict=True))
    flipped = stream(1, image_size=24, augmentation="flip")[0]
    mirrored = [
        np.array_equal(image, plain[label][:, ::-1]) and not np.array_equal(image, plain[label])
        for image, label in zip(*flipped, strict=True)
    ]
    kept = [np.array_equal(image, plain[label]) for image, label in zip(*flipped, strict=True)]
    assert all(np.logical_xor(mirrored, kept)) and any(mirrored) and any(kept)
    assert stream(1, augmentation="crop_flip")[0][0].shape == (BATCH, SIZE, SIZE, 3)
