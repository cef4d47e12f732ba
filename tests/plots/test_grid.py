"""Grids: every panel, caption and title stands where it belongs, and files are whole."""

from __future__ import annotations

import io
import os

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg

from aad_tf.plots import Panel, attention_grid, overlay, png_bytes, save_png

IMAGE = np.linspace(0, 1, 36).reshape(6, 6, 1)
MAP = np.arange(9.0).reshape(3, 3)


def pixels(content):
    return matplotlib.image.imread(io.BytesIO(content))


def extents(artists):
    """(left, bottom, right, top) of each in pixels, measured as it is drawn."""
    renderer = FigureCanvasAgg(artists[0].figure).get_renderer()
    return [artist.get_window_extent(renderer).extents for artist in artists]


def of_colour(*colours):
    return [Panel(np.full((2, 2, 3), colour, float), caption=f"{colour}") for colour in colours]


def test_panels_show_their_images_row_by_row():
    rows = [of_colour((1, 0, 0), (0, 1, 0)), of_colour((0, 0, 1))]
    figure = attention_grid(rows)
    for inside, colour in zip(drawn(figure), np.eye(3), strict=True):
        np.testing.assert_array_equal(inside, np.broadcast_to(colour, inside.shape))
    (red, green, blue) = extents(figure.axes)
    assert red[0] == blue[0] and red[1] == green[1]
    assert green[0] > red[2] and blue[3] < red[1]


def drawn(figure):
    """The pixels of each panel of a figure's file, `[height, width, 3]`."""
    whole = pixels(png_bytes(figure))[::-1, :, :3]
    edges = [map(round, axes.get_window_extent().extents) for axes in figure.axes]
    return [whole[bottom:top, left:right][::-1] for left, bottom, right, top in edges]


def test_pixels_of_an_image_are_whole_pixels_of_the_file():
    image = np.random.default_rng(0).uniform(size=(32, 32, 3)).round(1)
    figure = attention_grid([[Panel(image)] * 3] * 2, panel_inches=0.64, columns_together=2)
    for shown in drawn(figure):
        np.testing.assert_allclose(shown, np.kron(image, np.ones((2, 2, 1))), atol=1 / 255)


def test_maps_lie_over_their_own_images():
    maps = np.zeros((2, 2, 2))
    maps[0, 0, 0] = maps[1, 1, 1] = 1.0
    figure = attention_grid([[Panel(IMAGE, maps[0]), Panel(IMAGE, maps[1]), Panel(IMAGE)]])
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_allclose(shown[0], overlay(IMAGE, maps[0]))
    np.testing.assert_allclose(shown[1], overlay(IMAGE, maps[1]))
    np.testing.assert_allclose(shown[2], np.repeat(IMAGE, 3, axis=-1))


def test_captions_stand_below_their_panel_and_above_the_next_row():
    rows = [[Panel(IMAGE, caption="one\ntwo", caption_color="red"), Panel(IMAGE)]] * 2
    figure = attention_grid(rows)
    panels = extents(figure.axes)
    captions = [axes.texts[0] for axes in figure.axes]
    assert [text.get_text() for text in captions] == ["one\ntwo", ""] * 2
    assert [text.get_color() for text in captions] == ["red", "black"] * 2
    for (left, _, right, top), panel in zip(extents(captions[::2]), panels[::2], strict=True):
        assert top < panel[1] and (left + right) / 2 == pytest.approx((panel[0] + panel[2]) / 2)
    upper, lower = extents(captions[::2])
    assert upper[1] > panels[2][3] and lower[1] > 0


def test_long_titles_stay_beside_and_above_their_panels():
    """Measured as they are drawn: no title reaches into a neighbour, a panel or over the edge."""
    columns = ["rectification: under attack", "preservation: under attack"]
    rows = ["StepLL fooled, rectification not\nn = 1,234", "short"]
    panels = [[Panel(IMAGE, caption="c")] * 2] * 2
    figure = attention_grid(panels, column_titles=columns, row_titles=rows)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in figure.texts}
    above = [box for text, box in boxes.items() if "attack" in text]
    beside = [box for text, box in boxes.items() if "attack" not in text]
    places = [axes.get_window_extent() for axes in figure.axes]
    assert above[0].x1 < above[1].x0 and above[1].x1 <= figure.bbox.x1
    assert all(box.y0 >= places[0].y1 and box.y1 <= figure.bbox.y1 for box in above)
    assert all(box.x0 >= 0 and box.x1 <= places[0].x0 for box in beside)


def test_titles_head_their_column_and_row():
    figure = attention_grid([[Panel(IMAGE)] * 2] * 2, column_titles="ab", row_titles="cd")
    panels = np.array(extents(figure.axes)).reshape(2, 2, 4)
    centre = {
        text.get_text(): ((box[0] + box[2]) / 2, box)
        for text, box in zip(figure.texts, extents(figure.texts), strict=True)
    }
    for column, title in enumerate("ab"):
        middle, box = centre[title]
        assert middle == pytest.approx(panels[0, column, [0, 2]].mean(), abs=1)
        assert box[1] > panels[0, column, 3]
    for row, title in enumerate("cd"):
        _, box = centre[title]
        assert box[2] < panels[row, 0, 0]
        assert panels[row, 0, 1] < box[1] and box[3] < panels[row, 0, 3]


def test_heading_is_wrapped_above_everything_its_first_paragraph_bold():
    words = "some words that do not fit in two inches, " * 3
    figure = attention_grid([[Panel(IMAGE)] * 2], heading=["First", words], column_titles="ab")
    lines = [text for text in figure.texts if text.get_ha() == "left"]
    assert " ".join(text.get_text() for text in lines) == f"First {words.strip()}"
    assert [text.get_weight() for text in lines] == ["bold"] + ["normal"] * (len(lines) - 1)
    boxes = extents(lines)
    assert all(upper[1] >= lower[3] - 2 for upper, lower in zip(boxes, boxes[1:], strict=False))
    others = extents([text for text in figure.texts if text not in lines])
    assert min(box[1] for box in boxes) > max(box[3] for box in others)
    width, height = figure.canvas.get_width_height()
    assert all(box[0] > 0 and box[2] < width and box[3] < height for box in boxes)


def test_groups_of_columns_stand_apart():
    figure = attention_grid([[Panel(IMAGE)] * 4], columns_together=2)
    lefts = [box[0] for box in extents(figure.axes)]
    first, between, last = np.diff(lefts)
    assert first == pytest.approx(last) and between > first + 5


def test_fewer_levels_make_smaller_files_of_nearly_the_same_colours():
    noise = np.random.default_rng(0).uniform(size=(90, 90, 3))
    figure = attention_grid([[Panel(noise, caption="noise")]])
    whole, small = png_bytes(figure), png_bytes(figure, 16)
    assert len(small) < 0.8 * len(whole)
    difference = np.abs(pixels(whole)[..., :3] - pixels(small)[..., :3])
    assert difference.max() <= 1 / 30 + 1 / 255
    assert pixels(small)[0, 0, :3].tolist() == [1, 1, 1]


def test_grid_refuses():
    with pytest.raises(ValueError, match="no panels"):
        attention_grid([])
    with pytest.raises(ValueError, match="column_titles must have 1 entries or none, got 2"):
        attention_grid([[Panel(IMAGE)]], column_titles=["a", "b"])
    with pytest.raises(ValueError, match="row_titles must have 1 entries or none, got 2"):
        attention_grid([[Panel(IMAGE)]], row_titles=["a", "b"])


def test_a_saved_file_is_the_figure_and_nothing_else_is_left(tmp_path):
    figure = attention_grid([[Panel(IMAGE, MAP, "seven")]])
    path = tmp_path / "figure.png"
    path.write_bytes(b"older")
    assert save_png(figure, path) == path
    assert path.read_bytes() == png_bytes(figure)
    assert os.listdir(tmp_path) == ["figure.png"]


def test_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "figure.png").mkdir()
    with pytest.raises(OSError, match="figure.png"):
        save_png(attention_grid([[Panel(IMAGE)]]), tmp_path / "figure.png")
    assert os.listdir(tmp_path) == ["figure.png"]


def test_no_global_plotting_state():
    rows = [[Panel(IMAGE, MAP, "seven")]]
    expected = png_bytes(attention_grid(rows))
    with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 37}):
        assert png_bytes(attention_grid(rows)) == expected
    assert pyplot.get_fignums() == []
