"""Pictures: colours worked by hand, sizes, and files that are whole."""

from __future__ import annotations

import io
import os

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib import pyplot

from aad_tf.plots import Panel, attention_grid, displayable, overlay, png_bytes, save_png
from aad_tf.types import Bounds

IMAGE = np.linspace(0, 1, 36).reshape(6, 6, 1)
MAP = np.arange(9.0).reshape(3, 3)


def pixels(content):
    return matplotlib.image.imread(io.BytesIO(content))


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


def test_size_of_a_grid():
    """3 columns of 1.4 inches, gaps of 0.08; 2 rows, the second with two lines of 0.17 each."""
    rows = [[Panel(IMAGE), Panel(IMAGE, MAP)], [Panel(IMAGE, MAP, "one\ntwo")] * 3]
    picture = pixels(png_bytes(attention_grid(rows)))
    width, height = 0.08 + 3 * 1.48, 0.08 + 2 * 1.48 + 0.34
    assert picture.shape == (round(100 * height), round(100 * width), 4)
    titled = attention_grid(rows, column_titles="abc", row_titles="de", dpi=50)
    width, height = width - 0.08 + 0.9, height - 0.08 + 0.28
    assert pixels(png_bytes(titled)).shape == (round(50 * height), round(50 * width), 4)


def test_size_of_a_grid_with_a_heading_and_columns_apart():
    """Two lines of 0.18 with a gap of 0.08; 0.16 more between the second and the third column."""
    figure = attention_grid([[Panel(IMAGE)] * 4], heading=["one", "two"], columns_together=2)
    width, height = 0.08 + 4 * 1.48 + 0.16, 0.08 + 0.36 + 0.08 + 1.48
    assert pixels(png_bytes(figure)).shape == (round(100 * height), round(100 * width), 4)


def test_fewer_levels_make_smaller_files_of_nearly_the_same_colours():
    noise = np.random.default_rng(0).uniform(size=(90, 90, 3))
    figure = attention_grid([[Panel(noise, caption="noise")]])
    whole, small = png_bytes(figure), png_bytes(figure, 16)
    assert len(small) < 0.8 * len(whole)
    difference = np.abs(pixels(whole)[..., :3] - pixels(small)[..., :3])
    assert difference.max() <= 1 / 30 + 1 / 255
    assert pixels(small)[0, 0, :3].tolist() == [1, 1, 1]


def test_panels_show_their_pictures_where_they_belong():
    rows = [
        [Panel(np.full((2, 2, 3), [1.0, 0, 0])), Panel(np.full((2, 2, 3), [0, 1.0, 0]))],
        [Panel(np.full((2, 2, 3), [0, 0, 1.0]))],
    ]
    picture = pixels(png_bytes(attention_grid(rows)))[..., :3]
    centre, next_centre = 8 + 70, 8 + 148 + 70
    np.testing.assert_allclose(picture[centre, centre], [1, 0, 0])
    np.testing.assert_allclose(picture[centre, next_centre], [0, 1, 0])
    np.testing.assert_allclose(picture[next_centre, centre], [0, 0, 1])
    np.testing.assert_allclose(picture[next_centre, next_centre], [1, 1, 1])


def test_captions_and_titles_are_drawn():
    def ink(rows, **titles):
        picture = pixels(png_bytes(attention_grid(rows, **titles)))
        return (picture[..., :3].min(axis=-1) < 0.5).sum()

    white = np.ones((2, 2, 1))
    assert ink([[Panel(white)]]) == 0
    assert ink([[Panel(white, caption="seven 0.93")]]) > 20
    assert ink([[Panel(white)]], column_titles=["attention"]) > 20
    assert ink([[Panel(white)]], row_titles=["plain"]) > 20


def test_grid_refuses():
    with pytest.raises(ValueError, match="no panels"):
        attention_grid([])
    with pytest.raises(ValueError, match="column_titles must have 1 entries or none, got 2"):
        attention_grid([[Panel(IMAGE)]], column_titles=["a", "b"])
    with pytest.raises(ValueError, match="row_titles must have 1 entries or none, got 2"):
        attention_grid([[Panel(IMAGE)]], row_titles=["a", "b"])


def test_saved_file_is_the_picture_and_nothing_else_is_left(tmp_path):
    figure = attention_grid([[Panel(IMAGE, MAP, "seven")]])
    path = tmp_path / "picture.png"
    path.write_bytes(b"older")
    assert save_png(figure, path) == path
    assert path.read_bytes() == png_bytes(figure)
    assert os.listdir(tmp_path) == ["picture.png"]


def test_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "picture.png").mkdir()
    with pytest.raises(OSError, match="picture.png"):
        save_png(attention_grid([[Panel(IMAGE)]]), tmp_path / "picture.png")
    assert os.listdir(tmp_path) == ["picture.png"]


def test_no_global_plotting_state():
    rows = [[Panel(IMAGE, MAP, "seven")]]
    expected = png_bytes(attention_grid(rows))
    with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 37}):
        assert png_bytes(attention_grid(rows)) == expected
    assert pyplot.get_fignums() == []
