"""Attention over the updates of a training: which moments are drawn, and that files are kept."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.plots import (
    Panel,
    Snapshot,
    attention_evolution,
    load_snapshot,
    overlay,
    save_snapshot,
    snapshot_of,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3), np.uint8)


def snapshot(update: int, **changes) -> Snapshot:
    maps = np.random.default_rng(update).uniform(0.0, 1.0, (2, 3, 2, 2)).astype(np.float32)
    captions = np.array([[f"{kind}{image} at {update}" for image in range(3)] for kind in "ca"])
    truth = np.array(["true: 7", "true: 8", "true: 9"])
    return Snapshot(update, IMAGES, maps, captions, truth)._replace(**changes)


def shown(axes):
    return np.asarray(axes.images[0].get_array()), axes.texts[0].get_text()


def test_rows_are_images_and_columns_moments():
    moments = [snapshot(update) for update in (0, 450, 1350)]
    figure = attention_evolution(moments[::-1], count=2, heading=["Digits"])
    texts = [text.get_text() for text in figure.texts]
    assert texts == [
        *("image", "update 0", "update 450", "update 1,350"),
        *("clean", "attacked") * 2,
        "Digits",
    ]
    axes = np.array(figure.axes).reshape(2, 2, 4)
    for image in range(2):
        for kind in range(2):
            pixels = IMAGES[kind, image] / 255
            first, *others = map(shown, axes[image, kind])
            np.testing.assert_array_equal(first[0], pixels)
            assert first[1] == ("" if kind else f"true: {7 + image}")
            for moment, (colours, text) in zip(moments, others, strict=True):
                expected = overlay(pixels, moment.maps[kind, image])
                np.testing.assert_array_equal(colours, expected)
                assert text == f"{'ca'[kind]}{image} at {moment.update}"


@pytest.mark.parametrize(
    ("snapshots", "columns", "drawn"),
    [(1, 6, [0]), (6, 6, [0, 1, 2, 3, 4, 5]), (11, 6, [0, 2, 4, 6, 8, 10]), (5, 2, [0, 4])],
)
def test_moments_lie_evenly_between_the_first_and_the_last(snapshots, columns, drawn):
    figure = attention_evolution([snapshot(n) for n in range(snapshots)], columns=columns)
    titles = [text.get_text() for text in figure.texts]
    assert titles[1 : 1 + len(drawn)] == [f"update {number}" for number in drawn]


def test_a_snapshot_is_what_the_panels_showed(tmp_path):
    """Of images in [-1, 1]: -1 is black, 1 white, 0 the gray level 127.5, which rounds to 128."""
    image = np.array([[[-1.0], [1.0]], [[0.0], [-1.0]]])
    attention = np.array([[0.25, 0.5]], np.float32)
    columns = [[Panel(image, caption="true: 1")], [Panel(image, attention, "0 0.91")]]
    found = snapshot_of(5, columns, (-1.0, 1.0))
    gray = np.array([[0, 255], [128, 0]], np.uint8)
    np.testing.assert_array_equal(found.images, np.repeat(gray[None, None, ..., None], 3, -1))
    save_snapshot(found, tmp_path / "a.npz")
    again = load_snapshot(tmp_path / "a.npz")
    assert again.update == 5 and again.truth.tolist() == ["true: 1"]
    assert again.captions.tolist() == [["0 0.91"]]
    np.testing.assert_array_equal(again.images, found.images)
    np.testing.assert_array_equal(again.maps, attention[None, None])


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no snapshots"):
        attention_evolution([])
    other = snapshot(9, images=255 - IMAGES)
    with pytest.raises(ValueError, match="updates 0 and 9 are of different images"):
        attention_evolution([snapshot(0), other])
    with pytest.raises(ValueError, match="different images or attacks"):
        attention_evolution([snapshot(0), snapshot(1, attack="fgsm")])
    with pytest.raises(ValueError, match=r"columns .*2.*got 1"):
        attention_evolution([snapshot(0)], columns=1)
    for count in (0, -1):
        with pytest.raises(ValueError, match="count"):
            attention_evolution([snapshot(0)], count=count)
    with pytest.raises(FileNotFoundError):
        load_snapshot(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("no array")
    with pytest.raises(ValueError, match=r"text.npz is no snapshot of attention, or damaged"):
        load_snapshot(tmp_path / "text.npz")
