"""A study sees the attack's own rounds, and LIME's own masks with the settings it records."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier
from aad_tf.attacks import a3, pgd, step_ll
from aad_tf.attention import lime
from aad_tf.attention_study.explain import Explainer
from tests.attention_study.conftest import LABELS, batches_of
from tests.attention_study.studies import ATTACK, OPTIONS, study
from tests.networks import small_network


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
    """The misclassified image is explained by the other, flat channel: the same in every cell."""
    options = dataclasses.replace(OPTIONS, explained="prediction")
    output = tmp_path / "x.jsonl"
    study(classifier, output, options=options)
    record = json.loads(output.read_text().splitlines()[3])
    assert record["prediction"][0] == 0 != record["label"]
    assert record["maps"]["grad_cam"]["entropy"][0] == 1.0


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
    for index, record in enumerate(records):
        found = record["maps"]["lime"]
        direct = lime(
            classifier, images[index : index + 1], [index], num_samples=60, num_segments=9
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


def test_lime_without_scikit_image_says_how_to_install_it(classifier, tmp_path, monkeypatch):
    def not_found(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_found)
    monkeypatch.setitem(sys.modules, "skimage", None)
    options = dataclasses.replace(OPTIONS, methods=("lime",), lime={"num_samples": 20})
    with pytest.raises(ImportError, match=r"pip install 'aad_tf\[lime\]'"):
        study(classifier, tmp_path / "x.jsonl", options=options)
    # Given superpixels need no library: here four squares.
    squares = np.kron([[0, 1], [2, 3]], np.ones((2, 2), int)).tolist()
    options = dataclasses.replace(options, lime={"num_samples": 20, "segmentation": squares})
    summary = study(classifier, tmp_path / "x.jsonl", options=options).summary
    assert summary["study"]["lime"]["segmentation"] == squares
    assert "scikit_image" not in summary["study"]["lime"]
    record = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])
    assert record["maps"]["lime"]["segments"] == [4, 4, 4]
