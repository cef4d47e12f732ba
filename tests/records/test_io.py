"""Records and summaries: read as they were written, refused where damaged."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from aad_tf import records
from aad_tf.records import make_record, record_line, write_record_lines
from aad_tf.utils import files

PREDICTIONS = {"clean_prediction": 1, "adversarial_prediction": 2}


def some_records(count: int) -> list[dict]:
    return [make_record("fgsm", index=i, label=1, **PREDICTIONS, steps=1) for i in range(count)]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_records_are_read_as_they_were_written(name, tmp_path):
    path = tmp_path / name
    write_record_lines(path, map(record_line, some_records(3)))
    assert list(records.read_records(path)) == some_records(3)
    assert tuple(some_records(1)[0]) == records.RECORD_KEYS


def test_equal_records_give_equal_compressed_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_record_lines(tmp_path / name, map(record_line, some_records(3)))
    os.utime(tmp_path / "a.gz", (0, 0))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_damaged_records_are_refused_with_the_line(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(record_line(some_records(1)[0]) + b'{"index": 3}\n')
    with pytest.raises(ValueError, match="line 2: expected the keys index, label"):
        list(records.read_records(path))
    path.write_text("no json\n")
    with pytest.raises(ValueError, match="line 1"):
        list(records.read_records(path))


def test_records_cut_short_are_refused(tmp_path):
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(record_line(some_records(1)[0]) * 50)[:-20])
    with pytest.raises(ValueError, match="damaged"):
        list(records.read_records(path))


def test_records_that_are_not_compressed_though_named_so_are_refused(tmp_path):
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(record_line(some_records(1)[0]))
    with pytest.raises(ValueError, match="r.jsonl.gz is no file of records, or damaged"):
        list(records.read_records(path))


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl", "x.json.gz", "x"])
def test_the_summary_lies_beside_the_records(name):
    assert records.summary_path(Path("runs") / name) == Path("runs/x.summary.json")


def test_a_summary_is_read_by_either_name_and_others_are_refused(tmp_path):
    files.write_json_atomically(tmp_path / "x.summary.json", {"attacks": []})
    assert records.read_summary(tmp_path / "x.jsonl.gz") == {"attacks": []}
    assert records.read_summary(tmp_path / "x.summary.json") == {"attacks": []}
    with pytest.raises(FileNotFoundError):
        records.read_summary(tmp_path / "y.jsonl")
    files.write_json_atomically(tmp_path / "y.summary.json", {})
    with pytest.raises(ValueError, match="not the summary"):
        records.read_summary(tmp_path / "y.jsonl")


@pytest.mark.parametrize(
    ("label", "linf", "recorded"),
    [(1, 0.15000001, 0.15), (1, 3e-7, 3e-7), (1, 0.0, 0.0), (2, 3e-7, 0.0)],
)
def test_distances_are_rounded_but_not_to_that_of_clean_mistakes(label, linf, recorded):
    record = make_record("fab", index=0, label=label, **PREDICTIONS, linf=linf)
    assert record["linf"] == recorded
