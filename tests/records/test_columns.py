"""Reading attention records: columns as written, and what is refused."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest

from aad_tf.attacks import step_ll
from aad_tf.records.columns import read_attention_records

BOTH = ("grad_cam", "lime")


@pytest.fixture
def two(write, record):
    """Two images under two rounds, the second without a box."""
    maps = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    records = [
        record(4, [0, 0, 1], iou_clean=[0.25, 0.75], maps={"grad_cam": maps}, methods=BOTH),
        record(9, [2, 0, 0], box=None, confidence=[0.1, 0.2, 0.3], methods=BOTH),
    ]
    return write("d_clean_test_step_ll", records)


def damaged(path, change):
    """The file with one line changed."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines[1] = change(lines[1])
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return path


def without(*keys):
    """Takes a key, or a key inside others, out of a record."""

    def change(line):
        value = json.loads(line)
        inner = value
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return json.dumps(value)

    return change


def replacing(key, value):
    return lambda line: json.dumps({**json.loads(line), key: value})


def test_columns_are_those_written(two):
    run = read_attention_records(two)
    assert (len(run), run.rounds, run.methods) == (2, 2, BOTH)
    assert run.index.tolist() == [4, 9]
    assert run.split.tolist() == ["test", "test"]
    assert run.correct.tolist() == [True, False]
    assert run.has_box.tolist() == [True, False]
    assert run.box_area[0] == 0.25 and np.isnan(run.box_area[1])
    assert run.boxes.tolist() == [((0.0, 0.0, 0.5, 0.5),), ()]
    assert run.confidence[1].tolist() == [0.1, 0.2, 0.3]
    assert run.iou_box()[0].tolist() == [0.5] * 3 and np.isnan(run.iou_box()[1]).all()
    assert run.iou_box("lime", 8).shape == (2, 3)
    assert run.iou_clean().tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert run.maps()[0, 1, 0].tolist() == list(range(64, 72))
    assert run.centroid().shape == (2, 3, 2)
    assert run.measure("lime", "segments").tolist() == [[20.0] * 3] * 2
    assert run.agreement("lime", "grad_cam", "iou").tolist() == [[0.5] * 3] * 2


def test_success_counts_only_what_was_right_before(two):
    run = read_attention_records(two)
    assert run.succeeded(1).tolist() == [False, False]
    assert run.failed(1).tolist() == [True, False]
    assert run.succeeded(2).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"round must be in \[1, 2\], got 3"):
        run.succeeded(3)


def test_boxes_stay_tuples_when_every_image_has_one(write, record):
    run = read_attention_records(
        write("d_clean_test_step_ll", [record(0, [0, 1]), record(1, [0, 1])])
    )
    assert run.boxes.tolist() == [((0.0, 0.0, 0.5, 0.5),)] * 2


def test_nulls_become_nan(write, record):
    measured = {"grad_cam": {"entropy": [None, 0.5], "centroid": [[None, None], [0.25, 0.5]]}}
    run = read_attention_records(
        write("d_clean_test_step_ll", [record(0, [0, 1], measured=measured)])
    )
    assert np.isnan(run.measure("grad_cam", "entropy")[0, 0])
    assert np.isnan(run.centroid()[0, 0]).all()
    assert run.centroid()[0, 1].tolist() == [0.25, 0.5]


def test_maps_that_were_not_kept_are_not_asked_for(write, record):
    one = record(0, [0, 1], methods=BOTH)
    del one["maps"]["lime"]["map"]
    run = read_attention_records(
        write("d_clean_test_lime", [one], study={"keep_maps": ["grad_cam"]})
    )
    assert run.maps("grad_cam").shape == (1, 2, 8, 8)
    with pytest.raises(ValueError, match="No lime/map in the records"):
        run.maps("lime")


def test_select_keeps_every_column_aligned(two):
    run = read_attention_records(two).select(np.array([False, True]))
    assert len(run) == 1
    assert {len(column) for column in run.columns.values()} == {1}
    assert run.index.tolist() == [9]


def test_two_splits_are_read_as_one(two, write, record):
    other = write("d_clean_validation_step_ll", [record(4, [0, 1, 1], methods=BOTH)],
                  split="validation")  # fmt: skip
    run = read_attention_records(two, other)
    assert run.split.tolist() == ["test", "test", "validation"]
    assert run.index.tolist() == [4, 9, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "beef"}, r"another network.*weights is 'beef', not '0123'"),
        ({"dataset": {"fingerprint": "1111"}}, r"another copy of the data.*'1111', not 'abcd'"),
        ({"attack": step_ll(0.1, num_steps=2)}, r"another study.*attack is .*0\.1"),
        ({"study": {"attention_layer": "last"}}, r"another network.*'last', not 'mixed'"),
        ({"study": {"explained": "prediction"}}, r"another study.*explained is 'prediction'"),
    ],
)
def test_records_that_do_not_belong_together_are_refused(two, write, record, options, message):
    records = [record(0, [0, 1, 1], methods=BOTH)]
    other = write("d_clean_validation_step_ll", records, split="validation", **options)
    with pytest.raises(ValueError, match=message):
        read_attention_records(two, other)


def test_an_image_that_comes_twice_is_refused(two, write, record):
    other = write("d_clean_test_again", [record(4, [0, 1, 1], methods=BOTH)])
    with pytest.raises(ValueError, match="An image comes twice"):
        read_attention_records(two, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line[:-9], "at line 2"),
        (lambda line: "[]", "at line 2"),
        (without("confidence"), "line 2: no confidence"),
        (without("maps", "grad_cam", "entropy"), "line 2: no grad_cam/entropy"),
        (without("maps", "lime", "iou_clean", "8"), "line 2: no lime/iou_clean/8"),
        (replacing("prediction", [0, 1]), r"line 2: no valid prediction .*\(3,\), got \(2,\)"),
        (replacing("prediction", [0, 1.5, 1]), "line 2: no valid prediction .*whole numbers"),
        (replacing("confidence", [0.1, "much", 0.2]), "line 2: no valid confidence"),
        (replacing("boxes", [[0.0, 1.0]]), "line 2: no valid boxes .*4 numbers"),
        (lambda line: line.replace('"map": ["A', '"map": ["', 1), "line 2: no valid grad_cam/map"),
    ],
)
def test_a_damaged_line_is_refused_by_number(two, change, message):
    with pytest.raises(ValueError, match=message) as refused:
        read_attention_records(damaged(two, change))
    assert two.name in str(refused.value)


def test_a_file_that_was_cut_short_is_refused(two):
    two.write_bytes(two.read_bytes()[:-40])
    with pytest.raises(ValueError, match=re.escape(two.name)):
        read_attention_records(two)


def test_bytes_that_were_changed_are_refused(two):
    content = bytearray(two.read_bytes())
    content[len(content) // 2] ^= 0xFF
    two.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=re.escape(two.name)):
        read_attention_records(two)


def test_fewer_records_than_the_summary_counts_are_refused(two):
    lines = gzip.decompress(two.read_bytes()).splitlines(keepends=True)
    two.write_bytes(gzip.compress(lines[0]))
    with pytest.raises(ValueError, match="holds 1 examples, its summary counts 2"):
        read_attention_records(two)


def test_records_without_a_summary_are_refused(write, record):
    path = write("d_clean_test_step_ll", [record(0, [0, 1])], keep_summary=False)
    with pytest.raises(FileNotFoundError, match="d_clean_test_step_ll.summary.json must lie"):
        read_attention_records(path)


def test_a_summary_of_another_kind_is_refused(two):
    summary = two.with_name("d_clean_test_step_ll.summary.json")
    contents = json.loads(summary.read_text())
    del contents["study"]["cells"]
    summary.write_text(json.dumps(contents))
    with pytest.raises(ValueError, match="study: it lacks cells"):
        read_attention_records(two)
    summary.write_text('{"attacks": []}')
    with pytest.raises(ValueError, match="it has no 'study'"):
        read_attention_records(two)


def test_what_was_not_recorded_is_named(two):
    with pytest.raises(ValueError, match="No grad_cam/iou_clean/7 in the records; they hold"):
        read_attention_records(two).iou_clean(size=7)
    with pytest.raises(ValueError, match="at least one file"):
        read_attention_records()


def test_chosen_columns_alone_are_read(two):
    run = read_attention_records(two, columns=("confidence", "grad_cam/iou_box/equal_area"))
    assert list(run.columns) == [
        *("index", "label", "prediction", "confidence", "grad_cam/iou_box/equal_area"),
    ]
    assert run.paths == (two,)
    with pytest.raises(ValueError, match="No boxes in the records"):
        run.boxes.tolist()
    with pytest.raises(ValueError, match="no grad_cam/iou_clean/7 in this study; it has index"):
        read_attention_records(two, columns=("grad_cam/iou_clean/7",))


def test_shards_are_read_together_or_not_at_all(write, record):
    shards = [write(f"part{i}", [record(i, [0, 1])]) for i in range(2)]
    for number, path in enumerate(shards, start=1):
        beside = path.with_name(f"part{number - 1}.summary.json")
        beside.write_text(json.dumps({**json.loads(beside.read_text()), "shard": [number, 2]}))
    assert read_attention_records(*shards).index.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"hold shards \[2\] of the 2 of test. Give all of them"):
        read_attention_records(shards[1])


def test_a_repetition_of_lime_is_read_where_every_record_has_it(write, record):
    methods = ("grad_cam", "lime")
    repeat = {"lime": {"iou_repeat": {"8": [0.5], "10": [0.5]}}}
    newer = record(0, [0, 1], methods=methods, measured=repeat)
    older = record(1, [0, 1], methods=methods)
    with pytest.raises(ValueError, match="line 2: no lime/iou_repeat/8"):
        read_attention_records(write("d_clean_test_lime", [newer, older]))
    # Of two splits one may lack it.
    both = read_attention_records(
        write("d_clean_test_lime", [newer]),
        write("d_clean_validation_lime", [older], split="validation"),
    )
    assert len(both) == 2 and both.iou_repeat(8) is None
