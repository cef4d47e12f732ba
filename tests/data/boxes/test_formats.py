"""Conversion, checks and masks of boxes, against answers worked out by hand."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import keras_cv
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.data import canonical_boxes, check_boxes, object_masks
from aad_tf.data.boxes.adapters import FORMATS

# One box of an image 100 high and 200 wide: rows 20 to 60, columns 10 to 40.
SAME_BOX = {
    "xyxy": [10, 20, 40, 60],
    "yxyx": [20, 10, 60, 40],
    "xywh": [10, 20, 30, 40],
    "center_xywh": [25, 40, 30, 40],
    "center_yxhw": [40, 25, 40, 30],
    "rel_xyxy": [0.05, 0.2, 0.2, 0.6],
    "rel_yxyx": [0.2, 0.05, 0.6, 0.2],
    "rel_xywh": [0.05, 0.2, 0.15, 0.4],
}


def mask(boxes, box_labels=None, label=0, size=4):
    box_labels = [0] * len(boxes) if box_labels is None else box_labels
    return object_masks(np.reshape(boxes, (1, -1, 4)), [box_labels], [label], size)[0]


def rectangle(*spans, size=(4, 4)):
    expected = np.zeros(size, bool)
    for top, left, bottom, right in spans:
        expected[top:bottom, left:right] = True
    return expected


def test_every_format_is_listed():
    assert set(SAME_BOX) == set(FORMATS)


@pytest.mark.parametrize("box_format", sorted(SAME_BOX))
def test_one_box_in_every_format(box_format):
    box = SAME_BOX[box_format]
    for boxes in ([box], [[box], [box]]):
        found = canonical_boxes(boxes, box_format, (100, 200))
        assert found.dtype == tf.float32 and found.shape == np.shape(boxes)
        expected = np.broadcast_to([0.2, 0.05, 0.6, 0.2], found.shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    for none in (np.zeros([0, 4], "float64"), []):
        assert canonical_boxes(none, box_format, (100, 200)).shape == (0, 4)


def test_one_number_is_both_sides_of_the_image():
    found = canonical_boxes([[10, 20, 30, 40]], "xywh", 100)
    np.testing.assert_allclose(found, [[0.2, 0.1, 0.6, 0.4]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("box_format", sorted(SAME_BOX))
def test_conversions_are_those_of_keras_cv(box_format):
    boxes = np.random.default_rng(0).uniform(0, 1, (2, 5, 4)).astype(np.float32)
    boxes *= 1 if box_format.startswith("rel_") else 100
    theirs = keras_cv.bounding_box.convert_format(
        boxes, source=box_format, target="rel_yxyx", image_shape=(100, 200, 3), dtype="float32"
    )
    found = canonical_boxes(boxes, box_format, (100, 200))
    np.testing.assert_array_equal(found, theirs)


def test_one_module_uses_keras_cv_and_only_when_it_is_needed():
    found = []
    for path in (Path(__file__).resolve().parents[3] / "aad_tf").rglob("*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        names = [
            (node.col_offset, getattr(node, "module", None) or node.names[0].name)
            for node in ast.walk(module)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        found += [(path.name, column) for column, name in names if name.startswith("keras_cv")]
    # One import, within a function.
    assert found == [("adapters.py", 4)]


def test_formats_in_fractions_need_no_size():
    found = canonical_boxes([SAME_BOX["rel_xywh"]], "REL_xyWH")
    np.testing.assert_allclose(found, [SAME_BOX["rel_yxyx"]], rtol=0, atol=1e-6)


def test_conversion_in_a_data_pipeline_uses_each_images_size():
    sizes = tf.data.Dataset.from_tensor_slices([[100, 200], [50, 400]])
    boxes = sizes.map(lambda size: canonical_boxes([[10, 20, 40, 60]], "xyxy", (size[0], size[1])))
    expected = [[[0.2, 0.05, 0.6, 0.2]], [[0.4, 0.025, 1.2, 0.1]]]
    np.testing.assert_allclose(list(boxes.as_numpy_iterator()), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0, 0, 1, 1]], "yxxy"), "Unknown box format 'yxxy'. Did you mean 'yxyx'"),
        (([[0, 0, 1, 1]], None), "Unknown box format 'none'"),
        (([[0, 0, 1, 1]], "xyxy"), "in pixels: pass image_size=(height, width)"),
        (([0, 0, 1, 1], "rel_xyxy"), "boxes must be [n, 4]"),
        (([[0, 0, 1]], "rel_xyxy"), "got shape (1, 3)"),
    ],
)
def test_conversions_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        canonical_boxes(*arguments)


GOOD = [0.1, 0.2, 0.5, 0.9]


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ([0.1, 0.2, 1.1, 0.9], "reaches outside the image"),
        ([-0.1, 0.2, 0.3, 0.9], "pass clip=True"),
        ([0.5, 0.2, 0.1, 0.9], "has swapped corners: ymin must not exceed ymax"),
        ([0.1, 0.9, 0.5, 0.2], "nor xmin xmax. Is its box_format right?"),
        ([0.1, 0.2, 0.1, 0.9], "has no area within the image. Remove it."),
        ([0.1, 0.2, 0.5, 0.2], "has no area"),
        ([0.1, np.nan, 0.5, 0.9], "holds NaN or infinity"),
        ([0.1, 0.2, np.inf, 0.9], "holds NaN or infinity"),
        ([10, 20, 30, 40], "seems to be in pixels"),
        ([-1, -1, -1, -1], "reaches outside"),
    ],
)
def test_bad_boxes_are_named(bad, complaint):
    values = ", ".join(f"{value:g}" for value in bad)
    expected = f"(ymin, xmin, ymax, xmax) = ({values}) "
    with pytest.raises(ValueError, match=re.escape(f"Example 0, box 2: {expected}")):
        check_boxes([GOOD, GOOD, bad])
    with pytest.raises(ValueError, match=re.escape(complaint)):
        check_boxes([[GOOD, GOOD], [GOOD, bad]])
    with pytest.raises(ValueError, match=re.escape(f"Example 41, box 1: {expected}")):
        check_boxes([[GOOD, GOOD], [GOOD, bad]], [[0, 1], [2, 3]], first_example=40)


def test_padding_is_not_looked_at():
    boxes = np.array([[GOOD, [-1, -1, -1, -1]], [[50, 60, 2, 1], [np.nan] * 4]], np.float32)
    np.testing.assert_array_equal(check_boxes(boxes, [[3, -1], [-1, -1]]), boxes)


def test_rounding_is_cut_and_more_is_cut_on_request():
    exact = np.array([[0, 0, 1, 1]], np.float32)
    np.testing.assert_array_equal(check_boxes([[-1e-6, 0, 1, 1.00001]]), exact)
    np.testing.assert_array_equal(check_boxes([[-0.5, -0.1, 1.9, 1.2]], clip=True), exact)
    assert check_boxes(np.zeros([0, 4])).shape == (0, 4)
    assert check_boxes(np.zeros([3, 0, 4]), np.zeros([3, 0])).dtype == np.float32


def test_clipping_does_not_hide_a_box_elsewhere():
    with pytest.raises(ValueError, match="box 0: .* has no area within the image"):
        check_boxes([[1.1, 0.2, 1.5, 0.9]], clip=True)


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        (GOOD, None, "got shape (4,)"),
        ([[0.1, 0.2, 0.3]], None, "got shape (1, 3)"),
        ([[[GOOD]]], None, "got shape (1, 1, 1, 4)"),
        ([GOOD], [1, 2], "one label per box, (1,), got (2,)"),
    ],
)
def test_wrong_shapes(boxes, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_boxes(boxes, labels)


@pytest.mark.parametrize(
    ("boxes", "spans"),
    [
        # On pixel edges: exactly these pixels.
        ([[0.25, 0.5, 0.75, 1.0]], [(1, 2, 3, 4)]),
        ([[0, 0, 1, 1]], [(0, 0, 4, 4)]),
        # A corner in the middle of a pixel: the lower edge takes its centre in, the upper does not.
        ([[0.125, 0.125, 0.625, 0.625]], [(0, 0, 2, 2)]),
        ([[0.13, 0.12, 0.63, 0.62]], [(1, 0, 3, 2)]),
        # Two boxes, overlapping and apart.
        ([[0, 0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]], [(0, 0, 2, 2), (1, 1, 3, 3)]),
        ([[0, 0, 0.25, 1], [0.75, 0, 1, 0.25]], [(0, 0, 1, 4), (3, 0, 4, 1)]),
        # Between centres: no pixel.
        ([[0.3, 0.3, 0.35, 0.9]], []),
        ([], []),
    ],
)
def test_masks_by_hand(boxes, spans):
    found = mask(boxes)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, rectangle(*spans))


def test_other_classes_and_padding_are_ignored():
    left, right = [0, 0, 1, 0.5], [0, 0.5, 1, 1]
    np.testing.assert_array_equal(mask([left, right], [7, 3], 3), rectangle((0, 2, 4, 4)))
    np.testing.assert_array_equal(mask([left, [-1] * 4], [7, -1], 7), rectangle((0, 0, 4, 2)))
    assert not mask([left, right], [7, 3], 5).any()
    # A label of -1 must not meet the padding's.
    assert not mask([[0, 0, 1, 1]], [-1], -1).any()


def test_each_example_has_its_own_mask_and_any_size():
    boxes = [[[0, 0, 0.5, 1]], [[0, 0, 1, 0.2]], [[0, 0, 1, 1]]]
    found = object_masks(boxes, [[1], [2], [0]], [1, 2, 3], (2, 5))
    expected = [rectangle(span, size=(2, 5)) for span in ((0, 0, 1, 5), (0, 0, 2, 1), (0, 0, 0, 0))]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [3, 7, 64, 299, 331])
def test_boxes_on_pixel_edges_survive_float32(size):
    # Thirds and sevenths are no binary fractions: rounding must not move an edge by a pixel.
    edges = np.arange(size + 1)
    for top in edges[:-1][:: max(1, size // 7)]:
        box = np.float32([top / size, 0, 1, (top + 1) / size])
        expected = rectangle((top, 0, size, top + 1), size=(size, size))
        np.testing.assert_array_equal(mask([box], size=size), expected)


@pytest.mark.parametrize("size", [10, 299])
def test_boxes_through_pixel_centres_survive_float32(size):
    for pixel in range(0, size - 1, max(1, size // 11)):
        box = np.float32([(pixel + 0.5) / size, 0, (pixel + 1.5) / size, 1])
        assert np.flatnonzero(mask([box], size=size).any(1)).tolist() == [pixel]


def test_neighbours_share_no_pixel_and_leave_none_out():
    cuts = np.float32([0, 0.123, 0.3, 0.55, 0.8, 1])
    columns = [[0, left, 1, right] for left, right in zip(cuts, cuts[1:], strict=False)]
    parts = object_masks(np.float32(columns)[:, None], np.zeros((5, 1)), np.zeros(5), 37)
    np.testing.assert_array_equal(parts.sum(0), np.ones((37, 37)))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4), (1,), (1,)), "boxes must be [batch, n, 4], got shape (1, 4)"),
        (((2, 3, 4), (2, 2), (2,)), "need box_labels (2, 3) and labels (2,), got (2, 2) and (2,)"),
        (((2, 3, 4), (2, 3), (3,)), "got (2, 3) and (3,)"),
    ],
)
def test_masks_of_wrong_shapes(shapes, message):
    boxes, box_labels, labels = (np.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=re.escape(message)):
        object_masks(boxes, box_labels, labels, 4)
