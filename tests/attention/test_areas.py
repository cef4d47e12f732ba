"""Attention areas by hand, for each rule."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import MatchingArea, TopCells, attention_area, mask_out
from aad_tf.attention.areas import MeanThreshold

# Means 1.5 and 0.25, over both 0.875.
MAPS = np.array([[[0.0, 1.0], [2.0, 3.0]], [[0.0, 0.0], [0.5, 0.5]]], np.float32)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean", [[[0, 0], [1, 1]], [[0, 0], [1, 1]]]),
        (MeanThreshold(), [[[0, 0], [1, 1]], [[0, 0], [1, 1]]]),
        ("batch_mean", [[[0, 1], [1, 1]], [[0, 0], [0, 0]]]),
        (0.5, [[[0, 1], [1, 1]], [[0, 0], [0, 0]]]),
        (0, [[[0, 1], [1, 1]], [[0, 0], [1, 1]]]),
        (np.float64(0.4), [[[0, 1], [1, 1]], [[0, 0], [1, 1]]]),
        (TopCells(1), [[[0, 0], [0, 1]], [[0, 0], [1, 0]]]),
        (TopCells(3), [[[0, 1], [1, 1]], [[1, 0], [1, 1]]]),
        (TopCells(9), [[[1, 1], [1, 1]], [[1, 1], [1, 1]]]),
        (MatchingArea([[[1, 1], [0, 0]], [[0, 0], [0, 1]]]), [[[0, 0], [1, 1]], [[0, 0], [1, 0]]]),
        (MatchingArea(np.zeros((2, 2, 2))), np.zeros((2, 2, 2))),
    ],
)
def test_areas_by_hand(rule, expected):
    area = attention_area(MAPS, rule)
    np.testing.assert_array_equal(area, expected)
    assert area.dtype == tf.float32


def test_the_threshold_itself_is_outside():
    # sign(ReLU(0)) = 0: a flat map has an empty area.
    np.testing.assert_array_equal(attention_area(np.full((1, 2, 2), 0.5), "mean"), 0)
    assert attention_area(np.full((1, 2, 2), 0.1), 0.1).numpy().sum() == 0


def test_float64_maps_stay_float64():
    assert attention_area(MAPS.astype(np.float64)).dtype == tf.float64


def test_kept_cells_are_as_many_as_the_mask_has():
    rng = np.random.default_rng(0)
    maps, masks = rng.uniform(size=(5, 6, 7)), rng.uniform(size=(5, 6, 7)) > 0.6
    area = attention_area(maps, MatchingArea(masks)).numpy()
    np.testing.assert_array_equal(area.sum(axis=(1, 2)), masks.sum(axis=(1, 2)))
    for kept, values in zip(area.astype(bool), maps, strict=True):
        assert values[kept].min() > values[~kept].max()


@pytest.mark.parametrize("rule", ["mean", "batch_mean", 0.5, TopCells(2)])
def test_gradients_stop(rule):
    maps = tf.Variable(MAPS)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(attention_area(maps, rule)) + 0 * tf.reduce_sum(maps)
    np.testing.assert_array_equal(tape.gradient(total, maps), np.zeros_like(MAPS))


def test_hidden_pixels_by_hand():
    images = tf.constant(np.arange(1.0, 9.0, dtype=np.float32).reshape(1, 2, 2, 2))
    maps = tf.constant([[[0.0, 1.0], [2.0, 3.0]]])
    # The lower row lies above the mean of 1.5 and is hidden, in both channels.
    expected = [[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]]
    np.testing.assert_array_equal(mask_out(images, maps), expected)
    np.testing.assert_array_equal(mask_out(images, maps, TopCells(1))[0, 1, 1], [0.0, 0.0])


@pytest.mark.parametrize(
    ("fill", "hidden"), [(0.5, [0.5, 0.5]), (-1, [-1.0, -1.0]), ((0.25, 0.75), [0.25, 0.75])]
)
def test_hidden_pixels_get_the_value_that_is_asked_for(fill, hidden):
    images = tf.constant(np.arange(1.0, 9.0, dtype=np.float32).reshape(1, 2, 2, 2))
    masked = mask_out(images, tf.constant([[[0.0, 1.0], [2.0, 3.0]]]), fill=fill)
    np.testing.assert_array_equal(masked, [[[[1.0, 2.0], [3.0, 4.0]], [hidden, hidden]]])


def test_maps_are_resized_before_the_threshold():
    images = tf.ones((1, 1, 4, 1))
    # Resized to [0, 0.25, 0.75, 1] with mean 0.5: the second half is hidden.
    kept = mask_out(images, tf.constant([[[0.0, 1.0]]]))
    np.testing.assert_array_equal(tf.reshape(kept, [-1]), [1.0, 1.0, 0.0, 0.0])
    # A threshold of 0.2 hides three of the four pixels; on the grid it would hide two.
    kept = mask_out(images, tf.constant([[[0.0, 1.0]]]), 0.2)
    np.testing.assert_array_equal(tf.reshape(kept, [-1]), [1.0, 0.0, 0.0, 0.0])


def test_rules_that_count_keep_cells_of_the_grid_and_hide_their_pixels():
    images = tf.ones((1, 8, 8, 2))
    maps = tf.constant([[[0.0, 1.0], [2.0, 3.0]]])
    # Cell (1, 1) is the highest: its 4 x 4 of the 8 x 8 pixels are hidden, the others are not.
    expected = np.ones((1, 8, 8, 2))
    expected[:, 4:, 4:] = 0
    np.testing.assert_array_equal(mask_out(images, maps, TopCells(1)), expected)
    masks = [[[1, 0], [0, 0]]]
    np.testing.assert_array_equal(mask_out(images, maps, MatchingArea(masks)), expected)
    expected[:, 4:] = 0
    np.testing.assert_array_equal(mask_out(images, maps, TopCells(2)), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_ten_cells_of_a_grid_of_64_hide_ten_64ths_of_an_image(dtype):
    maps = tf.constant(np.random.default_rng(0).uniform(size=(3, 8, 8)), tf.float32)
    mask = tf.function(
        lambda images: mask_out(images, maps, TopCells(10)),
        input_signature=[tf.TensorSpec((None, None, None, 1), dtype)],
    )
    masked = mask(tf.ones((3, 64, 64, 1), dtype))
    assert masked.dtype == dtype
    hidden = (tf.cast(masked, tf.float32).numpy() == 0).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(hidden, 64 * 64 * 10 // 64)


def test_masks_of_another_size_than_the_maps_are_refused():
    with pytest.raises(ValueError, match=r"size of the maps, \(2, 2\), but .* have \(4, 4\)"):
        attention_area(MAPS, MatchingArea(np.ones((2, 4, 4))))


def test_masking_passes_gradients_to_visible_pixels_and_none_to_maps():
    images, maps = tf.Variable(tf.ones((1, 2, 2, 1))), tf.Variable([[[0.0, 1.0], [2.0, 3.0]]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(mask_out(images, maps))
    by_images, by_maps = tape.gradient(total, [images, maps])
    np.testing.assert_array_equal(tf.reshape(by_images, [-1]), [1.0, 1.0, 0.0, 0.0])
    assert by_maps is None


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_masked_images_keep_their_dtype_and_open_sizes(dtype):
    spec = [tf.TensorSpec((None, None, None, 1), dtype), tf.TensorSpec((None, 2, 2), tf.float32)]
    mask = tf.function(mask_out, input_signature=spec)
    images = tf.ones((1, 6, 4, 1), dtype)
    masked = mask(images, tf.constant([[[0.0, 1.0], [2.0, 3.0]]]))
    assert masked.dtype == dtype
    np.testing.assert_array_equal(masked, mask_out(images, tf.constant(MAPS[:1])))


@pytest.mark.parametrize(
    ("maps", "rule", "error", "message"),
    [
        (MAPS[0], "mean", ValueError, r"\[batch, h, w\], got \(2, 2\)"),
        (MAPS.astype(int), "mean", TypeError, "floating point, got dtype int64"),
        (MAPS, "median", ValueError, "'median'. Did you mean 'mean' .* A number, Top"),
        (MAPS, [0.1, 0.2], ValueError, r"Unknown threshold rule \[0.1, 0.2\]"),
        (MAPS, None, TypeError, "threshold must be a number, the name of a rule or .*, got None"),
        (
            MAPS,
            {},
            TypeError,
            "threshold must be a number, .* or a function, got {}",
        ),
        (MAPS, float("nan"), ValueError, "threshold must be finite, got nan"),
    ],
)
def test_bad_maps_and_rules(maps, rule, error, message):
    with pytest.raises(error, match=message):
        attention_area(maps, rule)


@pytest.mark.parametrize("kind", [float, np.float32, np.array, tf.constant])
def test_a_number_of_any_kind_is_a_threshold(kind):
    area = attention_area(np.array([[[0.25, 0.5, 0.75]]]), kind(0.5))
    np.testing.assert_array_equal(area, [[[0, 0, 1]]])


def test_bad_rule_parameters():
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        TopCells(0)
    with pytest.raises(TypeError, match="count must be an integer, got 0.5"):
        TopCells(0.5)
    with pytest.raises(ValueError, match=r"masks must have shape \[batch, h, w\], got \(2, 2\)"):
        MatchingArea(np.zeros((2, 2)))
