"""Every complaint says what was expected, what came, and what to do."""

from __future__ import annotations

import warnings

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
        (GOOD + 1.1, ValueError, r"got \[1.6, 1.6\]. Rescale them, or give .* other bounds"),
        (GOOD + 0.55, ValueError, r"got \[1.05, 1.05\]. .* slightly .*tf.clip_by_value\(images, 0"),
        (GOOD - 0.55, ValueError, r"got \[-0.05, -0.05\]. .* slightly .*tf.clip_by_value"),
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
        ([0.0, 1.5], ValueError, r"whole numbers in \[0, 3\), got 1.5"),
        ([0.0, float("nan")], ValueError, "whole numbers .*got nan"),
        ([0, None], TypeError, "class numbers .*got object values"),
        ([1j, 2j], TypeError, "got complex128 values"),
        (tf.constant([1j, 2j]), TypeError, "got dtype complex128"),
        (np.eye(3, dtype=int)[:2], ValueError, r"got shape \(2, 3\).*one-hot: .*tf.argmax"),
        (tf.one_hot([0, 2], 3), ValueError, "They are one-hot: pass tf.argmax"),
        (tf.one_hot([[0, 2]] * 2, 3), ValueError, r"shape \(2, 2, 3\).*not one per pixel"),
        ([1, 2, 3], ValueError, "got 3"),
        ([1, 3], ValueError, r"got \[1, 3\]. If they are counted from 1, use labels - 1; .*has 3"),
        ([0, 1, 2], ValueError, r"one entry per image \(2\), got 3"),
        ([0, 3], ValueError, r"in \[0, 3\), got \[0, 3\].*3 classes.*belong together"),
        ([-1, 0], ValueError, r"got \[-1, 0\]"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        labels_of(labels)


NOT_ONE_PER_IMAGE = {
    "scalar": (1, r"the single number 1\. Give one per image: np.full\(len\(images\), 1\)"),
    "multi-hot": ([[1, 0, 1], [0, 1, 0]], r"multi-label\): .* one class per image"),
    "no class": ([[0, 0, 0], [0, 1, 0]], r"multi-label"),
    "smoothed": ([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]], "label_smoothing="),
    "numbers": ([[0, 2], [1, 2]], "not taken"),
}


@pytest.mark.parametrize("kind", NOT_ONE_PER_IMAGE)
def test_argmax_is_advised_for_one_hot_labels_alone(kind):
    labels, message = NOT_ONE_PER_IMAGE[kind]
    for given in (labels, np.array(labels), tf.constant(labels)):
        with pytest.raises(ValueError, match=message) as refused:
            labels_of(given)
        assert "argmax" not in str(refused.value)


@pytest.mark.parametrize("text", [["cat", "dog"], [["cat"], ["dog"]], np.array(["a", "b"], object)])
def test_text_is_no_label(text):
    for given in (text, tf.constant(text)):
        with pytest.raises(TypeError, match=r"got .*class_names.index.*keras.layers.StringLookup"):
            labels_of(given)


GOOD_LABELS = {
    "column": [[0], [2]],
    "floats": [0.0, 2.0],
    "column of floats": np.array([[0.0], [2.0]], np.float32),
    "bytes": np.array([0, 2], np.uint8),
    "objects": np.array([0, 2], object),
    "tensor": tf.constant([[0], [2]], tf.int64),
}


@pytest.mark.parametrize("kind", GOOD_LABELS)
def test_what_fit_takes_for_labels(kind):
    labels = labels_of(GOOD_LABELS[kind])
    assert labels.dtype == tf.int32 and labels.numpy().tolist() == [0, 2]
    assert labels_of([[True], [False]]).numpy().tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_good_labels_become_int32(dtype):
    labels = labels_of(np.array([0, 2], dtype))
    assert labels.dtype == tf.int32
    assert labels.numpy().tolist() == [0, 2]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-0.1, ValueError, r"must be finite and not negative, got -0.1"),
        (float("nan"), ValueError, "got nan"),
        (float("inf"), ValueError, "got inf"),
        ("0.1", TypeError, "must be a number in .* got '0.1'"),
        (True, TypeError, "got True"),
        (None, TypeError, "got None"),
    ],
)
def test_bad_epsilon(value, error, message):
    with pytest.raises(error, match=message):
        checks.check_epsilon(value)


@pytest.mark.parametrize("value", [3, 0.5, np.float32(0.5), np.int64(-2)])
def test_good_numbers_become_floats(value):
    number = checks.check_number(value, "sigma")
    assert type(number) is float and number == value


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (float("nan"), ValueError, "sigma must be finite, got nan"),
        (-np.inf, ValueError, "sigma must be finite, got -inf"),
        ("10", TypeError, "sigma must be a number, got '10'"),
        (True, TypeError, "sigma must be a number, got True"),
        ((1.0,), TypeError, r"sigma must be a number, got \(1.0,\)"),
    ],
)
def test_bad_numbers(value, error, message):
    with pytest.raises(error, match=message):
        checks.check_number(value, "sigma")


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (8, (0, 1), r"must be in \[0, 1\], .*\[0, 1\], got 8. Was 8/255 = 0.03137 meant\?"),
        (1.0001, (0, 1), "Was 1.0001/255"),
        (8, (-1, 1), r"must be in \[0, 2\], .*\[-1, 1\], got 8. Was 8/255 \* 2 = 0.06275 meant"),
        (300, (0, 255), r"must be in \[0, 255\], .*, got 300.$"),
    ],
)
def test_sizes_are_held_against_the_pixel_range(value, bounds, message):
    assert checks.check_epsilon(value) == value
    assert checks.check_epsilon(8, bounds=Bounds(0, 255)) == 8
    with pytest.raises(ValueError, match=message):
        checks.check_epsilon(value, bounds=Bounds(*bounds))


def test_half_a_gray_level_is_the_least_that_can_matter():
    unit, gray, symmetric = Bounds(), Bounds(0, 255), Bounds(-1, 1)
    for epsilon, bounds in ((0, unit), (0.5 / 255, unit), (0.5, gray), (1 / 255, symmetric)):
        assert checks.small_epsilon("fgsm", epsilon, bounds) is None
    sentence = checks.small_epsilon("fgsm", 8 / 255, gray)
    assert sentence.startswith("fgsm changes pixels by 0.0314 at most, 0.031 of the 255 gray")
    assert sentence.endswith("Was 8 meant?")
    assert "meant" not in checks.small_epsilon("fgsm", 0.001, unit)
    assert checks.small_epsilon("fgsm", 0.003, symmetric)


@pytest.mark.parametrize("compiled", [False, True])
def test_images_in_0_1_where_0_255_is_expected(compiled):
    def warned(images, bounds):
        check = lambda images: checks.warn_of_unit_images(images, bounds)  # noqa: E731
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (tf.function(check) if compiled else check)(tf.constant(images))
        return [str(each.message) for each in caught]

    (message,) = warned(GOOD, Bounds(0, 255))
    assert "all lie in [0, 1], where the network takes [0, 255]" in message
    black, bright = 0 * GOOD, 3 * GOOD
    for images, bounds in ((GOOD, Bounds()), (black, Bounds(0, 255)), (bright, Bounds(0, 255))):
        assert warned(images, bounds) == []


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


def test_a_count_may_have_a_largest_value():
    assert checks.check_count(5, "seed", 0, 5) == 5
    with pytest.raises(ValueError, match="seed must be at most 5, got 6"):
        checks.check_count(6, "seed", 0, 5)


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
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)in \[0.0, 1.0\].*clip_by.*255"):
        check(tf.constant(bad))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_batch_without_images_is_refused_inside_graphs_too(compiled):
    check = checks.assert_any_images
    if compiled:
        check = tf.function(check, input_signature=[tf.TensorSpec((None, *SHAPE))])
    np.testing.assert_array_equal(check(tf.constant(GOOD)), GOOD)
    with pytest.raises(tf.errors.InvalidArgumentError, match="(?s)one image for each.*batch size"):
        check(tf.constant(GOOD[:0]))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bad", [[0, 3], [-1, 2], [0.5, 1.0]])
def test_labels_are_asserted_inside_graphs_too(bad, compiled):
    check = lambda labels: checks.assert_known_labels(labels, 3)  # noqa: E731
    check = tf.function(check) if compiled else check
    assert check(tf.constant([0.0, 2.0])).numpy().tolist() == [0, 2]
    assert check(tf.constant([True, False])).dtype == tf.int32
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"whole numbers in \[0, 3\)"):
        check(tf.constant(bad))


@pytest.mark.parametrize(
    ("shape", "network_takes", "advice", "follow"),
    [
        ((2, 4, 4, 1), (4, 4, 3), "gray where .*grayscale_to_rgb", tf.image.grayscale_to_rgb),
        ((2, 4, 4, 3), (4, 4, 1), "colour where .*rgb_to_grayscale", tf.image.rgb_to_grayscale),
        ((2, 4, 4, 4), (4, 4, 3), r"opacity.*images\[..., :3\]", lambda images: images[..., :3]),
        ((2, 5, 5, 3), (4, 4, 3), "Resize them", lambda images: tf.image.resize(images, (4, 4))),
        (
            (2, 5, 5, 1),
            (None, 4, 3),
            "Resize them.*grayscale_to_rgb",
            lambda images: tf.image.grayscale_to_rgb(tf.image.resize(images, (4, 4))),
        ),
    ],
)
def test_advice_for_images_of_another_shape_is_right(shape, network_takes, advice, follow):
    images = tf.fill(shape, 0.5)
    with pytest.raises(ValueError, match=advice) as raised:
        checks.check_image_shape(images, network_takes)
    assert ("Resize" in str(raised.value)) == (shape[1] != 4)
    mended = follow(images)
    checks.check_image_shape(mended, network_takes)
    np.testing.assert_allclose(mended, 0.5, atol=1e-3)


def test_symbolic_shapes_are_checked_as_far_as_known():
    def trace(image_shape, label_shape):
        def check(images, labels):
            checks.check_image_shape(images, SHAPE)
            checks.label_vector(labels)

        specs = [tf.TensorSpec(image_shape, tf.float32), tf.TensorSpec(label_shape, tf.int32)]
        tf.function(check, autograph=False).get_concrete_function(*specs)

    trace(None, None)
    trace((None, *SHAPE), (None,))
    trace((None, None, None, 1), (None,))
    with pytest.raises(ValueError, match="must have rank 4"):
        trace((None, 4, 4), (None,))
    with pytest.raises(ValueError, match=r"must have shape \[batch, 4, 4, 1\]"):
        trace((None, None, None, 3), (None,))
    trace((None, *SHAPE), (None, 1))
    trace((None, *SHAPE), (None, None))
    with pytest.raises(
        ValueError, match=r"If each row holds a single 1 .*one-hot.*\(multi-label\)"
    ):
        trace((None, *SHAPE), (None, 3))


def test_labels_of_unknown_shape_are_a_column_or_a_vector():
    for rank in (None, (None, None)):
        flat = tf.function(checks.label_vector, input_signature=[tf.TensorSpec(rank, tf.int32)])
        assert flat(tf.constant([[0], [2]])).numpy().tolist() == [0, 2]
        with pytest.raises(tf.errors.InvalidArgumentError, match="class numbers of shape"):
            flat(tf.constant([[0, 1, 0], [1, 0, 0]]))


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
