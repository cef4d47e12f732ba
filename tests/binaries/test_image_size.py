"""Evaluation at the size of images that a network was trained at."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import configs, data, export, model_directory
from aad_tf.classifier import Classifier
from aad_tf.records import read_records, read_summary
from eval import galleries
from eval.galleries.inputs import open_sources
from eval.inputs import NamedImages, Part, open_network, open_part
from tests.binaries.many_runs import run_many

SIZE = 14
ATTACK = "fgsm(epsilon=0.1)"
OF_THE_DATA = ["name", "split", "limit", "source", "fingerprint"]


def write_model(directory: Path, side: int, **settings: object) -> Path:
    """A network with fresh weights as train.main leaves it."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((side, side, 1)),
            keras.layers.Conv2D(4, 5, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    directory.mkdir()
    values = {"dataset": "digits", "evaluation_attacks": (ATTACK,), **settings}
    config = configs.to_dict(configs.from_dict(values))
    (directory / model_directory.CONFIG).write_text(json.dumps(config))
    export.save_network(network, directory / model_directory.NETWORK)
    export.export_saved_model(Classifier.from_keras(network), directory / "saved_model")
    return directory


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on images made smaller."""
    return write_model(tmp_path_factory.mktemp("small") / "run", SIZE, image_size=SIZE)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on images as they are."""
    return write_model(tmp_path_factory.mktemp("usual") / "run", 28)


@pytest.fixture(scope="module")
def records(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of eval.attention, which found the size in the model directory."""
    path = tmp_path_factory.mktemp("records") / "records.jsonl.gz"
    flags = ["--dataset=digits", "--attack=step_ll", "--epsilon=0.1", "--rounds=3", "--limit=10"]
    flags += [f"--model_dir={small}", "--methods=grad_cam", "--cells=10"]
    found, wrong, more = run_many(
        "eval.attention",
        [
            [*flags, f"--output={path}"],
            [*flags, f"--output={path.parent / 'x.jsonl'}", "--image_size=0"],
            [*flags, f"--output={path.parent / 'x.jsonl'}", "more"],
        ],
    )
    assert found.code == 0, found.errors
    assert (wrong.code, more.code) == (2, 2)
    assert f"Give --image_size={SIZE}." in wrong.errors
    assert "Unexpected arguments: more" in more.errors
    return path


def part_of(model: Path, size: int | None, batch_size: int = 50, **asked: object) -> Part:
    """Digits as a network takes them, a model directory's or an exported one."""
    kind = "saved_model" if model.name == "saved_model" else "model_dir"
    classifier = open_network(**{kind: str(model)}).classifier
    return open_part(NamedImages("digits", image_size=size), classifier, batch_size, **asked)


def test_parts_are_of_the_size_asked_for(small, usual):
    part = part_of(small, SIZE, limit=70)
    assert [images.shape for images, _ in part.batches] == [
        (50, SIZE, SIZE, 1),
        (20, SIZE, SIZE, 1),
    ]
    assert list(part.description) == [*OF_THE_DATA, "image_size"]
    assert part.description["image_size"] == SIZE
    part = part_of(usual, None, limit=70)
    # Evaluations that were finished before images could be resized go by the same description.
    assert list(part.description) == OF_THE_DATA


def test_another_size_than_the_network_takes_is_refused(small, usual):
    saved = small / "saved_model"
    part = part_of(saved, SIZE, limit=70)
    assert part.batches.element_spec[0].shape == (None, SIZE, SIZE, 1)
    for model, size, taken, given in (
        (saved, None, SIZE, 28),
        (small, 0, SIZE, 28),
        (usual, 20, 28, 20),
    ):
        message = (
            rf"takes images of shape \({taken}, {taken}, 1\), those of digits are "
            rf"\({given}, {given}, 1\)\. Give --image_size={taken}\."
        )
        with pytest.raises(ValueError, match=message):
            part_of(model, size)


@pytest.mark.parametrize("shard", [(1, 3), (2, 3), (3, 3)])
def test_shards_are_the_batches_of_the_whole(small, shard):
    whole = [*part_of(small, SIZE, 20, limit=90).batches]
    part = part_of(small, SIZE, 20, limit=90, shard=shard)
    found, expected = [*part.batches], {1: whole[:1], 2: whole[1:3], 3: whole[3:]}[shard[0]]
    assert part.first == {1: 0, 2: 20, 3: 60}[shard[0]]
    assert part.num_examples == sum(len(labels) for _, labels in expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"split": "tests"}, "Unknown split 'tests'. Did you mean 'test'"),
    ],
)
def test_parts_that_cannot_be(usual, changes, message):
    images = NamedImages("digits", changes.get("split", "test"))
    counts = {name: count for name, count in changes.items() if name != "split"}
    classifier = open_network(model_dir=str(usual)).classifier
    with pytest.raises(ValueError, match=message):
        open_part(images, classifier, **{"batch_size": 20, **counts}, shard=(1, 2))


def test_robustness_is_that_of_resized_images(small, tmp_path):
    output, flags = tmp_path / "r.jsonl", ["--limit=40", "--dataset=digits"]
    saved = [f"--saved_model={small / 'saved_model'}", f"--attacks={ATTACK}", *flags]
    of_directory, exported, without = run_many(
        "eval.robustness",
        [
            [f"--model_dir={small}", *flags, f"--output={output}"],
            [*saved, f"--image_size={SIZE}", f"--output={tmp_path / 'exported.jsonl'}"],
            [*saved, f"--output={tmp_path / 'without.jsonl'}"],
        ],
    )
    assert [of_directory.code, exported.code, without.code] == [0, 0, 2], exported.errors
    assert without.errors.endswith(f"Give --image_size={SIZE}.\n")
    assert read_summary(output)["evaluated"]["description"]["dataset"]["image_size"] == SIZE
    network, _ = model_directory.load_classifier(small)
    images, _ = next(iter(data.evaluation_batches("digits", "test", 40)))
    resized = tf.image.resize(images, (SIZE, SIZE))
    expected = np.argmax(network(resized).logits, axis=1).tolist()
    for path in (output, tmp_path / "exported.jsonl"):
        assert [record["clean_prediction"] for record in read_records(path)] == expected


def test_attention_is_studied_and_shown_at_that_size(small, records):
    assert read_summary(records, "study")["study"]["image_shape"] == [SIZE, SIZE, 1]
    study = galleries.gallery_of(3, 1).read(records)
    (source,) = open_sources([study], [str(small)])
    batch = next(iter(source.opened(0)))
    assert batch["image"].shape[1:] == (SIZE, SIZE, 1)


def test_pictures_side_by_side_are_of_one_size(small, usual, tmp_path):
    output = tmp_path / "attention.png"
    drawn, mixed = run_many(
        "eval.attention_pictures",
        [
            [f"--model_dirs=one={small}", "--count=1", f"--output={output}"],
            [f"--model_dirs=one={small},other={usual}", f"--output={tmp_path / 'x.png'}"],
        ],
    )
    assert drawn.code == 0, drawn.errors
    assert output.read_bytes().startswith(b"\x89PNG")
    assert mixed.code == 2
    assert "share one data set and image size, got digits (own size), digits (14)" in mixed.errors
