"""Tables 7 and 8 of four images, every number by hand."""

from __future__ import annotations

import pytest

from aad_tf.records.columns import read_attention_records
from analysis.attention.tables_7_8 import table_7, table_8


@pytest.fixture
def run(write, record):
    """Images 0 and 1 succeed, 2 fails, 3 fails without a box; LIME differs from Grad-CAM."""

    def image(index, prediction, box_iou, clean_iou, **options):
        lime = {
            "iou_box": {"8": [box_iou, 0.0], "10": [box_iou + 0.1, 0.0]},
            "iou_clean": {"8": [clean_iou], "10": [clean_iou / 2]},
            "segments": [20 + index, 0],
        }
        if "box" in options:
            lime["iou_box"] = None
        methods = ("grad_cam", "lime")
        return record(index, prediction, methods=methods, measured={"lime": lime}, **options)

    records = [
        image(0, [0, 1], 0.2, 0.1),
        image(1, [0, 1], 0.4, 0.3),
        image(2, [0, 0], 0.5, 0.6),
        image(3, [0, 0], 0.0, 0.8, box=None),
    ]
    return read_attention_records(write("d_clean_test_lime", records))


def test_table_7_by_hand(run):
    table = table_7(run, "d", "clean")
    assert table.tables[0][1].rows == (
        *(("8", "ours", "2 / 1", "0.300 [0.200, 0.400]", "0.500 [0.500, 0.500]",
           "-0.200 [-0.300, -0.100]"),),
        ("", "paper", "", "0.413", "0.442", "-0.029"),
        *(("10", "ours", "2 / 1", "0.400 [0.300, 0.500]", "0.600 [0.600, 0.600]",
           "-0.200 [-0.300, -0.100]"),),
        ("", "paper", "", "0.484", "0.516", "-0.032"),
    )  # fmt: skip


def test_table_8_needs_no_box(run):
    table = table_8(run, "d", "clean")
    assert table.tables[0][1].rows[0] == (
        *("8", "ours", "2 / 2", "0.200 [0.100, 0.300]", "0.700 [0.600, 0.800]"),
        "-0.500 [-0.700, -0.300]",
    )
    assert table.tables[0][1].rows[2][3].startswith("0.100")
    assert table.tables[0][1].rows[3] == ("", "paper", "", "0.159", "0.241", "-0.082")
    # Two images a group say nothing, however far apart they lie.
    assert {finding.verdict for finding in table.findings} == {"undecided"}


def test_caption_tells_how_lime_was_set_up(run):
    text = table_7(run, "d", "clean").page()
    assert "LIME, num_samples 1000, num_segments 50, seed 0; on average 21.5 superpixels" in text
    assert "0.0 % have no more than 10 superpixels" in text
    assert "1 of them have no box" in text


def test_lime_beside_itself_is_the_floor_of_table_8(write, record):
    def image(index, prediction, clean, repeat):
        lime = {
            "iou_clean": {"8": [clean], "10": [clean]},
            "iou_repeat": {"8": [repeat], "10": [repeat / 2]},
        }
        methods = ("grad_cam", "lime")
        return record(index, prediction, methods=methods, measured={"lime": lime})

    records = [image(0, [0, 1], 0.1, 0.5), image(1, [0, 1], 0.3, 0.7), image(2, [0, 0], 0.6, 0.6)]
    run = read_attention_records(write("d_clean_test_lime", records))
    assert run.iou_repeat(8).tolist() == [0.5, 0.7, 0.6]
    table = table_8(run, "d", "clean")
    rows = [row for row in table.tables[0][1].rows if row[1] == "same image, other samples"]
    assert [row[2] for row in rows] == ["2 / 1", "2 / 1"]
    assert [cell.split()[0] for cell in rows[0][3:]] == ["0.600", "0.600", "+0.000"]
    assert [cell.split()[0] for cell in rows[1][3:]] == ["0.300", "0.300", "+0.000"]
    (note,) = [note for note in table.remarks if "At 8 features" in note]
    # Both successes lie 0.4 under their own repetition, the failure nowhere under it.
    assert "-0.400 [-0.400, -0.400]" in note and "+0.000 [+0.000, +0.000]" in note
    assert "same image" not in table_7(run, "d", "clean").page()
    assert "same image, other samples" in table.csv()


def test_records_without_a_repetition_are_read_and_shown_as_before(run):
    assert run.iou_repeat(8) is None
    assert "other samples" not in table_8(run, "d", "clean").page()
