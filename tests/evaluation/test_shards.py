"""Parts of an evaluation give, joined, what one pass gives: the same bytes, the same summary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aad_tf.attacks import fgsm, ifgsm, pgd, step_ll
from aad_tf.classifier import Classifier
from aad_tf.evaluation import (
    evaluate_robustness,
    format_summary,
    journal_path,
    merge_shards,
    shard_output,
    shard_range,
)
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.records import make_record, read_summary
from tests.evaluation.attacked_networks import gray_images, island_classifier
from tests.networks import linear_network, random_images, small_network

ATTACKS = [ifgsm(0.03), pgd(0.04, step_size=0.02, num_steps=2, restarts=3), step_ll(0.02)]


def evaluate_part(classifier, arrays, number, count, output, attacks=ATTACKS, **options):
    """One shard as any machine runs it, of batches of four."""
    first, stop = shard_range(len(arrays[1]), 4, number, count)
    part = tuple(array[first:stop] for array in arrays)
    facts = {"first_index": first, "shard": (number, count), "batch_size": 4, **options}
    return evaluate_robustness(classifier, part, attacks, output=output, **facts)


def all_parts(classifier, arrays, count: int, output: Path, **options) -> list[Path]:
    paths = [shard_output(output, (number, count)) for number in range(1, count + 1)]
    for number, path in enumerate(paths, start=1):
        evaluate_part(classifier, arrays, number, count, path, **options)
    return paths


# What a run without shard has always written down, and is recognised by.
EVALUATED = [
    "aad_tf",
    "attacks",
    "bounds",
    "description",
    "first_example",
    "logits",
    "num_examples",
]
EVALUATED += ["seed", "success", "weights"]


def without_timing(summary: dict) -> dict:
    """All that one pass and its parts share; the first batch of each part is its own."""
    timing = ("seconds", "images_per_second")
    entries = [{k: v for k, v in e.items() if k not in timing} for e in summary["attacks"]]
    shared = {k: v for k, v in summary.items() if k not in ("provenance", "diagnostics")}
    return {**shared, "attacks": entries, "outcomes": summary["diagnostics"]["outcomes"]}


@pytest.mark.parametrize(
    ("count", "success"), [(1, "any_iterate"), (3, "last_iterate"), (10, "any_iterate")]
)
def test_merged_shards_are_one_pass(count, success, network, examples, tmp_path):
    options = {"seed": 5, "success": success}
    whole, merged = tmp_path / "whole.jsonl.gz", tmp_path / "merged.jsonl.gz"
    report = evaluate_robustness(network, examples, ATTACKS, output=whole, batch_size=4, **options)
    parts = all_parts(network, examples, count, tmp_path / "x.jsonl.gz", **options)
    summary = merge_shards(parts[::-1], merged)
    assert merged.read_bytes() == whole.read_bytes()
    assert without_timing(summary) == without_timing(report.summary)
    assert sorted(summary["evaluated"]) == EVALUATED
    assert summary == read_summary(merged)
    assert len(summary["provenance"]["shards"]) == count
    assert all(0 < entry["fooled"] < 33 for entry in summary["attacks"])
    # The command of one pass takes the merged file for its own.
    again = evaluate_robustness(network, examples, ATTACKS, output=merged, **options)
    assert again.summary == summary


def test_merged_shards_of_a_float32_network_are_one_pass(tmp_path):
    network = Classifier.from_keras(small_network(shape=(6, 6, 1)))
    images = random_images(30, (6, 6, 1))
    labels = network.predict_logits(images).numpy().argmax(-1).astype(np.int32)
    attacks = [fgsm(0.05), pgd(0.05, step_size=0.02, num_steps=3)]
    whole, merged = tmp_path / "whole.jsonl", tmp_path / "merged.jsonl"
    report = evaluate_robustness(network, (images, labels), attacks, output=whole, batch_size=4)
    parts = all_parts(network, (images, labels), 2, tmp_path / "x.jsonl", attacks=attacks)
    summary = merge_shards(parts, merged)
    assert merged.read_bytes() == whole.read_bytes()
    assert without_timing(summary) == without_timing(report.summary)


def test_warnings_speak_of_all_examples(tmp_path):
    # Two steps spare what one misclassifies: two images in a part are no sign, six together are.
    arrays = (gray_images([0.5] * 12), np.array([0, 0, 1, 1] * 3))
    attacks = [fgsm(0.12), ifgsm(0.15, num_steps=2, step_size=0.12)]
    options = {"attacks": attacks, "success": "last_iterate"}
    parts = all_parts(island_classifier(), arrays, 3, tmp_path / "x.jsonl", **options)
    summary = merge_shards(parts, tmp_path / "merged.jsonl")
    assert all("leaves more" not in str(read_summary(part)["warnings"]) for part in parts)
    chance, unmoved, warning = summary["warnings"]
    assert "The clean accuracy, 50.0% (25.4% to 74.6%), is no better than chance" in chance
    assert "ifgsm left 6 of the 6 images" in unmoved
    assert "ifgsm takes several steps within at least the same budget yet leaves more" in warning
    assert "(50.0%) than fgsm (0.0%)" in warning
    assert f"Warning: {warning}" in format_summary(summary)

    # A margin in the thousands has no gradient.
    saturated = Classifier.from_keras(linear_network([0, 1e6], [0, -5e5], dtype="float64"))
    arrays = (gray_images([0.2, 0.8] * 4), np.array([0, 1] * 4))
    parts = all_parts(saturated, arrays, 2, tmp_path / "y.jsonl", attacks=[fgsm(0.4)])
    (warning,) = merge_shards(parts, tmp_path / "merged.jsonl")["warnings"]
    assert "fgsm left 8 of the 8 images that it did not misclassify exactly as they" in warning


def test_seconds_and_images_of_all_parts_are_added(network, examples, tmp_path):
    parts = all_parts(network, examples, 3, tmp_path / "x.jsonl", attacks=[fgsm(0.05)])
    for seconds, path in zip((2.0, 3.5, 0.0), parts, strict=True):
        summary = read_summary(path)
        summary["attacks"][0] |= {"seconds": seconds, "images_attacked": int(2 * seconds)}
        path.with_name(f"{path.stem}.summary.json").write_text(json.dumps(summary))
    (entry,) = merge_shards(parts, tmp_path / "merged.jsonl")["attacks"]
    assert (entry["seconds"], entry["images_attacked"]) == (5.5, 11)
    assert entry["images_per_second"] == 2.0
    assert entry["count"] == 37


def test_an_interrupted_shard_is_resumed(network, examples, tmp_path):
    whole, cut = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    evaluate_part(network, examples, 2, 3, whole)

    def interrupt(progress):
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_part(network, examples, 2, 3, cut, progress=interrupt)
    with pytest.raises(ValueError, match=r"differs in .*first_index \(12 there, 24 asked for\)"):
        evaluate_part(network, examples, 3, 3, cut)
    seen = []
    evaluate_part(network, examples, 2, 3, cut, progress=seen.append)
    assert cut.read_bytes() == whole.read_bytes() and not journal_path(cut).exists()
    assert 12 <= seen[0].reused < seen[-1].done == seen[-1].total == 36
    # Finished, it is read back, but not for another part.
    seen.clear()
    evaluate_part(network, examples, 2, 3, cut, progress=seen.append)
    assert not seen
    with pytest.raises(ValueError, match=r"shard \(\[2, 3\] there, \[1, 3\] asked for\)"):
        evaluate_part(network, examples, 1, 3, cut)


def test_a_shard_says_so_and_a_whole_run_is_written_as_ever(network, examples, tmp_path):
    part = evaluate_part(network, examples, 2, 3, None, attacks=[fgsm(0.05)])
    assert part.summary["evaluated"]["shard"] == [2, 3]
    assert part.summary["evaluated"]["first_index"] == 12
    assert [record["index"] for record in part.records()] == list(range(12, 24))
    assert "Only shard 2/3 of the examples." in format_summary(part.summary)
    output = tmp_path / "whole.jsonl"
    whole = evaluate_robustness(network, examples, [fgsm(0.05)], output=output).summary
    assert sorted(whole["evaluated"]) == EVALUATED
    sections = ["attacks", "diagnostics", "evaluated", "provenance", "success_rule", "warnings"]
    assert sorted(whole) == sections
    assert "shard" not in format_summary(whole)


def test_files_of_shards_are_named_by_their_number():
    assert shard_output("runs/x.jsonl.gz", (3, 50)) == Path("runs/x.3-of-50.jsonl.gz")
    assert shard_output("x.y.json", (1, 2)) == Path("x.y.1-of-2.json")
    assert shard_output("x", (1, 2)) == Path("x.1-of-2")


def test_outcomes_are_counted_from_the_first_example():
    counts = OutcomeCounts(["a"], 10)
    record = make_record("a", index=12, label=1, clean_prediction=1, adversarial_prediction=0)
    counts.add(record)
    assert counts.outcomes("a").tolist() == [0, 0, 2]
    assert counts.missing("a", 11, 3).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="Example 9 lies before example 10"):
        counts.add({**record, "index": 9})


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
    begin = f"expected example {shard_range(37, 4, 2, 2)[0]} under"
    for damaged, message in (
        (lines[:-1], "expected example 36 under pgd, found the end"),
        (lines[1:], f"{begin} ifgsm"),
        ([*lines, lines[-1]], "more records than"),
        ([*lines[:-1], lines[-1][:20]], "is no file of records, or damaged, at line"),
    ):
        parts[1].write_bytes(b"".join(damaged))
        with pytest.raises(ValueError, match=message):
            merge_shards(parts, tmp_path / "merged.jsonl")
        assert not (tmp_path / "merged.jsonl").exists()


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"shard": (4, 3)}, ValueError, r"from 1 to count, got \(4, 3\)"),
        ({"shard": (0, 3)}, ValueError, "shard must be at least 1"),
        ({"shard": (1.0, 3)}, TypeError, "shard must be an integer"),
        ({"first_index": -1}, ValueError, "first_index must be at least 0"),
    ],
)
def test_shards_that_cannot_be(facts, error, message, network, examples):
    with pytest.raises(error, match=message):
        evaluate_robustness(network, examples, fgsm(0.1), **facts)


def test_parts_may_have_their_attacks_in_another_order(network, examples, tmp_path):
    one, other = ATTACKS[:2], ATTACKS[1::-1]
    first = evaluate_part(network, examples, 1, 2, tmp_path / "x.1-of-2.jsonl", one)
    second = evaluate_part(network, examples, 2, 2, tmp_path / "x.2-of-2.jsonl", other)
    whole = evaluate_robustness(network, examples, one, output=tmp_path / "whole.jsonl")
    merged = merge_shards([first.output, second.output], tmp_path / "merged.jsonl")
    assert without_timing(merged) == without_timing(whole.summary)
    assert (tmp_path / "merged.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
