"""Images, maps, areas and boxes: colours worked by hand."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from aad_tf.plots import (
    Panel,
    attention_grid,
    displayable,
    enlarged,
    overlay,
    with_area,
    with_boxes,
)
from aad_tf.plots.images import AREA_EDGE
from aad_tf.types import Bounds

IMAGE = np.linspace(0, 1, 36).reshape(6, 6, 1)
MAP = np.arange(9.0).reshape(3, 3)


def test_displayable_rescales_clips_and_colours():
    image = np.array([[[-1.0], [0.0], [3.0]]])
    expected = [[[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]]
    np.testing.assert_allclose(displayable(image, Bounds(-1.0, 1.0)), expected)
    colours = np.random.RandomState(0).uniform(size=(2, 3, 3))
    np.testing.assert_allclose(displayable(colours), colours)
    two_channels = np.array([[[0.2, 0.6]]])
    np.testing.assert_allclose(displayable(two_channels), [[[0.4, 0.4, 0.4]]])


def test_overlay_mixes_image_and_colours_of_the_scaled_map():
    image = np.array([[[0.0], [1.0]], [[0.5], [0.25]]])
    attention = np.array([[0.0, 2.0], [4.0, 1.0]])
    heat = matplotlib.colormaps["viridis"](attention / 4.0)[..., :3]
    expected = 0.75 * np.repeat(image, 3, axis=-1) + 0.25 * heat
    found = overlay(image, attention, opacity=0.25, colormap="viridis")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_overlay_resizes_the_map_bilinearly():
    """Half-pixel centres: a row of 0 and 1 becomes 0, 1/4, 3/4, 1."""
    found = overlay(np.zeros((1, 4, 1)), [[0.0, 1.0]], opacity=1.0, colormap="gray")
    np.testing.assert_allclose(found[0, :, 0], [0.0, 0.25, 0.75, 1.0], atol=1 / 255)


def test_overlay_does_not_depend_on_the_scale_of_the_map():
    np.testing.assert_allclose(overlay(IMAGE, MAP), overlay(IMAGE, 1e6 * MAP), atol=1e-6)


def test_map_of_zeros_has_one_colour():
    found = overlay(IMAGE, np.zeros((3, 3)), opacity=1.0)
    lowest = matplotlib.colormaps["turbo"](0.0)[:3]
    np.testing.assert_allclose(found, np.broadcast_to(lowest, found.shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": IMAGE[0], "attention_map": MAP}, r"image must have shape .* got \(6, 1\)"),
        ({"image": IMAGE, "attention_map": MAP[0]}, r"attention_map must have shape \[h, w\]"),
        ({"image": IMAGE, "attention_map": MAP * np.nan}, "NaN or infinity"),
        ({"image": IMAGE, "attention_map": MAP, "opacity": 1.5}, r"opacity must be in \[0, 1\]"),
    ],
)
def test_overlay_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        overlay(**arguments)


def test_maps_can_be_fainter_where_they_are_low_and_their_image_gray():
    """Weight 0.35 at 0 and 0.7 at the peak; red has luminance 0.299."""
    red = np.tile([1.0, 0.0, 0.0], (2, 2, 1))
    found = overlay(red, [[0.0, 3.0]], opacity=(0.35, 0.7), colormap="viridis", gray=True)
    low, high = matplotlib.colormaps["viridis"]([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(found[0, 0], 0.65 * 0.299 + 0.35 * low, atol=1e-6)
    np.testing.assert_allclose(found[0, 1], 0.3 * 0.299 + 0.7 * high, atol=1e-6)


def test_bounds_may_be_a_plain_pair():
    wide = 2 * IMAGE - 1
    np.testing.assert_allclose(displayable(wide, (-1, 1)), displayable(IMAGE))
    np.testing.assert_allclose(overlay(wide, MAP, bounds=(-1, 1)), overlay(IMAGE, MAP))
    np.testing.assert_allclose(enlarged(wide, 12, (-1, 1)), enlarged(IMAGE, 12))
    figure = attention_grid([[Panel(wide, MAP)]], bounds=(-1, 1))
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), overlay(IMAGE, MAP))


def test_small_images_grow_by_whole_pixels_and_large_ones_are_averaged():
    image = np.arange(4.0).reshape(2, 2, 1) / 4
    grown = enlarged(image, 6)
    np.testing.assert_array_equal(grown[..., 0], np.kron(image[..., 0], np.ones((3, 3))))
    checks = np.indices((8, 16)).sum(0)[..., None] % 2.0
    small = enlarged(checks, 4)
    assert small.shape == (2, 4, 3)
    np.testing.assert_allclose(small, 0.5, atol=0.05)
    np.testing.assert_allclose(enlarged(-np.ones((2, 2, 1)), 2, Bounds(-1, 1)), 0)


def test_boxes_are_white_between_black():
    painted = with_boxes(np.full((20, 20, 3), 0.5), [(0.1, 0.2, 0.9, 1.0)])
    assert painted[2, 10].tolist() == [0, 0, 0] == painted[5, 10].tolist()
    assert painted[3, 10].tolist() == [1, 1, 1] == painted[16, 10].tolist()
    assert painted[10, 19].tolist() == [0, 0, 0] == painted[10, 4].tolist()
    assert painted[1, 10].tolist() == painted[10, 10].tolist() == [0.5] * 3


def test_areas_keep_their_colour_and_the_rest_is_pale():
    image = np.tile([0.8, 0.2, 0.2], (16, 16, 1))
    area = np.zeros((4, 4), bool)
    area[:, 2:] = True
    painted = with_area(image, area)
    assert painted[8, 14].tolist() == [0.8, 0.2, 0.2]
    assert np.ptp(painted[8, 0]) < 1e-9
    np.testing.assert_allclose(painted[8, 8:10], [AREA_EDGE] * 2)
