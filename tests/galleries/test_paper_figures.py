"""What each figure shows follows from the records: worked by hand, and of the committed figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from aad_tf.attacks import a3, step_ll
from eval.galleries import GALLERIES, read_study
from eval.galleries.captions import CORRECT, MISCLASSIFIED
from eval.galleries.gallery import described
from eval.galleries.paper_figures import Cell, gallery_of
from eval.galleries.studies import common_images
from tests.attention_records import make_record, write_records

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", GALLERIES)
def test_committed_figures_follow_from_committed_records(number):
    known = json.loads((ROOT / f"results/figures/aad_fig_{number}.json").read_text())
    gallery = gallery_of(number, len(known["records"]))
    studies = [
        dataclasses.replace(gallery.read(ROOT / record["file"]), name=record["network"])
        for record in known["records"]
    ]
    studies = common_images(studies)
    found = described(number, gallery.sheet(studies), studies, known["picture"])
    found["provenance"] = known["provenance"]
    for record, of_file in zip(found["records"], known["records"], strict=True):
        record["file"] = of_file["file"]
    assert json.dumps(found) == json.dumps(known)


def over_rounds(first, count=6):
    """Values of an image that tell rounds apart."""
    return [round(first + k / 100, 2) for k in range(count)]


def written(path, images, **options):
    """Records of images (label, predictions, IoU with the box by round); one number of rounds."""
    records = [
        make_record(
            index,
            prediction,
            label=label,
            top_confidence=over_rounds(0.7, len(prediction)),
            iou_box=iou_box,
            iou_clean=over_rounds(0.3 + index / 10, len(prediction) - 1),
        )
        for index, (label, prediction, iou_box) in enumerate(images)
    ]
    return read_study(write_records(path, records, **options))


def test_figure_1_chooses_by_the_iou_of_the_clean_map(tmp_path):
    """Medians 0.5 and 0.4; by the attacked maps the orders would be others."""
    images = [
        (0, [0, 1], [0.9, 0.5]),
        (1, [1, 2], [0.5, 0.1]),
        (2, [2, 0], [0.2, 0.6]),
        (3, [3, 3], [0.4, 0.8]),
        (0, [0, 0], [0.5, 0.4]),
        (1, [1, 1], [0.1, 0.3]),
        (2, [1, 1], [0.5, 0.5]),
    ]
    sheet = GALLERIES[1].sheet([written(tmp_path / "x.jsonl.gz", images)])
    succeeded, failed = sheet.groups
    assert succeeded.choice.rows.tolist() == [1, 2, 0] and succeeded.choice.median == 0.5
    assert failed.choice.rows.tolist() == [3, 4, 5] and failed.choice.median == 0.4
    assert (succeeded.choice.group, failed.choice.group) == (3, 3)
    first, second, *_ = sheet.cells
    assert first[:3] == [
        Cell("original", 0, 1, 0, "dog"),
        Cell("map", 0, 1, 0, "✓ dog 0.70\nIoU box 0.50", CORRECT),
        Cell("map", 0, 1, 1, "✗ owl 0.71\nIoU box 0.10\nIoU clean map 0.40", MISCLASSIFIED),
    ]
    assert [cell.row for cell in first] == [1] * 3 + [2] * 3
    assert [cell.row for cell in second] == [0] * 3
    assert sheet.row_titles == ["attack\nsucceeded\nn = 3"] * 2 + ["attack\nfailed\nn = 3"] * 2
    assert sheet.column_titles == ["original", "map, clean", "map, attacked"] * 2


def test_figure_2_shows_each_round_with_its_own_iou(tmp_path):
    images = [(0, [0, 0, 1, 1, 1, 0], 0.5), (1, [1, 2, 2, 2, 2, 2], 0.5)]
    sheet = GALLERIES[2].sheet([written(tmp_path / "x.jsonl.gz", images)])
    ((original, *maps),) = sheet.cells
    assert original == Cell("original", 0, 0, 0, "cat")
    assert [cell.round_number for cell in maps] == [0, 1, 2, 3, 4, 5]
    assert [cell.caption for cell in maps] == [
        "✓ cat 0.70",
        "✓ cat 0.71\nIoU clean map 0.30",
        "✗ dog 0.72\nIoU clean map 0.31",
        "✗ dog 0.73\nIoU clean map 0.32",
        "✗ dog 0.74\nIoU clean map 0.33",
        "✓ cat 0.75\nIoU clean map 0.34",
    ]
    misclassified = [cell.color == MISCLASSIFIED for cell in maps]
    assert misclassified == [False, False, True, True, True, False]
    # After round 5, whose IoU it names.
    assert sheet.groups[0].choice.median == 0.34


def test_figure_3_shows_images_before_and_after_three_rounds(tmp_path):
    images = [(0, [0, 1, 1, 1], 0.5), (1, [1, 0, 0, 1], 0.5), (2, [2, 2, 2, 3], 0.5)]
    sheet = GALLERIES[3].sheet([written(tmp_path / "x.jsonl.gz", images)])
    before, after, changed = sheet.cells
    assert before == [Cell("image", 0, 0, 0, "✓ cat 0.70"), Cell("image", 0, 2, 0, "✓ owl 0.70")]
    assert after == [
        Cell("image", 0, 0, 3, "✗ dog 0.73", MISCLASSIFIED),
        Cell("image", 0, 2, 3, "✗ bee 0.73", MISCLASSIFIED),
    ]
    assert [(cell.kind, cell.row, cell.round_number) for cell in changed] == [
        ("difference", 0, 3),
        ("difference", 2, 3),
    ]
    assert sheet.column_titles == ["cat", "owl"]


def test_figure_11_chooses_by_the_plain_attack_and_shows_all(tmp_path):
    attack = step_ll(4 / 255, num_steps=3)
    flipped, kept = [0, 0, 0, 1], [0, 0, 0, 0]
    studies = [
        written(tmp_path / f"{sigma}.jsonl.gz", [(0, prediction, 0.5)], attack=attack)
        for sigma, prediction, attack in (
            (0, flipped, attack),
            (10, kept, a3(attack, sigma=10)),
            (-10, kept, a3(attack, sigma=-10)),
        )
    ]
    sheet = GALLERIES[11].sheet(studies)
    assert [[cell.study for cell in row] for row in sheet.cells] == [[0] * 5, [1] * 5, [2] * 5]
    assert [[cell.round_number for cell in row] for row in sheet.cells] == [[0, 0, 1, 2, 3]] * 3
    assert sheet.row_titles == ["StepLL", "StepLL\n+ A3\nσ +10", "StepLL\n+ A3\nσ −10"]
    assert [row[-1].caption[:5] for row in sheet.cells] == ["✗ dog", "✓ cat", "✓ cat"]


def test_figure_13_shows_the_attacked_map_of_each_network(tmp_path):
    plain = written(
        tmp_path / "plain.jsonl.gz",
        [(0, [0, 1], [0.9, 0.1]), (1, [1, 2], [0.9, 0.2]), (2, [2, 2], [0.9, 0.3])],
    )
    trained = written(
        tmp_path / "trained.jsonl.gz",
        [(0, [0, 0], [0.8, 0.4]), (1, [1, 0], [0.8, 0.5]), (2, [2, 2], [0.8, 0.6])],
        weights="4567",
    )
    studies = [dataclasses.replace(s, name=n) for s, n in ((plain, "one"), (trained, "two"))]
    sheet = GALLERIES[13].sheet(common_images(studies))
    assert sheet.cells[0] == [
        Cell("original", 0, 0, 0, "cat"),
        Cell("map", 0, 0, 1, "✗ dog 0.71\nIoU box 0.10\nIoU clean map 0.30", MISCLASSIFIED),
        Cell("map", 1, 0, 1, "✓ cat 0.71\nIoU box 0.40\nIoU clean map 0.30"),
    ]
    succeeded, failed = sheet.groups
    assert (succeeded.choice.rows.tolist(), failed.choice.rows.tolist()) == ([0], [1])
    assert (succeeded.choice.median, failed.choice.median) == (0.4, 0.5)
    assert sheet.column_titles == ["original", "one", "two"]


def test_studies_are_cut_to_the_images_they_have_in_common(tmp_path):
    def study(name, indices, labels, **options):
        records = [
            make_record(index, [label, label], label=label, iou_box=index / 100)
            for index, label in zip(indices, labels, strict=True)
        ]
        return read_study(write_records(tmp_path / f"{name}.jsonl.gz", records, **options))

    first, second = study("a", [7, 1, 4, 3], [3, 0, 1, 2]), study("b", [4, 9, 7, 3], [1, 0, 3, 2])
    for cut in common_images([first, second]):
        assert cut.records.index.tolist() == [3, 4, 7]
        assert cut.records.label.tolist() == [2, 1, 3]
        np.testing.assert_allclose(cut.iou_box[:, 0], [0.03, 0.04, 0.07])
    for other, message in (
        (study("c", [8, 9], [0, 0]), "have no image in common"),
        (study("d", [7], [0]), "disagree about labels"),
        (study("e", [7], [3], split="validation"), "are of different data"),
    ):
        with pytest.raises(ValueError, match=message):
            common_images([first, other])


def test_records_that_do_not_suffice_are_refused(tmp_path):
    study = written(tmp_path / "x.jsonl.gz", [(0, [0, 1], 0.5)])
    with pytest.raises(ValueError, match="has 1 rounds of the attack, 2 are needed"):
        GALLERIES[2].sheet([study])
    with pytest.raises(ValueError, match="no image to show for the group 'attack failed': 0"):
        GALLERIES[1].sheet([study])
    with pytest.raises(ValueError, match="no lime/iou_box/8 in this study"):
        GALLERIES[9].read(study.path)
    with pytest.raises(ValueError, match="figure must be one of 1, 2, 3"):
        gallery_of(4, 1)
    with pytest.raises(ValueError, match=r"Figure 11 takes 3 file\(s\) of records"):
        gallery_of(11, 1)
