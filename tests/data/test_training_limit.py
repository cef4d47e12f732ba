"""Training on the first examples of a split alone: each epoch has all of them and no other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from aad_tf import data
from aad_tf.data import ReplicaSlice, steps_per_epoch


def take(dataset, count):
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(dataset, count)]


def digits(count, limit, **options):
    return take(data.training_batches("digits", 8, 3, limit=limit, **options), count)


def rows(batches):
    """All images of some batches, sorted, a row per image."""
    images = np.concatenate([images for images, _ in batches])
    return np.unique(images.reshape(len(images), -1), axis=0)


@pytest.mark.parametrize("limit", [1, 8, 20])
def test_each_epoch_is_the_first_examples(limit):
    steps = steps_per_epoch(limit, 8)
    expected = take(data.load("digits", "train"), limit)
    images = np.stack([image for image, _ in expected])
    batches = digits(3 * steps, limit)
    for epoch in range(3):
        now = batches[epoch * steps : (epoch + 1) * steps]
        assert sum(len(labels) for _, labels in now) == limit
        np.testing.assert_array_equal(rows(now), rows([(images, None)]))
        labels = np.concatenate([labels for _, labels in now])
        assert sorted(labels) == sorted(label for _, label in expected)


def test_orders_differ_between_epochs():
    batches = digits(6, 20)
    labels = [np.concatenate([y for _, y in batches[n : n + 3]]).tolist() for n in (0, 3)]
    assert labels[0] != labels[1]


@pytest.mark.parametrize("replicas", [2, 3])
def test_shares_together_are_the_whole(replicas):
    # 20 = 2 * 8 + 4.
    whole = digits(7, 20, augmentation="crop_flip")
    parts = [
        digits(7, 20, augmentation="crop_flip", replica_slice=ReplicaSlice(replica, 1, replicas))
        for replica in range(replicas)
    ]
    for (images, labels), *elements in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([x for x, _ in elements]), images)
        np.testing.assert_array_equal(np.concatenate([y for _, y in elements]), labels)


def test_a_limited_stream_resumes():
    whole = digits(7, 20)
    later = digits(3, 20, start_epoch=1, start_step=1)
    for (images, labels), (expected, expected_labels) in zip(later, whole[4:], strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, expected_labels)


def test_more_than_there_are_is_all():
    for (images, _), (expected, _) in zip(digits(2, 5000), digits(2, None), strict=True):
        np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("replicas", [1, 2])
def test_streamed_examples_are_the_first_too(numbered_imagenet, replicas):
    # The labels of this copy number its images.
    steps = steps_per_epoch(13, 4, replicas)
    options = {"image_size": 24, "limit": 13}
    parts = []
    for replica in range(replicas):
        fed = ReplicaSlice(replica, 1, replicas)
        batches = data.training_batches(
            "imagenet2012", 4, 3, numbered_imagenet, replica_slice=fed, **options
        )
        parts.append(take(batches, 3 * steps))
    for epoch in range(3):
        now = slice(epoch * steps, (epoch + 1) * steps)
        labels = np.concatenate([labels for part in parts for _, labels in part[now]])
        assert sorted(labels.tolist()) == list(range(13))


@pytest.mark.parametrize("limit", [0, -1, 2.0])
def test_limits_that_cannot_be(limit):
    with pytest.raises((TypeError, ValueError), match="limit must be (at least 1|an integer), got"):
        data.training_batches("digits", 8, 3, limit=limit)


def test_fewer_examples_than_replicas():
    with pytest.raises(ValueError, match="2 examples are too few for 3 replicas"):
        data.training_batches("digits", 8, 3, limit=2, replica_slice=ReplicaSlice(0, 1, 3))
