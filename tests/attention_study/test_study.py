"""The pass over a data set: interruption, shards, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier
from aad_tf.attacks import a3, pgd, step_ll
from aad_tf.attention import lime
from aad_tf.attention_study import (
    Options,
    merge_shards,
    parse_shard,
    shard_range,
    study_attention,
)
from aad_tf.attention_study.explain import Explainer
from aad_tf.evaluation import journal_path
from aad_tf.results import summary_path
from tests.attention_study.conftest import BOX_LABELS, BOXES, LABELS, batches_of, mean_network
from tests.networks import small_network

OPTIONS = Options(cells=(4, 8), features=(2,))
ATTACK = step_ll(0.05, 2)


def study(classifier, output, dataset=None, attack=ATTACK, **changes):
    arguments = {"batch_size": 2, "options": OPTIONS, **changes}
    return study_attention(classifier, dataset or batches_of(), attack, output=output, **arguments)


def many(count=37, size=4, start=0):
    """So many different images with boxes, from the one at `start` on."""
    generator = np.random.default_rng(5)
    images = generator.uniform(size=(count, 4, 4, 2)).astype(np.float32)
    corners = np.sort(generator.uniform(size=(count, 1, 2, 2)), axis=2)
    labels = generator.integers(0, 2, count).astype(np.int32)
    examples = {
        "image": images,
        "label": labels,
        "boxes": corners.reshape(count, 1, 4).astype(np.float32),
        "box_labels": labels[:, None],
    }
    return tf.data.Dataset.from_tensor_slices(examples).skip(start).batch(size)


class KilledError(Exception):
    """Stands for a kill between two batches."""


def kill_after(images):
    def progress(state):
        if state.done >= images:
            raise KilledError

    return progress


@pytest.mark.parametrize("opened", [False, True])
def test_resumed_after_an_interruption_the_records_are_the_same_bytes(classifier, tmp_path, opened):
    data = (lambda start: many(start=start)) if opened else many()
    whole, cut = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    study(classifier, whole, data, batch_size=4)
    with pytest.raises(KilledError):
        study(classifier, cut, data, batch_size=4, progress=kill_after(12))
    assert not cut.exists()
    # What a kill in the middle of a write leaves: a batch in part, and half a line.
    journal = journal_path(cut)
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 13
    journal.write_bytes(b"".join(lines[:11]) + lines[11][:30])
    seen = []
    report = study(
        classifier, cut, data, batch_size=4, progress=lambda state: seen.append(state.done)
    )
    assert cut.read_bytes() == whole.read_bytes()
    assert seen[0] == 12  # Two batches of four were whole.
    assert report.summary["resumed_at"] == 8
    assert report.summary["counts"]["examples"] == 37
    assert not journal.exists()


def test_finished_study_is_read_back(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    first = study(classifier, output).summary
    before = output.stat().st_mtime_ns
    assert study(classifier, output).summary == first
    assert output.stat().st_mtime_ns == before


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


def test_records_of_another_network_are_refused(tmp_path):
    output = tmp_path / "x.jsonl"
    first, second = (Classifier.from_keras(mean_network(), "features") for _ in range(2))
    with pytest.raises(KilledError):
        study(first, output, progress=kill_after(2))
    second.model.layers[-1].kernel.assign_add([[0.1, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="another evaluation, which differs in weights"):
        study(second, output)
    study(first, output)
    with pytest.raises(ValueError, match="differs in weights"):
        study(second, output)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": BOXES + np.float32(0.3)}, "Example 0, box 0.*outside the picture"),
        ({"boxes": BOXES[..., [2, 1, 0, 3]]}, "Example 0, box 0.*swapped corners"),
        ({"boxes": BOXES * 64}, "in pixels where fractions"),
        ({"boxes": np.full_like(BOXES, np.nan)}, "NaN"),
        ({"label": LABELS + 5}, r"labels must lie in \[0, 2\)"),
        ({"images": batches_of().unbatch().batch(4).get_single_element()["image"] * 255}, "0..255"),
    ],
)
def test_bad_examples_are_named(classifier, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        study(classifier, tmp_path / "x.jsonl", batches_of(**changes))


def test_error_names_the_example_by_its_place_in_the_split(classifier, tmp_path):
    boxes = BOXES.copy()
    boxes[3, 0, 2] = 1.5
    with pytest.raises(ValueError, match="Example 13, box 0"):
        study(classifier, tmp_path / "x.jsonl", batches_of(boxes=boxes), first_index=10)


def test_images_without_boxes_are_counted(classifier, tmp_path):
    data = batches_of().map(lambda batch: {"image": batch["image"], "label": batch["label"]})
    counts = study(classifier, tmp_path / "x.jsonl", data).summary["counts"]
    assert counts == {"examples": 4, "right": 3, "without_box": 4, "right_without_box": 3}
    padded = batches_of(box_labels=np.full_like(BOX_LABELS, -1), boxes=np.full_like(BOXES, -1))
    assert study(classifier, tmp_path / "y.jsonl", padded).summary["counts"] == counts


def test_wrong_inputs(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    with pytest.raises(TypeError, match="dicts of image and label"):
        study(classifier, output, tf.data.Dataset.from_tensor_slices(([1], [2])).batch(1))
    with pytest.raises(TypeError, match="a function that opens one"):
        study(classifier, output, [1, 2])
    with pytest.raises(ValueError, match="endless"):
        study(classifier, output, batches_of().repeat())
    with pytest.raises(ValueError, match="single images"):
        study(classifier, output, batches_of().unbatch())
    with pytest.raises(ValueError, match="empty"):
        study(classifier, output, batches_of().take(0))
    with pytest.raises(ValueError, match="no one path"):
        study(classifier, output, attack=pgd(0.1, 0.05, 3, restarts=2))
    with pytest.raises(ValueError, match="batch_size=2"):
        study(classifier, output, batches_of(4))
    with pytest.raises(ValueError, match="has 16 cells"):
        study(classifier, output, options=Options())
    with pytest.raises(ValueError, match="Did you mean 'grad_cam'"):
        Options(methods=("grad_cm",))


def test_a_short_data_set_is_noticed(classifier, tmp_path):
    with pytest.raises(ValueError, match="ended after 4 examples; 6 were announced"):
        study(classifier, tmp_path / "x.jsonl", num_examples=6)


def test_nan_weights_are_noticed(tmp_path):
    model = mean_network()
    broken = Classifier.from_keras(model, "features")
    model.layers[-1].kernel.assign([[np.nan, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="NaN or infinity for example 0 after round 0"):
        study(broken, tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    "attack",
    [
        a3(ATTACK, 3.0),
        a3(ATTACK, -3.0),
        pgd(0.1, 0.05, 2),
        step_ll(0.05, 3, relabel=False),
        a3(step_ll(0.05, 3, relabel=False), 3.0),
    ],
)
def test_rounds_are_those_of_the_attack(tmp_path, attack):
    """A study that shares passes sees what the attack by itself makes."""
    classifier = Classifier.from_keras(small_network(shape=(8, 8, 1)))
    images = np.random.default_rng(6).uniform(size=(6, 8, 8, 1)).astype(np.float32)
    labels = np.arange(6, dtype=np.int32) % 3
    data = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}).batch(6)
    output = tmp_path / "x.jsonl"
    study(classifier, output, data, attack=attack, batch_size=6)
    found = [json.loads(line)["prediction"] for line in output.read_text().splitlines()]
    clean = np.argmax(classifier.predict_logits(images), -1)
    np.testing.assert_array_equal([row[0] for row in found], clean)
    if attack.random_start:
        return
    rounds = attack.rounds(classifier, images, labels)
    for number, adversarial in enumerate(rounds, start=1):
        expected = np.argmax(classifier.predict_logits(adversarial), -1)
        np.testing.assert_array_equal([row[number] for row in found], expected)


def test_shared_pass_takes_the_steps_of_the_attack(classifier):
    from aad_tf.attention_study.network_pass import follow

    images, labels = tf.constant(next(iter(batches_of(4)))["image"]), tf.constant(LABELS)
    attack = dataclasses.replace(step_ll(0.07, 3), epsilon=0.1)
    followed = [step.images.numpy() for step in follow(classifier, attack, images, labels)]
    np.testing.assert_array_equal(followed[0], images)
    np.testing.assert_array_equal(followed[1:], attack.rounds(classifier, images, labels))


def test_explaining_the_prediction(classifier, tmp_path):
    """The wrong image is explained by the other, flat channel: the same in every cell."""
    options = dataclasses.replace(OPTIONS, explained="prediction")
    output = tmp_path / "x.jsonl"
    study(classifier, output, options=options)
    wrong = json.loads(output.read_text().splitlines()[3])
    assert wrong["prediction"][0] == 0 != wrong["label"]
    assert wrong["maps"]["grad_cam"]["entropy"][0] == 1.0


def test_lime_in_a_study(tmp_path):
    pytest.importorskip("skimage")
    classifier = Classifier.from_keras(small_network(shape=(16, 16, 1)))
    images = np.random.default_rng(7).uniform(size=(3, 16, 16, 1)).astype(np.float32)
    boxes = np.array([[[0, 0, 1, 0.5]]] * 3, np.float32)
    data = tf.data.Dataset.from_tensor_slices(
        {"image": images, "label": np.arange(3), "boxes": boxes}
    ).batch(2)
    options = dataclasses.replace(
        OPTIONS, methods=("grad_cam", "lime"), lime={"num_samples": 60, "num_segments": 9}
    )
    output = tmp_path / "x.jsonl"
    study(classifier, output, data, options=options)
    records = [json.loads(line) for line in output.read_text().splitlines()]
    for place, record in enumerate(records):
        found = record["maps"]["lime"]
        direct = lime(
            classifier, images[place : place + 1], [place], num_samples=60, num_segments=9
        )
        mask = direct.top_features(2)[0]
        box = np.zeros((16, 16), bool)
        box[:, :8] = True
        expected = (mask & box).sum() / (mask | box).sum()
        assert found["iou_box"]["2"][0] == pytest.approx(expected, abs=1e-4)
        assert len(found["iou_box"]["2"]) == 3 and len(found["iou_clean"]["2"]) == 2
        assert found["segments"][0] == direct.segment_counts[0]
        assert set(found["iou_repeat"]) == {"2"} and 0 <= found["iou_repeat"]["2"][0] <= 1
        assert set(record["agreement"]) == {"grad_cam|lime"}


def test_lime_settings_are_written_down_with_their_defaults(classifier):
    pytest.importorskip("skimage")
    options = dataclasses.replace(OPTIONS, methods=("lime",), lime={"num_samples": 60})
    facts = Explainer(classifier, ATTACK, options, 2).facts["lime"]
    assert facts["num_samples"] == 60
    assert {"num_segments", "kernel_width", "segmentation", "hide_color"} < set(facts)
    assert facts["scikit_image"].count(".") >= 1
    with pytest.raises(ValueError, match="Did you mean 'num_samples'"):
        Explainer(classifier, ATTACK, dataclasses.replace(options, lime={"samples": 60}), 2)


def test_options_must_be_facts_to_write_down():
    with pytest.raises(TypeError, match="lime options must be plain values"):
        Options(lime={"segmentation": lambda image: image})
    with pytest.raises(ValueError, match="Did you mean 'grad_cam'"):
        Options(keep_maps=("gradcam",))


def test_all_options_of_the_loss_tell_studies_apart(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    study(classifier, output)
    smoothed = step_ll(0.05, 2, label_smoothing=0.1)
    with pytest.raises(ValueError, match="differs in objective"):
        study(classifier, output, attack=smoothed)


def test_a_description_with_tuples_is_recognised(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    described = {"description": {"dataset": {"size": (4, 4)}}}
    first = study(classifier, output, **described).summary
    assert study(classifier, output, **described).summary == first


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


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.attention_study.test_study import ATTACK, OPTIONS, Classifier, many, mean_network
from aad_tf.attention_study import study_attention
classifier = Classifier.from_keras(mean_network(), "features")
data = many(40_000, 50)
study_attention(classifier, data, ATTACK, output={output!r}, batch_size=50, options=OPTIONS,
                progress=lambda state: print(state.done, flush=True))
"""


@pytest.mark.slow
def test_killed_process_leaves_a_journal_that_goes_on(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    script = SCRIPT.format(root=root, output=os.fspath(output))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) >= 150:
            process.send_signal(signal.SIGKILL)
            break
    process.wait(30)
    assert process.returncode == -signal.SIGKILL and not output.exists()
    # 40,000 examples would take long: the rest of this test needs the journal's first part only.
    held = journal_path(output).read_bytes().splitlines()[1:151]
    again = tmp_path / "again.jsonl"
    study(classifier, again, many(40_000, 50).take(3), batch_size=50)
    assert again.read_bytes().splitlines() == held
    assert summary_path(again).exists()
