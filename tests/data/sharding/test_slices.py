"""Replicas share a stream: together they see what one alone would, bit for bit."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from aad_tf import data
from aad_tf.data import ReplicaRange, steps_per_epoch
from aad_tf.data.sharding.slices import SlicedEpoch, replica_parts

# 1297 digits in batches of 433: 433, 433, 431.
BATCH, STEPS = 433, 3


def take(dataset, count):
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(dataset, count)]


def stream(count, batch_size=BATCH, **options):
    return take(data.training_batches("digits", batch_size, 7, **options), count)


def together(parts):
    """What the replicas have, one after the other, by step."""
    return [
        tuple(np.concatenate(one) for one in zip(*elements, strict=True))
        for elements in zip(*parts, strict=True)
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for values, expected_values in zip(one, other, strict=True):
            np.testing.assert_array_equal(values, expected_values)


# Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("examples", "batch_size", "replicas", "steps"),
    [
        (1297, 500, 1, 3),
        (1000, 500, 1, 2),
        (3, 500, 1, 1),
        (3, 500, 3, 1),
        # One example is left over: it joins the batch before if there are two replicas.
        (1001, 500, 1, 3),
        (1001, 500, 2, 2),
        (1002, 500, 2, 3),
        (1002, 500, 3, 2),
        (10, 4, 4, 2),
        (5, 5, 5, 1),
        (9, 5, 5, 1),
    ],
)
def test_steps_by_hand(examples, batch_size, replicas, steps):
    found = steps_per_epoch(examples, batch_size, replicas)
    assert found == steps and type(found) is int


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5), "num_examples must be at least 1, got 0"),
        ((5, 0), "batch_size must be at least 1, got 0"),
        ((5, 5, 0), "replicas must be at least 1, got 0"),
        ((5, 2.0), "batch_size must be an integer, got 2.0"),
        ((10, 2, 3), "batch_size counts the examples of all replicas: 2 cannot be cut into 3"),
        ((2, 5, 3), "2 examples are too few for 3 replicas"),
    ],
)
def test_steps_that_cannot_be(arguments, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        steps_per_epoch(*arguments)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1, 1, 1), "first must be at least 0, got -1"),
        ((0, 0, 1), "count must be at least 1, got 0"),
        ((0, 1, True), "total must be an integer, got True"),
        ((1, 2, 2), "must be among the 2 there are, got 2 from number 1 on"),
    ],
)
def test_replicas_that_cannot_be(values, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        ReplicaRange(*values)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 6))
def test_batches_and_slices_make_up_the_epoch_as_numpy_cuts_it(examples, batch_size, replicas):
    batch_size, examples = batch_size + replicas, examples + replicas
    epoch = SlicedEpoch(examples, batch_size, ReplicaRange(0, replicas, replicas))
    starts = np.arange(1, epoch.steps) * batch_size
    batches = np.split(np.arange(examples), starts)
    assert replicas <= len(batches[-1]) < batch_size + replicas
    expected = [part for batch in batches for part in np.array_split(batch, replicas)]
    elements = tf.range(epoch.steps * replicas, dtype=tf.int64)
    found = epoch.slice_of(elements)
    assert found.indices.start.numpy().tolist() == [part[0] for part in expected]
    assert found.indices.stop.numpy().tolist() == [part[-1] + 1 for part in expected]
    sizes = [len(batch) for batch in batches for _ in range(replicas)]
    assert found.batch_size.numpy().tolist() == sizes
    members = np.repeat(elements, [len(part) for part in expected])
    indices = tf.range(examples, dtype=tf.int64)
    assert epoch.element_at(indices).numpy().tolist() == members.tolist()
    # A worker that feeds the last replica alone is given that one's slices.
    last = SlicedEpoch(examples, batch_size, ReplicaRange(replicas - 1, 1, replicas))
    theirs = np.where(members % replicas == replicas - 1, members // replicas, -1)
    assert last.element_at(indices).numpy().tolist() == theirs.tolist()
    sizes = [len(part) for part in expected[replicas - 1 :: replicas]]
    assert last.slice_of(tf.range(epoch.steps, dtype=tf.int64)).size.numpy().tolist() == sizes


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 6))
def test_parts_hold_what_the_slices_take(examples, batch_size, replicas):
    batch_size, examples = batch_size + replicas, examples + replicas
    parts = [replica_parts(examples, batch_size, r, replicas) for r in range(replicas)]
    for epoch in range(replicas):
        now = sorted(part[epoch] for part in parts)
        assert [index for one in now for index in range(*one)] == list(range(examples))
    sizes = {stop - start for part in parts for start, stop in part}
    if batch_size % replicas == 0:
        assert sizes <= {examples // replicas, -(-examples // replicas)}


def test_parts_move_on_with_the_epoch():
    assert replica_parts(11, 4, 0, 2) == [(0, 6), (5, 11)]
    assert replica_parts(11, 4, 1, 2) == [(6, 11), (0, 5)]
    assert replica_parts(12, 3, 1, 3) == [(4, 8), (8, 12), (0, 4)]


# Training -----------------------------------------------------------------------------------


# Augmentation goes by the example, however many replicas there are.
@pytest.mark.parametrize(
    ("augmentation", "totals"),
    [("none", (1, 2, 3)), ("crop_flip", (3,)), ("shift_flip", (3,)), ("inception", (3,))],
)
def test_slices_together_are_the_whole_stream(augmentation, totals):
    options = {"augmentation": augmentation, "image_size": 20 if augmentation != "none" else 0}
    whole = stream(STEPS + 1, **options)
    assert [len(labels) for _, labels in whole] == [433, 433, 431, 433]
    for total in totals:
        parts = [
            stream(STEPS + 1, replica_range=ReplicaRange(replica, 1, total), **options)
            for replica in range(total)
        ]
        assert_same(together(parts), whole)
        sizes = [[len(labels) for _, labels in part[:3]] for part in parts]
        expected = [[len(p) for p in np.array_split(np.arange(n), total)] for n in (433, 433, 431)]
        assert sizes == np.transpose(expected).tolist()


def test_a_worker_feeds_several_replicas_in_turn():
    singles = [stream(4, replica_range=ReplicaRange(replica, 1, 3)) for replica in (1, 2)]
    both = stream(8, replica_range=ReplicaRange(1, 2, 3))
    assert_same(both[::2], singles[0])
    assert_same(both[1::2], singles[1])


def test_a_last_batch_too_small_joins_the_one_before():
    # 1297 = 2 * 648 + 1.
    whole = stream(6, batch_size=648, augmentation="flip")
    parts = [
        stream(4, batch_size=648, augmentation="flip", replica_range=ReplicaRange(replica, 1, 2))
        for replica in range(2)
    ]
    joined = together(parts)
    assert [len(labels) for _, labels in joined] == [648, 649, 648, 649]
    assert [len(labels) for _, labels in parts[0]] == [324, 325, 324, 325]
    # Nothing but the joined batches is drawn again, in this epoch and the next.
    assert_same([joined[0], joined[2]], [whole[0], whole[3]])
    for epoch in (0, 1):
        labels = [np.concatenate([y for _, y in whole[3 * epoch + 1 : 3 * epoch + 3]])]
        np.testing.assert_array_equal(joined[2 * epoch + 1][1], labels[0])


RESUMED = {"augmentation": "crop_flip", "replica_range": ReplicaRange(1, 2, 3)}


@pytest.fixture(scope="module")
def three_epochs():
    """What the second and the third of three replicas are given."""
    return stream(2 * 3 * STEPS, **RESUMED)


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (1, 0), (1, 2), (0, 4)])
def test_slices_resume_anywhere(three_epochs, epoch, step):
    first = 2 * (epoch * STEPS + step)
    later = stream(4, start_epoch=epoch, start_step=step, **RESUMED)
    assert_same(later, three_epochs[first : first + 4])


def test_batches_that_cannot_be_cut():
    with pytest.raises(ValueError, match="2 cannot be cut into 3 slices"):
        stream(1, batch_size=2, replica_range=ReplicaRange(0, 1, 3))
    with pytest.raises(ValueError, match="1297 examples are too few for 1300 replicas"):
        stream(1, batch_size=2000, replica_range=ReplicaRange(0, 1, 1300))
    with pytest.raises(ValueError, match="2 examples are too few for 3 replicas"):
        stream(1, batch_size=8, limit=2, replica_range=ReplicaRange(0, 1, 3))
    with pytest.raises(ValueError, match="2 examples are too few for 3 replicas"):
        data.evaluation_batches("digits", "test", 5, limit=2, replica_range=ReplicaRange(0, 1, 3))


# Evaluation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "limit", "start"), [(1, None, 0), (2, None, 0), (3, None, 100), (2, 201, 0)]
)
def test_evaluation_is_cut_alike(total, limit, start):
    def batches(fed):
        return data.evaluation_batches(
            "digits", "test", 100, limit=limit, replica_range=fed, start=start
        )

    whole = take(batches(ReplicaRange()), 10)
    parts = [take(batches(ReplicaRange(r, 1, total)), 10) for r in range(total)]
    assert len({len(part) for part in parts}) == 1
    assert {len(batches(ReplicaRange(r, 1, total))) for r in range(total)} == {len(parts[0])}
    if limit:
        # 100, 100 and 1: the last joins.
        assert [len(labels) for _, labels in parts[0]] == [50, 51]
        whole = [whole[0], tuple(np.concatenate(one) for one in zip(*whole[1:], strict=True))]
    assert_same(together(parts), whole)


def test_evaluation_of_several_replicas_at_once():
    singles = [
        take(data.evaluation_batches("digits", "test", 100, replica_range=ReplicaRange(r, 1, 2)), 9)
        for r in range(2)
    ]
    both = take(
        data.evaluation_batches("digits", "test", 100, replica_range=ReplicaRange(0, 2, 2)), 9
    )
    assert_same(both, [element for pair in zip(*singles, strict=True) for element in pair])
