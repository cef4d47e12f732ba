"""Order, resumption and bad requests, on the embedded digits."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data

# ceil(1297 / 500): batches of 500, 500 and 297.
STEPS = 3


def take(dataset, count):
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(dataset, count)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def stream(seed=7, **options):
    return data.training_batches("digits", 500, seed, **options)


@pytest.fixture(scope="module")
def whole():
    """Four epochs from the beginning."""
    return take(stream(), 4 * STEPS)


def test_available():
    small = ("cifar10", "cifar100", "digits", "fashion_mnist", "mnist")
    larger = ("imagenet2012", "tiny_imagenet_100", "tiny_imagenet_boxes")
    parts = (f"tiny_imagenet_{kind}{n}" for kind in ("", "spread_") for n in (10, 20, 50))
    assert data.available() == tuple(sorted((*small, *larger, *parts)))


def test_load_and_evaluation_batches_agree_in_order():
    single = take(data.load("digits", "test"), 400)
    batches = take(data.evaluation_batches("digits", "test", 100), 10)
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 60]
    np.testing.assert_array_equal(
        np.stack([image for image, _ in single]), np.concatenate([x for x, _ in batches])
    )
    np.testing.assert_array_equal(
        np.stack([label for _, label in single]), np.concatenate([y for _, y in batches])
    )


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1]), (100, [100]), (150, [100, 50]), (1000, [100, 100, 100, 60])]
)
def test_limit_takes_the_first_examples(limit, sizes):
    limited = take(data.evaluation_batches("digits", "test", 100, limit=limit), 10)
    assert [len(labels) for _, labels in limited] == sizes
    every = take(data.evaluation_batches("digits", "test", 360), 1)[0][1]
    np.testing.assert_array_equal(np.concatenate([y for _, y in limited]), every[:limit])


@pytest.mark.parametrize(("start", "limit"), [(0, None), (100, None), (200, 330), (300, 1000)])
def test_a_start_leaves_batches_out(start, limit):
    whole = data.evaluation_batches("digits", "test", 100, limit=limit)
    later = data.evaluation_batches("digits", "test", 100, limit=limit, start=start)
    assert len(later) == len(whole) - start // 100
    assert_same(take(later, 10), take(whole.skip(start // 100), 10))


def test_a_start_within_a_batch_begins_a_new_one():
    every = take(data.evaluation_batches("digits", "test", 360), 1)[0]
    later = take(data.evaluation_batches("digits", "test", 100, start=30, limit=250), 10)
    assert [len(labels) for _, labels in later] == [100, 100, 20]
    for part in (0, 1):
        found = np.concatenate([batch[part] for batch in later])
        np.testing.assert_array_equal(found, every[part][30:250])


def test_element_specs_leave_the_batch_open():
    for dataset in (stream(), data.evaluation_batches("digits", "test", 100)):
        images, labels = dataset.element_spec
        assert images == tf.TensorSpec((None, 28, 28, 1), tf.float32)
        assert labels == tf.TensorSpec((None,), tf.int32)


def test_training_keeps_the_last_short_batch(whole):
    assert [len(labels) for _, labels in whole] == [500, 500, 297] * 4


def test_every_epoch_is_a_permutation_of_the_split(whole):
    expected = np.stack([x for x, _ in take(data.load("digits", "train"), 2000)])
    expected = np.sort(expected.reshape(1297, -1).sum(axis=1, dtype="float64"))
    for epoch in (whole[:STEPS], whole[STEPS : 2 * STEPS]):
        images = np.concatenate([x for x, _ in epoch]).reshape(1297, -1)
        np.testing.assert_allclose(np.sort(images.sum(axis=1, dtype="float64")), expected)


def test_epochs_and_seeds_give_different_orders(whole):
    first, second = np.split(np.concatenate([y for _, y in whole[: 2 * STEPS]]), 2)
    other = np.concatenate([y for _, y in take(stream(seed=8), STEPS)])
    stored = np.array([y for _, y in take(data.load("digits", "train"), 1297)])
    for one, another in itertools.combinations((first, second, other, stored), 2):
        # Two unrelated orders agree at one index in ten.
        assert np.mean(one == another) < 0.2


def test_same_seed_gives_the_same_stream(whole):
    assert_same(take(stream(), 2 * STEPS), whole[: 2 * STEPS])


def test_order_is_part_of_a_runs_record():
    # Written down once: a change here means that runs no longer resume as they began.
    labels = take(data.training_batches("digits", 12, seed=0), 1)[0][1]
    assert labels.tolist() == [6, 0, 2, 9, 7, 9, 3, 2, 9, 5, 3, 9]


@pytest.mark.parametrize(
    ("epoch", "step"), [(0, 0), (0, 1), (0, 2), (1, 0), (2, 1), (2, 2), (0, 3), (0, 7), (1, 4)]
)
def test_stream_resumes_anywhere(whole, epoch, step):
    resumed = stream(start_epoch=epoch, start_step=step)
    expected = whole[epoch * STEPS + step :]
    assert_same(take(resumed, len(expected)), expected)


@pytest.mark.parametrize("limit", [1, 8, 20])
def test_each_limited_epoch_is_the_first_examples(limit):
    steps = data.steps_per_epoch(limit, 8)
    expected = sorted(x.tobytes() for x, _ in take(data.load("digits", "train"), limit))
    batches = take(data.training_batches("digits", 8, 3, limit=limit), 3 * steps)
    for epoch in range(3):
        now = [x for images, _ in batches[epoch * steps : (epoch + 1) * steps] for x in images]
        assert sorted(image.tobytes() for image in now) == expected
    later = data.training_batches("digits", 8, 3, limit=limit, start_epoch=1, start_step=1)
    assert_same(take(later, 2 * steps - 1), batches[steps + 1 :])


def test_a_limit_beyond_the_split_is_none(whole):
    assert_same(take(stream(limit=5000), 2), whole[:2])


def test_global_random_seed_does_not_matter():
    tf.random.set_seed(1)
    before = take(stream(), 1)
    tf.random.set_seed(2)
    assert_same(take(stream(), 1), before)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda: data.info("mnits"), "Unknown data set 'mnits'. Did you mean 'mnist'"),
        (lambda: data.load("digit", "test"), "Unknown data set 'digit'. Did you mean 'digits'?"),
        (lambda: data.load("digits", "valid"), "Unknown split 'valid'. Did you mean 'validation'?"),
        (lambda: data.load("digits", "dev"), "Known: test, train, validation"),
        (lambda: stream(start_epoch=-1), "start_epoch must be at least 0, got -1"),
        (lambda: stream(start_step=-2), "start_step must be at least 0, got -2"),
        (lambda: stream(limit=0), "limit must be at least 1, got 0"),
        (lambda: stream(limit=2.0), "limit must be an integer, got 2.0"),
        (lambda: stream(seed=1.5), "seed must be an integer, got 1.5"),
        (lambda: stream(seed=-1), "seed must be at least 0, got -1"),
        (lambda: stream(seed=2**63), "seed must be at most 9223372036854775807"),
        (
            lambda: data.training_batches("digits", 0, 1),
            "batch_size must be at least 1, got 0",
        ),
        (
            lambda: data.evaluation_batches("digits", "test", 2.0),
            "batch_size must be an integer, got 2.0",
        ),
        (
            lambda: data.evaluation_batches("digits", "test", 10, limit=0),
            "limit must be at least 1, got 0",
        ),
        (
            lambda: data.evaluation_batches("digits", "test", 10, start=-1),
            "start must be at least 0, got -1",
        ),
        (
            lambda: data.evaluation_batches("digits", "test", 10, start=360),
            "start is 360, but there are 360 examples",
        ),
        (
            lambda: data.evaluation_batches("digits", "test", 10, limit=20, start=20),
            "start is 20, but there are 20 examples",
        ),
    ],
)
def test_bad_requests(request_, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        request_()
