"""Faithfulness in a study: the library's own numbers, means by hand, resumed, merged, refused."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from aad_tf import Classifier
from aad_tf.attacks import step_ll
from aad_tf.attention import (
    center_map,
    deletion,
    grad_cam,
    grad_cam_plus_plus,
    insertion,
    max_sensitivity,
    random_maps,
    randomization_check,
)
from aad_tf.attention_study import Faithfulness, Options, format_summary, merge_shards, shard_range
from aad_tf.export import export_saved_model, load_classifier
from aad_tf.records import read_record_lines, summary_path
from aad_tf.records.columns import read_attention_records
from tests.attention_study.conftest import batches_of
from tests.attention_study.studies import ATTACK, KilledError, kill_after, many, study
from tests.networks import bytes_of, random_images, small_network

QUARTERS = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
SETTINGS = Faithfulness(num_steps=5, num_draws=2, randomized_images=6)
OPTIONS = Options(cells=(4,), features=(2,), faithfulness=SETTINGS)
IMAGES, LABELS = random_images(10, (8, 8, 1), seed=4), np.arange(10, dtype=np.int32) % 3
METHODS = {"grad_cam": grad_cam, "grad_cam_plus_plus": grad_cam_plus_plus}


@pytest.fixture(scope="module")
def network() -> Classifier:
    return Classifier.from_keras(small_network(), "conv")


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    """Ten images in batches of four, explained by the prediction: path, summary and records."""
    output = tmp_path_factory.mktemp("study") / "records.jsonl.gz"
    options = Options(cells=(4,), faithfulness=SETTINGS, explained="prediction", seed=3)
    before = bytes_of(network.model.variables)
    report = study(network, output, (IMAGES, LABELS), batch_size=4, options=options)
    assert bytes_of(network.model.variables) == before
    return output, report.summary, list(read_record_lines(output, ("faithfulness",)))


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    directory = tmp_path_factory.mktemp("network") / "exported"
    export_saved_model(network, directory)
    return load_classifier(directory)


def attacked(network) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and predictions of each round."""
    rounds = [IMAGES, *ATTACK.rounds(network, IMAGES, LABELS).numpy()]
    return [(images, np.argmax(network.predict_logits(images), -1)) for images in rounds]


def test_the_columns_are_what_the_library_measures(network, written):
    run = read_attention_records(written[0])
    for number, (images, classes) in enumerate(attacked(network)):
        # The maps of this network are not negative after their ReLU, and no pixel is tied.
        maps = {
            "grad_cam_plus_plus": grad_cam_plus_plus(network, images, classes),
            "random": random_maps(range(3, 13), (6, 6)),
            "center": np.repeat(center_map((8, 8))[np.newaxis], 10, axis=0),
        }
        for name, each in maps.items():
            removed = deletion(network, images, each, classes, num_steps=5)
            shown = insertion(network, images, each, classes, num_steps=5)
            for measure, curve in (("deletion", removed), ("insertion", shown)):
                found = run.faithfulness(name, measure)[:, number]
                np.testing.assert_allclose(found, curve.area, atol=6e-5)
                levels = run.faithfulness(name, f"{measure}_curve")[:, number]
                np.testing.assert_allclose(levels / 255, curve.probabilities, atol=0.51 / 255)
        seeds = range(3, 13)
        for method, function in (
            ("grad_cam", grad_cam),
            ("grad_cam_plus_plus", grad_cam_plus_plus),
        ):
            expected = max_sensitivity(function, network, images, classes, num_draws=2, seed=seeds)
            found = run.faithfulness(method, "max_sensitivity")[:, number]
            np.testing.assert_allclose(found, expected, atol=2e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="No faithfulness/random/max_sensitivity in the records"):
        run.faithfulness("random", "max_sensitivity")


def test_layers_are_randomised_for_the_first_images(network, written):
    _, summary, records = written
    assert [("randomization" in record) for record in records] == [True] * 6 + [False] * 4
    assert summary["randomized_layers"] == ["none", "scores", "conv"]
    classes = np.argmax(network.predict_logits(IMAGES), -1)
    # By batches of four, each with the same draws.
    for first, stop in ((0, 4), (4, 8)):
        batch = slice(first, stop)
        steps = randomization_check(grad_cam, network, IMAGES[batch], classes[batch], seed=3)
        expected = np.array([step.rank_correlation for step in steps]).T
        for record, values in zip(records[first : min(stop, 6)], expected, strict=False):
            found = record["randomization"]["grad_cam"]["rank_correlation"]
            np.testing.assert_allclose(np.array(found, float), values, atol=6e-5)


def test_the_summary_holds_means_and_paired_differences(written):
    _, summary, records = written
    values = np.array([each["faithfulness"]["grad_cam"]["insertion"] for each in records])
    found = summary["faithfulness"]["grad_cam"]
    for column, entries in (
        (values, "insertion"),
        (values[:, 1:] - values[:, :1], "insertion_change"),
    ):
        for entry, numbers in zip(found[entries], column.T, strict=True):
            error = scipy.stats.sem(numbers)
            expected = scipy.stats.t.interval(0.95, 9, numbers.mean(), error)
            assert entry["count"] == 10
            assert entry["mean"] == pytest.approx(numbers.mean(), abs=1e-6)
            assert entry["interval"] == pytest.approx(expected, abs=2e-6)
    layers = [each["randomization"]["grad_cam"]["iou"] for each in records[:6]]
    entries = summary["randomization"]["grad_cam"]["iou"]
    means = [entry["mean"] for entry in entries]
    assert means == pytest.approx(np.mean(layers, axis=0), abs=1e-6)
    assert means[0] == 1.0 and [entry["count"] for entry in entries] == [6] * 3
    text = format_summary(summary)
    assert f"deletion {summary['faithfulness']['center']['deletion'][0]['mean']:.3f} -> " in text


def test_a_study_without_it_is_as_it_was(network, written, tmp_path):
    plain = tmp_path / "plain.jsonl"
    options = Options(cells=(4,), explained="prediction", seed=3)
    summary = study(network, plain, (IMAGES, LABELS), batch_size=4, options=options).summary
    assert not {"faithfulness", "randomized_layers"} & {*summary, *summary["study"]}
    records = [json.loads(line) for line in plain.read_text().splitlines()]
    added = {"faithfulness", "randomization"}
    for found, expected in zip(records, written[2], strict=True):
        assert found == {key: value for key, value in expected.items() if key not in added}
    assert "->" not in format_summary(summary)
    asked = dataclasses.replace(options, faithfulness=SETTINGS)
    with pytest.raises(ValueError, match="differs in study.faithfulness"):
        study(network, plain, (IMAGES, LABELS), batch_size=4, options=asked)


def test_resumed_and_merged_it_writes_the_same_bytes(classifier, tmp_path):
    whole, cut, merged = (tmp_path / f"{name}.jsonl.gz" for name in ("whole", "cut", "merged"))
    settings = Faithfulness(num_steps=2, num_draws=1, randomized_images=6)
    options = Options(("grad_cam",), (4,), faithfulness=settings)
    arguments = {"batch_size": 4, "options": options, "attack": step_ll(0.05)}
    expected = study(classifier, whole, many(11), **arguments).summary
    with pytest.raises(KilledError):
        study(classifier, cut, many(11), **arguments, progress=kill_after(4))
    assert not cut.exists()
    resumed = study(classifier, cut, many(11), **arguments).summary
    assert resumed["resumed_at"] == 4 and cut.read_bytes() == whole.read_bytes()
    parts = []
    for number in (2, 1):
        first, stop = shard_range(11, 4, number, 2)
        parts.append(tmp_path / f"part{number}.jsonl.gz")
        data = many(11, start=first).take((stop - first + 3) // 4)
        study(classifier, parts[-1], data, **arguments, first_index=first, shard=(number, 2))
    joined = merge_shards(parts, merged)
    assert merged.read_bytes() == whole.read_bytes()
    for key in ("faithfulness", "randomization", "randomized_layers"):
        assert expected[key] == resumed[key] == joined[key]
    assert json.loads(summary_path(merged).read_text())["randomization"] == joined["randomization"]


def test_lime_and_its_baselines(classifier, tmp_path):
    options = Options(
        methods=("lime",),
        cells=(4,),
        features=(2,),
        lime={"num_samples": 8, "segmentation": QUARTERS},
        faithfulness=Faithfulness(num_steps=2, num_draws=1, randomized_images=1),
    )
    output = tmp_path / "x.jsonl"
    study(classifier, output, batches_of(4), attack=step_ll(0.05), options=options, batch_size=4)
    run = read_attention_records(output)
    assert {run.faithfulness(name, "deletion").shape for name in ("lime", "random", "center")} == {
        (4, 2)
    }


def test_lime_is_left_out_where_maps_are_made_again(classifier, tmp_path):
    options = Options(
        methods=("grad_cam", "lime"),
        cells=(4,),
        features=(2,),
        lime={"num_samples": 8, "segmentation": QUARTERS},
        faithfulness=Faithfulness(num_steps=2, num_draws=1, randomized_images=4),
    )
    output = tmp_path / "x.jsonl"
    arguments = {"attack": step_ll(0.05), "options": options, "batch_size": 4}
    summary = study(classifier, output, batches_of(4), **arguments).summary
    assert set(summary["randomization"]) == {"grad_cam"}
    run = read_attention_records(output)
    assert run.faithfulness("grad_cam", "max_sensitivity").shape == (4, 2)
    with pytest.raises(ValueError, match="No faithfulness/lime/max_sensitivity in the records"):
        run.faithfulness("lime", "max_sensitivity")
    (line,) = [text for text in format_summary(summary).splitlines() if text.startswith("lime, ")]
    assert "insertion" in line and "sensitivity" not in line


def test_lime_alone_needs_no_layers(exported, tmp_path):
    options = Options(
        methods=("lime",),
        cells=(4,),
        features=(2,),
        lime={"num_samples": 8, "segmentation": np.kron(QUARTERS, np.ones((2, 2), int)).tolist()},
        faithfulness=Faithfulness(num_steps=2),
    )
    arguments = {"dataset": (IMAGES[:4], LABELS[:4]), "batch_size": 4, "options": options}
    summary = study(exported, tmp_path / "x.jsonl", **arguments).summary
    assert summary["randomized_layers"] == [] and "randomization" not in summary


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (lambda: Faithfulness(num_steps=0), ValueError, "num_steps must be at least 1"),
        (lambda: Faithfulness(num_draws=1.5), TypeError, "num_draws"),
        (
            lambda: Faithfulness(randomized_images=-1),
            ValueError,
            "images must be at least",
        ),
        (lambda: Faithfulness(fill="gray"), ValueError, "fill"),
        (lambda: Faithfulness(start=-1.0), ValueError, r"start must lie in \[0.0, 1.0\]"),
        (lambda: Faithfulness(radius=3.0), ValueError, "radius must lie in"),
        (lambda: True, TypeError, "must be an aad_tf.attention_study.Faithfulness or None"),
    ],
)
def test_settings_that_cannot_be(classifier, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        study(classifier, tmp_path / "x.jsonl", options=Options(cells=(4,), faithfulness=options()))
    assert list(tmp_path.iterdir()) == []


def test_an_exported_network_is_studied_without_its_layers(exported, tmp_path):
    arguments = {"dataset": (IMAGES[:4], LABELS[:4]), "batch_size": 4}
    output = tmp_path / "x.jsonl"
    with pytest.raises(TypeError, match="leaves the check out with randomized_images=0"):
        study(exported, output, **arguments, options=OPTIONS)
    options = Options(cells=(4,), faithfulness=Faithfulness(2, num_draws=1, randomized_images=0))
    summary = study(exported, output, **arguments, options=options).summary
    assert summary["randomized_layers"] == []
    assert "randomization" not in summary and "faithfulness" in summary


def test_images_of_different_sizes(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Conv2D(3, 3, activation="relu", name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    sizes = [random_images(2, (size, 8, 1), seed=size) for size in (6, 9)]
    data = [(images, np.array([0, 1], np.int32)) for images in sizes]
    output = tmp_path / "x.jsonl"
    study(Classifier.from_keras(model, "conv"), output, data, options=OPTIONS)
    run = read_attention_records(output)
    assert run.faithfulness("grad_cam", "deletion_curve").shape == (4, 3, 6)
    assert tf.reduce_all(run.faithfulness("random", "deletion") > 0)
