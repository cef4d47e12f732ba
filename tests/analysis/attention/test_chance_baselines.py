"""Chance levels of maps and boxes whose IoU are known."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.attention import MatchingArea, attention_area
from aad_tf.metrics import iou
from aad_tf.utils.ops import resize_maps
from analysis.attention import chance_baselines
from analysis.attention.chance_baselines import (
    box_chance,
    box_masks,
    drift_chance,
    first_ranks,
    iou_of_ranks,
    other_images,
    pixel_ranks,
)
from analysis.statistics import expected_random_iou
from tests.analysis.attention.columns import run_of, simulated


def test_ranks_keep_the_earlier_of_equal_cells():
    assert first_ranks(np.array([3, 7, 3, 9])).tolist() == [2, 1, 3, 0]


def test_area_of_a_flat_map_is_its_first_pixels():
    ranks = pixel_ranks(np.full((1, 8, 8), 255, np.uint8), (64, 64))
    boxes = np.zeros((1, 4096), bool)
    boxes[0, 1024:3072] = True  # half of it lies in the first 2048 pixels
    assert iou_of_ranks(ranks, boxes.sum(axis=1), boxes)[0] == pytest.approx(1 / 3)


def test_areas_are_those_of_the_attention_pass():
    generator = np.random.default_rng(0)
    maps = generator.integers(0, 256, (6, 8, 8), dtype=np.uint8)
    boxes = generator.random((6, 64, 64)) < generator.uniform(0.05, 0.9, (6, 1, 1))
    areas = attention_area(resize_maps(maps.astype(np.float32), (64, 64)), MatchingArea(boxes))
    flat = boxes.reshape(6, -1)
    found = iou_of_ranks(pixel_ranks(maps, (64, 64)), flat.sum(axis=1), flat)
    np.testing.assert_allclose(found, iou(areas, boxes), atol=1e-6)


def test_every_map_meets_its_own_box_however_many_there_are():
    maps = np.zeros((600, 2, 2), np.uint8)
    maps[:300, 0, 0], maps[300:, 1, 1] = 255, 255
    boxes = np.zeros((600, 4), bool)
    boxes[:, 0] = True
    ranks = first_ranks(maps.reshape(600, 4))
    found = iou_of_ranks(ranks, boxes.sum(axis=1), boxes)
    assert found.tolist() == [1.0] * 300 + [0.0] * 300
    swapped = iou_of_ranks(ranks, boxes.sum(axis=1), boxes, np.arange(600)[::-1])
    assert swapped.tolist() == [0.0] * 300 + [1.0] * 300


def test_boxes_are_united():
    run = run_of([[0, 0]])
    run.columns["boxes"][0] = ((0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75))
    mask = box_masks(run, np.array([0]), (64, 64)).reshape(64, 64)
    assert mask.sum() == 2 * 32 * 32 - 16 * 16
    assert mask[16, 40] and not mask[40, 8]


def _looking(corners):
    """Maps that look at the upper left (0) or the lower right (1) quarter."""
    maps = np.zeros((len(corners), 2, 8, 8), np.uint8)
    for of_image, corner in zip(maps, corners, strict=True):
        half = slice(0, 4) if corner == 0 else slice(4, 8)
        of_image[:, half, half] = 255
    return maps


def test_other_images_that_look_elsewhere_give_zero():
    # Each image's partners are all others: of three images one looks at the box.
    run = run_of([[0, 1]] * 3, maps=_looking([0, 1, 1]), iou_box=[1.0, 0.0, 0.0])
    found = box_chance(run)
    box_of_other = found.chance["other images"]
    assert box_of_other[0] == pytest.approx(0.0)
    assert box_of_other[1] == box_of_other[2] > 0.25  # one of two partners, blurred by resizing
    assert found.excess()[0] == pytest.approx(1.0)


def test_random_pixels_and_the_centre():
    run = run_of([[0, 1], [0, 0]], boxes=[(0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)])
    chance = box_chance(run).chance
    np.testing.assert_allclose(chance["random pixels"], expected_random_iou(4096, 1024, 1024))
    # Disc and square of one area and centre overlap in 90.6 % (r^2 = 1 / (4 pi)).
    assert chance["centred disc"][1] == pytest.approx(0.906 / (2 - 0.906), abs=0.02)
    assert chance["centred disc"][0] < 0.2


def test_images_misclassified_or_without_a_box_have_no_chance_level():
    run = run_of([[0, 1], [0, 0], [1, 1], [0, 0]], boxes=[(0, 0, 1, 1)] * 3 + [None])
    found = box_chance(run)
    for column in (found.measured, *found.chance.values()):
        assert np.isnan(column).tolist() == [False, False, True, True]


def test_one_image_alone_has_no_other():
    found = box_chance(run_of([[0, 1]]))
    assert np.isnan(found.chance["other images"][0])
    assert drift_chance(run_of([[0, 1]])).rounds[0].value is None


def test_rows_by_success():
    run = run_of([[0, 0], [0, 1]], maps=_looking([0, 0]), iou_box=[0.9, 0.4])
    rows = box_chance(run).by_success(run)
    assert rows["measured"].difference.value == pytest.approx(-0.5)
    assert rows["measured - other images"].difference.value == pytest.approx(-0.5)
    assert rows["measured - centred disc"].difference.value == pytest.approx(-0.5)
    assert rows["random pixels"].difference.value == 0.0


def test_drift_of_random_maps_is_that_of_random_cells():
    run = simulated(400)
    found = drift_chance(run)
    assert found.rounds[0].value == pytest.approx(found.random_cells, abs=0.01)


def test_one_seed_gives_one_choice_of_other_images():
    run = simulated(50)
    first, again, other = (box_chance(run, seed=seed).excess() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_image_meets_twenty_others_and_never_itself():
    partners = np.array(list(other_images(30, chance_baselines.PARTNERS, seed=0)))
    assert partners.shape == (20, 30)
    images = np.arange(30)
    assert not (partners == images).any()
    assert all(len(set(partners[:, image])) == 20 for image in images)


def test_the_chance_level_is_the_mean_over_all_partners():
    # One of 21 images looks at the upper left quarter, where its box is; the 20 others elsewhere.
    # They are each other's partners, so its chance level is 0, and theirs is a twentieth of
    # what its map reaches on their boxes.
    corners = [0] + [1] * 20
    run = run_of([[0, 1]] * 21, maps=_looking(corners))
    reached = iou_of_ranks(pixel_ranks(run.maps()[:1, 0], (64, 64)), np.array([1024]),
                       box_masks(run, np.array([0]), (64, 64)))  # fmt: skip
    found = box_chance(run).chance["other images"]
    assert found[0] == pytest.approx(0.0)
    np.testing.assert_allclose(found[1:], reached[0] / 20)
    # The same for drift: ten cells of the upper left against ten of the lower right.
    drift = drift_chance(run).rounds[0]
    assert drift.value == pytest.approx((0 + 20 * 19 / 20) / 21)
