"""Shards of a study, merged, are the same bytes as the whole; other files are refused."""

from __future__ import annotations

import pytest

from aad_tf.attacks import step_ll
from aad_tf.attention_study import merge_shards, parse_shard, shard_range
from tests.attention_study.studies import many, study


def test_shards_merged_are_the_same_bytes(classifier, tmp_path):
    whole, merged = tmp_path / "whole.jsonl.gz", tmp_path / "merged.jsonl.gz"
    expected = study(classifier, whole, many(), batch_size=4).summary
    parts = []
    for number in (2, 3, 1):
        first, stop = shard_range(37, 4, number, 3)
        parts.append(tmp_path / f"part{number}.jsonl.gz")
        data = many(start=first).take((stop - first + 3) // 4)
        study(classifier, parts[-1], data, batch_size=4, first_index=first, shard=(number, 3))
    summary = merge_shards(parts, merged)
    assert merged.read_bytes() == whole.read_bytes()
    for key in ("study", "fingerprint", "counts", "accuracy", "range", "shard", "class_names"):
        assert summary[key] == expected[key]
    with pytest.raises(ValueError, match="missing: 2"):
        merge_shards(parts[1:], merged)
    with pytest.raises(ValueError, match="no shard but a whole study"):
        merge_shards([whole], merged)
    other = tmp_path / "other.jsonl.gz"
    study(classifier, other, many().take(3), batch_size=4, attack=step_ll(0.1, 2), shard=(1, 3))
    with pytest.raises(ValueError, match=r"step_size \(0\.05 there|step_size \(0\.1 there"):
        merge_shards([parts[0], parts[1], other], merged)


def test_shard_ranges_cover_whole_batches_once():
    for count in (1, 3, 7):
        ranges = [shard_range(250, 20, number, count) for number in range(1, count + 1)]
        assert ranges[0][0] == 0 and ranges[-1][1] == 250
        for (_, stop), (start, _) in zip(ranges, ranges[1:], strict=False):
            assert stop == start and start % 20 == 0
    with pytest.raises(ValueError, match="13 shards at most"):
        shard_range(250, 20, 1, 14)


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_shards_that_do_not_exist(text):
    with pytest.raises(ValueError, match="number/count"):
        parse_shard(text)


def test_merging_onto_a_part_is_refused(classifier, tmp_path):
    part = tmp_path / "part.jsonl"
    study(classifier, part, shard=(1, 1))
    before = part.read_bytes()
    with pytest.raises(ValueError, match="one of the files to merge"):
        merge_shards([part], part)
    assert part.read_bytes() == before


def test_damaged_records_are_refused(classifier, tmp_path):
    part = tmp_path / "part.jsonl.gz"
    study(classifier, part, shard=(1, 1))
    whole = part.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + bytes(40) + whole[240:]):
        part.write_bytes(damaged)
        with pytest.raises(ValueError, match="is no file of records, or damaged"):
            merge_shards([part], tmp_path / "merged.jsonl.gz")
        assert not (tmp_path / "merged.jsonl.gz").exists()
