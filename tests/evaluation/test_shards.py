"""Parts of an evaluation give, joined, what one pass gives: the same bytes, the same summary."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from aad_tf import data, models
from aad_tf.attacks import fgsm, ifgsm, pgd
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
from tests.evaluation.parts import ATTACKS, all_parts, evaluate_part
from tests.networks import linear_network

# What a run without shard has always written down, and is recognised by.
EVALUATED = ["aad_tf", "attacks", "bounds", "description", "first_example", "num_examples"]
EVALUATED += ["seed", "success", "weights"]


def without_timing(summary: dict) -> dict:
    """All that one pass and its parts share."""
    timing = ("seconds", "images_per_second")
    entries = [{k: v for k, v in e.items() if k not in timing} for e in summary["attacks"]]
    return {**{k: v for k, v in summary.items() if k != "provenance"}, "attacks": entries}


@pytest.mark.parametrize("success", ["any_iterate", "last_iterate"])
@pytest.mark.parametrize("count", [1, 3, 10])
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
    fooled = [entry["fooled"] for entry in summary["attacks"]]
    assert all(0 < each < 33 for each in fooled)
    # The command of one pass takes the merged file for its own.
    again = evaluate_robustness(network, examples, ATTACKS, output=merged, **options)
    assert again.summary == summary


def test_merged_shards_of_a_float32_network_on_digits_are_one_pass(tmp_path):
    keras.utils.set_random_seed(0)
    model = models.build("lenet", (28, 28, 1), 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss)
    model.fit(data.training_batches("digits", 50, seed=0), steps_per_epoch=12, verbose=0)
    batches = data.evaluation_batches("digits", "test", 20, limit=90)
    attacks = [fgsm(0.05), pgd(0.05, step_size=0.02, num_steps=3)]
    whole, merged = tmp_path / "whole.jsonl", tmp_path / "merged.jsonl"
    report = evaluate_robustness(model, batches, attacks, output=whole, batch_size=20)
    parts = []
    for number in (1, 2):
        first, stop = shard_range(90, 20, number, 2)
        part = batches.skip(first // 20).take(-(-(stop - first) // 20))
        parts.append(tmp_path / f"{number}.jsonl")
        place = {"first_index": first, "shard": (number, 2), "batch_size": 20}
        evaluate_robustness(model, part, attacks, output=parts[-1], **place)
    summary = merge_shards(parts, merged)
    assert merged.read_bytes() == whole.read_bytes()
    assert without_timing(summary) == without_timing(report.summary)
    assert all(0.1 < e["robust_accuracy"] < e["clean_accuracy"] for e in summary["attacks"])


def test_warnings_speak_of_all_examples(tmp_path):
    # Two steps spare what one fools: two images in a part are no sign, six together are.
    arrays = (gray_images([0.5] * 12), np.array([0, 0, 1, 1] * 3))
    attacks = [fgsm(0.12), ifgsm(0.15, num_steps=2, step_size=0.12)]
    options = {"attacks": attacks, "success": "last_iterate"}
    parts = all_parts(island_classifier(), arrays, 3, tmp_path / "x.jsonl", **options)
    summary = merge_shards(parts, tmp_path / "merged.jsonl")
    assert all("leaves more" not in str(read_summary(part)["warnings"]) for part in parts)
    unmoved, warning = summary["warnings"]
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
    whole = evaluate_robustness(network, examples, [fgsm(0.05)]).summary
    assert sorted(whole["evaluated"]) == EVALUATED
    assert sorted(whole) == ["attacks", "evaluated", "provenance", "success_rule", "warnings"]
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
