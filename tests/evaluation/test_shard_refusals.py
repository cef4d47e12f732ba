"""Parts that cannot be, or do not make one evaluation."""

from __future__ import annotations

import pytest

from aad_tf.attacks import fgsm
from aad_tf.evaluation import evaluate_robustness, merge_shards, shard_range
from tests.evaluation.parts import ATTACKS, all_parts, evaluate_part


def test_parts_that_do_not_belong_together_are_refused(network, examples, tmp_path):
    merged = tmp_path / "merged.jsonl"
    parts = all_parts(network, examples, 3, tmp_path / "x.jsonl", attacks=[fgsm(0.05)])

    def refused(message, *paths):
        with pytest.raises(ValueError, match=message):
            merge_shards(paths, merged)
        assert not merged.exists()

    refused("no files of records")
    refused("Expected every shard of one division once, got 1/3, 3/3; missing: 2", *parts[::2])
    refused("got 1/3, 2/3, 2/3, 3/3; missing: none", *parts, parts[1])
    other = tmp_path / "other.jsonl"
    evaluate_part(network, examples, 3, 3, other, attacks=[fgsm(0.06)])
    refused(r"other.*another evaluation, which differs in attacks.fgsm", *parts[:2], other)
    other.unlink()
    evaluate_part(network, examples, 3, 3, other, attacks=[fgsm(0.05)], seed=1)
    refused(r"differs in seed \(1 there, 0 asked for\)", *parts[:2], other)
    other.unlink()
    evaluate_part(network, examples, 3, 4, other, attacks=[fgsm(0.05)])
    refused(r"Expected every shard of one division once, got 1/3, 2/3, 3/4", *parts[:2], other)
    other.unlink()
    evaluate_part(network, examples, 3, 3, other, attacks=[fgsm(0.05)], first_index=28)
    refused("begins at example 28, the shard before it ends at 24", *parts[:2], other)
    whole = tmp_path / "whole.jsonl"
    evaluate_robustness(network, examples, [fgsm(0.05)], output=whole)
    refused("whole.jsonl is no shard but a whole evaluation", whole)
    with pytest.raises(ValueError, match="one of the files to merge"):
        merge_shards(parts, parts[0])


def test_damaged_parts_are_refused(network, examples, tmp_path):
    parts = all_parts(network, examples, 2, tmp_path / "x.jsonl", attacks=ATTACKS[:2])
    lines = parts[1].read_bytes().splitlines(keepends=True)
    place = f"expected example {shard_range(37, 4, 2, 2)[0]} under"
    for damaged, message in (
        (lines[:-1], "expected example 36 under pgd, found the end"),
        (lines[1:], f"{place} ifgsm"),
        ([*lines, lines[-1]], "more records than"),
        ([*lines[:-1], lines[-1][:20]], "is no file of records, or damaged, at line"),
    ):
        parts[1].write_bytes(b"".join(damaged))
        with pytest.raises(ValueError, match=message):
            merge_shards(parts, tmp_path / "merged.jsonl")
        assert not (tmp_path / "merged.jsonl").exists()


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ({"shard": (4, 3)}, ValueError, r"from 1 to count, got \(4, 3\)"),
        ({"shard": (0, 3)}, ValueError, "shard must be at least 1"),
        ({"shard": (1.0, 3)}, TypeError, "shard must be an integer"),
        ({"first_index": -1}, ValueError, "first_index must be at least 0"),
    ],
)
def test_shards_that_cannot_be(place, error, message, network, examples):
    with pytest.raises(error, match=message):
        evaluate_robustness(network, examples, fgsm(0.1), **place)
