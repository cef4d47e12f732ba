"""Pixels and words of panels."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from aad_tf.types import Bounds
from eval.galleries import captions, painting

GRAY = np.full((8, 8, 3), 0.5)


def test_small_images_grow_by_whole_pixels_and_large_ones_are_averaged():
    image = np.arange(4.0).reshape(2, 2, 1) / 4
    grown = painting.enlarged(image, 6)
    np.testing.assert_array_equal(grown[..., 0], np.kron(image[..., 0], np.ones((3, 3))))
    checks = np.indices((8, 16)).sum(0)[..., None] % 2.0
    small = painting.enlarged(checks, 4)
    assert small.shape == (2, 4, 3)
    np.testing.assert_allclose(small, 0.5, atol=0.05)
    np.testing.assert_allclose(painting.enlarged(-np.ones((2, 2, 1)), 2, Bounds(-1, 1)), 0)


def test_maps_colour_a_gray_picture_more_where_they_are_high():
    painted = painting.with_map(GRAY, np.array([[0.0, 3.0]]))
    low, high = matplotlib.colormaps[painting.COLORMAP]([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(painted[0, 0], 0.65 * 0.5 + 0.35 * low, atol=1e-6)
    np.testing.assert_allclose(painted[0, -1], 0.3 * 0.5 + 0.7 * high, atol=1e-6)
    red = painting.with_map(np.tile([1.0, 0, 0], (2, 2, 1)), np.zeros((1, 1)))
    np.testing.assert_allclose(red, np.broadcast_to(0.65 * 0.299 + 0.35 * low, (2, 2, 3)))
    with pytest.raises(ValueError, match="NaN"):
        painting.with_map(GRAY, np.array([[np.nan]]))


def test_boxes_are_white_between_black():
    painted = painting.with_boxes(np.full((20, 20, 3), 0.5), [(0.1, 0.2, 0.9, 1.0)])
    assert painted[2, 10].tolist() == [0, 0, 0] == painted[5, 10].tolist()
    assert painted[3, 10].tolist() == [1, 1, 1] == painted[16, 10].tolist()
    assert painted[10, 19].tolist() == [0, 0, 0] == painted[10, 4].tolist()
    assert painted[1, 10].tolist() == painted[10, 10].tolist() == [0.5] * 3


def test_areas_keep_their_colour_and_the_rest_is_pale():
    picture = np.tile([0.8, 0.2, 0.2], (16, 16, 1))
    area = np.zeros((4, 4), bool)
    area[:, 2:] = True
    painted = painting.with_area(picture, area)
    assert painted[8, 14].tolist() == [0.8, 0.2, 0.2]
    assert np.ptp(painted[8, 0]) < 1e-9
    np.testing.assert_allclose(painted[8, 8:10], [painting._AREA_EDGE] * 2)


def test_difference_is_amplified_around_gray():
    change = painting.difference(np.zeros((1, 2, 1)), np.array([[[0.02], [-0.2]]]), 10)
    np.testing.assert_allclose(change[0, :, 0], [0.7, 0.0])
    wide = painting.difference(np.zeros((1, 1, 1)), np.full((1, 1, 1), 0.2), 2, Bounds(-1, 1))
    assert wide.item() == pytest.approx(0.7)


def test_names_are_cut_at_words():
    assert captions.short_name("European fire salamander") == "European fire…"
    assert captions.short_name("goldfish, Carassius auratus") == "goldfish"
    assert captions.short_name("abcdefghijklmnopqrst") == "abcdefghijklm…"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("step_ll(epsilon=4/255,num_steps=5)", "StepLL"),
        ("a3(step_ll(epsilon=4/255,num_steps=3),sigma=10)", "StepLL + A3, σ +10"),
        ("a3(iter_ll(epsilon=4/255),sigma=-10)", "Iter-LL + A3, σ −10"),
        ("step_ll(epsilon=4/255,num_steps=5,relabel=False)", "StepLL with a kept target"),
        ("pgd(epsilon=0.1)", "pgd"),
    ],
)
def test_attack_names(text, name):
    assert captions.attack_name({"attack": text}) == name


def test_text_is_broken_where_it_does_not_fit():
    text = "some words that do not fit in two inches, " * 3
    lines = captions.wrapped(text, 2.0, 100)
    assert " ".join(lines) == text.strip()
    assert len(lines) > 3
    assert captions.wrapped("word", 0.01, 100) == ["word"]
