"""Every complaint says what was expected, what came, and what to do."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.types import Bounds
from aad_tf.utils import checks

SHAPE = (4, 4, 1)
GOOD = np.full((2, *SHAPE), 0.5, np.float32)
NOT_A_NUMBER = GOOD.copy()
NOT_A_NUMBER[1, 2, 3, 0] = np.nan


def images_of(images, bounds=Bounds(), shape=SHAPE, dtype=tf.float32):
    return checks.check_images(images, bounds=bounds, image_shape=shape, dtype=dtype)


def labels_of(labels):
    return checks.check_labels(labels, batch_size=2, num_classes=3)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (GOOD * 400, ValueError, r"must lie in \[0.0, 1.0\], got \[200, 200\].*divide by 255"),
        (GOOD - 0.75, ValueError, r"got \[-0.25, -0.25\]. Rescale them"),
        (GOOD + 0.6, ValueError, r"got \[1.1, 1.1\]. Rescale them, or give .* other bounds"),
        ((GOOD * 255).astype(np.uint8), TypeError, "floating point in .*got dtype uint8.*/ 255"),
        (GOOD > 0, TypeError, "got dtype bool"),
        (NOT_A_NUMBER, ValueError, "hold NaN or infinity"),
        (GOOD * np.inf, ValueError, "hold NaN or infinity"),
        (GOOD[0], ValueError, r"rank 4.*got shape \(4, 4, 1\).*images\[None\]"),
        (GOOD[..., 0], ValueError, r"rank 4.*got shape \(2, 4, 4\).*images\[..., None\]"),
        (GOOD[:0], ValueError, "no examples"),
        (GOOD[:, :3], ValueError, r"shape \[batch, 4, 4, 1\], got \(2, 3, 4, 1\). Resize"),
        (np.repeat(GOOD, 3, axis=-1), ValueError, r"got \(2, 4, 4, 3\)"),
    ],
)
def test_bad_images(images, error, message):
    with pytest.raises(error, match=message):
        images_of(images)


def test_good_images_take_the_dtype_asked_for():
    assert images_of(GOOD.astype(np.float64)).dtype == tf.float32
    assert images_of(GOOD, dtype=tf.float64).dtype == tf.float64
    assert images_of(GOOD.tolist()).shape == (2, *SHAPE)


def test_rounding_beyond_a_bound_is_accepted():
    images_of(np.full((1, *SHAPE), 1.0 + 5e-5, np.float32))


def test_open_sizes_match_anything():
    assert images_of(GOOD, shape=(None, None, 1)).shape == (2, *SHAPE)


def test_bounds_of_the_classifier_count():
    assert images_of(GOOD * 255, bounds=Bounds(0.0, 255.0)).shape == (2, *SHAPE)
    with pytest.raises(ValueError, match=r"\[-1.0, 0.0\], got \[0.5, 0.5\]"):
        images_of(GOOD, bounds=Bounds(-1.0, 0.0))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0.0, 1.0], TypeError, "must be integers .*got dtype float64.*tf.cast"),
        ([True, False], TypeError, "got dtype bool"),
        (np.eye(3, dtype=int)[:2], ValueError, r"got shape \(2, 3\).*one-hot.*tf.argmax"),
        (1, ValueError, r"shape \[batch\], got shape \(\)"),
        ([0, 1, 2], ValueError, r"one entry per image \(2\), got 3"),
        ([0, 3], ValueError, r"in \[0, 3\), got \[0, 3\].*3 classes.*belong together"),
        ([-1, 0], ValueError, r"got \[-1, 0\]"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        labels_of(labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_good_labels_become_int32(dtype):
    labels = labels_of(np.array([0, 2], dtype))
    assert labels.dtype == tf.int32
    assert labels.numpy().tolist() == [0, 2]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (8, ValueError, r"epsilon must be in \[0, 1\].*got 8. Was 8/255 = 0.03137 meant\?"),
        (1.0001, ValueError, "Was 1.0001/255"),
        (-0.1, ValueError, r"in \[0, 1\], got -0.1"),
        (float("nan"), ValueError, "got nan"),
        ("0.1", TypeError, "must be a number in .* got '0.1'"),
        (True, TypeError, "got True"),
        (None, TypeError, "got None"),
    ],
)
def test_bad_epsilon(value, error, message):
    with pytest.raises(error, match=message):
        checks.check_epsilon(value)


@pytest.mark.parametrize("value", [0, 0.0, 1, 0.3, np.float32(0.25), np.int64(1)])
def test_good_epsilon(value):
    assert checks.check_epsilon(value) == float(value)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-3, ValueError, "num_steps must be at least 1, got -3"),
        (0, ValueError, "at least 1, got 0"),
        (2.0, TypeError, "must be an integer, got 2.0"),
        (True, TypeError, "got True"),
    ],
)
def test_bad_count(value, error, message):
    with pytest.raises(error, match=message):
        checks.check_count(value, "num_steps")


def test_near_names_come_first():
    sentence = checks.near_names("mean", {"batch_mean", "means", "top"})
    assert sentence == " Did you mean 'means' or 'batch_mean'? Known: batch_mean, means, top."
    assert checks.near_names("qqq", ["b", "a"]) == " Known: a, b."


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bad", [GOOD * 400, NOT_A_NUMBER, GOOD - 1])
def test_image_range_is_asserted_inside_graphs_too(bad, compiled):
    check = lambda images: checks.assert_image_range(images, Bounds())  # noqa: E731
    check = tf.function(check) if compiled else check
    np.testing.assert_array_equal(check(tf.constant(GOOD)), GOOD)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"finite and in \[0.0, 1.0\].*255"):
        check(tf.constant(bad))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bad", [[0, 3], [-1, 2], [0.5, 1.0]])
def test_labels_are_asserted_inside_graphs_too(bad, compiled):
    check = lambda labels: checks.assert_known_labels(labels, 3)  # noqa: E731
    check = tf.function(check) if compiled else check
    assert check(tf.constant([0.0, 2.0])).numpy().tolist() == [0, 2]
    assert check(tf.constant([True, False])).dtype == tf.int32
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"whole numbers in \[0, 3\)"):
        check(tf.constant(bad))


def test_symbolic_shapes_are_checked_as_far_as_known():
    def trace(image_shape, label_shape):
        def check(images, labels):
            checks.check_image_shape(images, SHAPE)
            checks.check_label_rank(labels)

        specs = [tf.TensorSpec(image_shape, tf.float32), tf.TensorSpec(label_shape, tf.int32)]
        tf.function(check, autograph=False).get_concrete_function(*specs)

    trace(None, None)
    trace((None, *SHAPE), (None,))
    trace((None, None, None, 1), (None,))
    with pytest.raises(ValueError, match="must have rank 4"):
        trace((None, 4, 4), (None,))
    with pytest.raises(ValueError, match=r"must have shape \[batch, 4, 4, 1\]"):
        trace((None, None, None, 3), (None,))
    with pytest.raises(ValueError, match="one-hot"):
        trace((None, *SHAPE), (None, 3))


def test_a_choice_is_returned():
    assert checks.check_choice("mean", ("mean", "sum"), "reduction") == "mean"
    assert checks.check_choice("b", {"a": 1, "b": 2}, "letter") == "b"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("maen", r"Unknown reduction 'maen'\. Did you mean 'mean'\? Known: mean, sum\."),
        ("x", r"Unknown reduction 'x'\. Known: mean, sum\."),
        (None, "Unknown reduction None"),
        (["mean"], r"Unknown reduction \['mean'\]"),
    ],
)
def test_what_is_no_choice_lists_near_and_known_names(value, message):
    with pytest.raises(ValueError, match=message):
        checks.check_choice(value, ("sum", "mean"), "reduction")


def test_bounds_become_bounds():
    assert checks.check_bounds((0, 255)) == Bounds(0.0, 255.0)
    assert isinstance(checks.check_bounds(np.array([-1, 1])), Bounds)


TUPLES = tf.data.Dataset.from_tensor_slices((GOOD, [0, 1])).batch(2)
DICTIONARIES = TUPLES.map(lambda images, labels: {"image": images, "label": labels})


def test_finite_batches_are_returned():
    assert checks.check_dataset(TUPLES) is TUPLES
    assert checks.check_dataset(DICTIONARIES, "image") is DICTIONARIES


@pytest.mark.parametrize(
    ("dataset", "key", "error", "message"),
    [
        (DICTIONARIES, 0, TypeError, r"tuples \(images, labels\), got \{'image'"),
        (TUPLES, "image", TypeError, "dicts of image and label, .*'image': images"),
        (TUPLES.map(lambda images, _: images), 0, TypeError, "tuples"),
        (TUPLES.unbatch(), 0, ValueError, r"got single images \(4, 4, 1\)\. Call dataset.batch"),
        (DICTIONARIES.unbatch(), "image", ValueError, "got single images"),
        (TUPLES.repeat(), 0, ValueError, "endless. Call dataset.take"),
    ],
)
def test_what_is_no_finite_set_of_batches(dataset, key, error, message):
    with pytest.raises(error, match=message):
        checks.check_dataset(dataset, key)
