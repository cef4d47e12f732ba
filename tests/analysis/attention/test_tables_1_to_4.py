"""Tables 1 to 4 of six images, every number by hand."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from aad_tf.attacks import step_ll
from aad_tf.records.columns import read_attention_records
from analysis.attention.tables_1_2 import table_1, table_2
from analysis.attention.tables_3_4 import table_3, table_4

HALF = "50.0 [15.0, 85.0]"  # Wilson of 2 in 4


def moved(first, second):
    """IoU with the clean map after both rounds, half as large at 5 cells."""
    return {
        "5": [first / 2, second / 2],
        **dict.fromkeys(("10", "20", "30"), [first, second]),
    }


def shifted(*cells):
    """Grad-CAM maps of 8 cells in reading order, moved on by so many: clean, round 1, round 2.

    Moved by 4, 4 of 8 + 4 cells are shared, an IoU of 1/3; moved by 8, none.
    """
    maps = np.zeros((1 + len(cells), 64), np.uint8)
    for row, start in enumerate((0, *cells)):
        maps[row, start : start + 8] = np.arange(200, 208)
    return {"grad_cam": maps.reshape(-1, 8, 8)}


@pytest.fixture
def images(record):
    """Correct and with a box: 0 to 3; 4 is misclassified, 5 has no box."""

    def image(index, prediction, confidence, iou_box, moves, cells, **options):
        overlaps = {"iou_box": iou_box, "iou_clean": moved(*moves), "maps": shifted(*cells)}
        return record(index, prediction, confidence=confidence, **overlaps, **options)

    return [
        image(0, [0, 1, 1], 0.9, 0.4, (0.2, 0.1), (8, 8)),
        image(1, [0, 1, 1], 0.7, 0.6, (0.4, 0.3), (4, 8)),
        image(2, [0, 0, 1], 0.5, 0.45, (0.6, 0.5), (4, 4)),
        image(3, [0, 0, 0], 0.6, 0.8, (0.8, 0.7), (0, 4)),
        image(4, [1, 1, 1], 0.1, 0.0, (0.0, 0.0), (0, 0)),
        image(5, [0, 1, 1], 0.3, 0.5, (0.3, 0.2), (4, 8), box=None),
    ]


@pytest.fixture
def run(write, images):
    return read_attention_records(write("d_clean_test_step_ll", images))


def main_rows(table):
    return table.tables[0][1].rows


def csv_rows(table):
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_table_1_by_hand(run):
    table = table_1(run, "d", "clean")
    # Succeeded: 0.4 and 0.6; failed: 0.45 and 0.8; a draw of two has its ends beyond 2.5 %.
    assert main_rows(table) == (
        *(("test", "ours", "4", HALF, "0.500 [0.400, 0.600]", HALF, "0.625 [0.450, 0.800]",
           "-0.125 [-0.400, +0.150]"),),
        ("ImageNet2012", "paper", "38,245", "74.1", "0.647", "25.9", "0.701", "-0.054"),
    )  # fmt: skip
    (finding,) = table.findings
    assert (finding.verdict, finding.paper_text()) == ("undecided", "-0.054")


def test_table_2_by_hand(run):
    table = table_2(run, "d", "clean")
    # Below 0.5: image 0 succeeded with confidence 0.9, image 2 failed with 0.5.
    assert main_rows(table)[0] == (
        *("test", "ours", "2 of 4", HALF),
        *("50.0 [9.5, 90.5]", "0.900 [0.900, 0.900]"),
        *("50.0 [9.5, 90.5]", "0.500 [0.500, 0.500]", "+0.400 [+0.400, +0.400]"),
    )
    assert main_rows(table)[1][2:4] == ("5,857 of 38,245", "15.3")
    assert main_rows(table)[1][-1] == "+0.1003"
    # Others: image 1 succeeded with 0.7, image 3 failed with 0.6.
    others = table.tables[1][1].rows
    assert others[0] == (
        *("test", "ours", "2 / 2", "50.0 [9.5, 90.5]", "50.0 [9.5, 90.5]"),
        *("+0.0 [-100.0, +100.0]", "0.700 [0.500, 0.900]", "0.650 [0.600, 0.700]"),
        "+0.050 [-0.200, +0.300]",
    )
    # (0.741 * 38245 - 0.828 * 5857) / 32388 = 0.72527
    assert others[1][2:6] == ("5,857 / 32,388", "82.8", "72.5", "+10.3")


def test_table_2_says_what_else_sets_low_iou_images_apart(write, record):
    small, large = (0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 1.0, 0.5)
    records = [record(i, [0, 1], box=small, iou_box=0.3) for i in range(2)]
    records += [record(2 + i, [0, 0], box=(small, large)[i], iou_box=0.6) for i in range(2)]
    table = table_2(read_attention_records(write("d_clean_test_step_ll", records)), "d", "clean")
    (note,) = [note for note in table.remarks if note.startswith("Boxes cover")]
    assert "Boxes cover 25 % of the picture on average at IoU < 0.5, 38 % on the others" in note
    # One other image alone has a box as small: it failed, its partner succeeded.
    assert "Among 1 pairs alike" in note and "differs by +100.0 [" in note
    assert "(../attention_findings.md)" in note


def test_table_3_by_hand(run):
    table = table_3(run, "d", "clean")
    rows = [row for row in main_rows(table) if row[1] == "ours"]
    # Succeeded: 0.2, 0.4 and, without a box, 0.3; failed: 0.6, 0.8.
    assert [row[3].split()[0] for row in rows] == ["0.150", "0.300", "0.300", "0.300"]
    assert [row[4].split()[0] for row in rows] == ["0.350", "0.700", "0.700", "0.700"]
    assert [row[5].split()[0] for row in rows] == ["-0.200", "-0.400", "-0.400", "-0.400"]
    assert main_rows(table)[3] == ("", "paper", "", "0.490", "0.677", "-0.187")
    assert [finding.headline for finding in table.findings] == [False, True, False, False]


def test_table_4_by_hand(run):
    table = table_4(run, "d", "clean")
    ours = [row for row in main_rows(table) if row[1] == "ours"]
    starts = [[cell.split()[0] for cell in row] for row in ours]
    # Round 1: 0, 1/3, 1/3 against 1/3, 1. Round 2: 0, 0, 1/3, 0 against 1/3.
    assert starts == [
        ["1", "ours", "4/255", "60.0", "0.222", "40.0", "0.667", "-0.444", "0.400"],
        ["2", "ours", "8/255", "80.0", "0.083", "20.0", "0.333", "-0.250", "0.133"],
    ]
    assert main_rows(table)[1][3:7] == ("74.1", "0.451", "17.2", "0.643")
    findings = {finding.statement: finding for finding in table.findings}
    gain = findings["success of the attack, round 2 - round 1"]
    assert gain.ours_text().split()[0] == "+20.0" and gain.paper_text() == "+22.7"
    fall = findings["IoU clean-adversarial, all right, round 2 - round 1"]
    assert fall.ours_text().split()[0] == "-0.267"
    assert "8 cells (chance 0.071)" in table.title
    others = table.tables[1][1].rows
    assert [row[1] for row in others] == ["5", "10", "20", "30"] * 2
    # As recorded: 0.2, 0.4, 0.3 against 0.6, 0.8.
    assert [cell.split()[0] for cell in others[1][3:]] == ["0.300", "0.700", "-0.400"]


def test_table_4_says_how_near_the_copies_of_maps_come(run, write, images):
    # At 10 cells the copies add the first two cells in reading order that are zero: moved by 8 they
    # share 0, 1, 8 and 9, 4 of 16; moved by 4 0, 1 and 4 to 9, 8 of 12; unmoved all.
    copies = (4 / 16 + 3 * 8 / 12 + 1) / 5 + (3 * 4 / 16 + 2 * 8 / 12) / 5
    recorded = (0.2 + 0.4 + 0.6 + 0.8 + 0.3 + 0.1 + 0.3 + 0.5 + 0.7 + 0.2) / 5
    (note,) = [note for note in table_4(run, "d", "clean").remarks if "copies" in note]
    assert note.startswith("The records hold the IoU at 5, 10, 20, 30 cells; at 8 the areas are")
    assert note.endswith(f"At 10 cells, where both are known, the copies change the mean IoU by "
                         f"{(copies - recorded) / 2:+.4f}.")  # fmt: skip


def test_table_4_takes_8_cells_as_recorded_where_they_are(write, images):
    for image in images:
        for entry in image["maps"].values():
            entry["iou_clean"]["8"] = [0.9, 0.9]
    path = write("d_clean_test_step_ll", images, study={"cells": [8, 10]})
    table = table_4(read_attention_records(path), "d", "clean")
    assert main_rows(table)[0][4].startswith("0.900")
    assert not [note for note in table.remarks if "copies" in note]


def test_table_4_keeps_10_cells_where_there_are_no_maps(write, images):
    path = write("d_clean_test_step_ll", images, study={"keep_maps": []})
    table = table_4(read_attention_records(path), "d", "clean")
    assert "10 cells (chance 0.088)" in table.title
    assert main_rows(table)[0][4].startswith("0.300")
    assert [note for note in table.remarks if note.startswith("Here 10 cells are kept")]


def test_csv_holds_every_number_with_the_papers(run):
    rows = csv_rows(table_4(run, "d", "clean"))
    cells = {(r["row"], r["quantity"], r["group"]): r for r in rows}
    five = cells["round 2, 5 cells", "IoU", "succeeded"]
    assert float(five["value"]) == pytest.approx(0.1375) and five["paper"] == ""
    eight = cells["round 1, 8 cells", "IoU", "difference"]
    assert (float(eight["value"]), float(eight["paper"])) == pytest.approx(
        (-4 / 9, -0.192), abs=1e-6
    )
    percent = cells["round 2", "percent", "failed"]
    assert (float(percent["value"]), percent["count"], percent["paper"]) == (20.0, "5", "3.2")


def test_caption_says_what_was_measured(run):
    text = table_1(run, "d", "clean").page()
    for part in (
        "clean (inception_small), weights 0123, attention layer mixed (8 × 8 cells)",
        "JPEG copy",
        "4 classes; test 6 images (the published validation split)",
        "Accuracy on clean images 83.3 %; the 5 images right of 6 are I_att. 1 of them have no box",
        "l∞; round 1 of 2, step size 4/255, total ε 0.0157 in [0, 1] = 4/255",
        "steps add up, no projection",
        "the class the network finds least likely",
        "Maps explain the true label.",
    ):
        assert part in text
    assert "I\\_att" in table_1(run, "d", "clean").latex()
    whole = table_4(run, "d", "clean").page()
    assert "2 rounds, step size 4/255, total ε 0.0314 in [0, 1] = 8/255" in whole


def test_two_splits_get_a_row_each_and_one_together(write, images, record):
    test = write("d_clean_test_step_ll", images)
    more = write("d_clean_validation_step_ll", [record(0, [0, 1, 1])], split="validation")
    rows = main_rows(table_1(read_attention_records(test, more), "d", "clean"))
    assert [(row[0], row[2]) for row in rows] == [
        *(("validation", "1"), ("test", "4"), ("both", "5"), ("ImageNet2012", "38,245")),
    ]
    assert rows[0][3] == "100.0 [20.7, 100.0]" and rows[0][-1] == "–"


@pytest.mark.parametrize(("prediction", "missing"), [(1, "failed"), (0, "succeeded")])
def test_an_empty_group_is_a_dash_and_a_note(write, record, prediction, missing):
    records = [record(i, [0, prediction], iou_box=0.4) for i in range(3)]
    run = read_attention_records(write("d_clean_test_step_ll", records))
    for make in (table_1, table_2, table_3, table_4):
        table = make(run, "d", "clean")
        assert main_rows(table)[0][-1 if make is not table_4 else 7] == "–"
        assert any(f"no attack {missing}" in note for note in table.remarks)
        assert "nothing to compare" in table.page()
        assert table.latex() and table.csv()


def test_no_correct_image_is_no_crash(write, record):
    run = read_attention_records(write("d_clean_test_step_ll", [record(0, [1, 1])]))
    for make in (table_1, table_2, table_3, table_4):
        assert "no image to compare" in make(run, "d", "clean").page()


def two_rounds(write, record, stem, second, attack=None):
    """40 images, 30 misclassified in round 1; the first `second` in round 2."""
    records = [record(i, [0, int(i < 30), int(i < second)]) for i in range(40)]
    return read_attention_records(write(stem, records, attack=attack))


@pytest.mark.parametrize(
    ("kept_in_2", "conclusion"),
    [
        (38, "+20.0 [+7.5, +32.5] points ([that table](table_4_d_clean_kept_target.md)): choosing "
             "the target anew undoes part of what the round before had reached."),
        (30, "+0.0 [+0.0, +0.0] points ([that table](table_4_d_clean_kept_target.md))."),
    ],
)  # fmt: skip
def test_where_success_falls_table_4_points_to_the_kept_target(
    write, record, kept_in_2, conclusion
):
    run = two_rounds(write, record, "d_clean_test_step_ll", 20)
    kept_attack = step_ll(4 / 255, num_steps=2, relabel=False)
    kept = two_rounds(write, record, "d_clean_test_step_ll_kept_target", kept_in_2, kept_attack)
    (note,) = [n for n in table_4(run, "d", "clean", kept=kept).remarks if "Success falls" in n]
    assert "from round 1 to 2" in note and "75.0 % to 50.0 % of the 40 images of test" in note
    assert f"goes 75.0 % to {100 * kept_in_2 / 40:.1f} %" in note
    assert note.endswith(conclusion)
    assert not [n for n in table_4(run, "d", "clean").remarks if "Success falls" in n]


def test_where_success_rises_there_is_nothing_to_explain(write, record):
    run = two_rounds(write, record, "d_clean_test_step_ll", 38)
    assert not [n for n in table_4(run, "d", "clean", kept=run).remarks if "Success falls" in n]
