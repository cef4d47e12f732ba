"""Data sets on disk: small copies written here, and the real ones where present."""

from __future__ import annotations

import itertools
import json
import re
import shutil

import numpy as np
import pytest

from aad_tf import data
from aad_tf.data.prepared import data_directory
from aad_tf.data.small.some_classes import PARTS, _fingerprint
from aad_tf.data.small.tfds_source import examples


def labels_of(name, split, directory=None):
    batches = data.evaluation_batches(name, split, 5000, data_dir=directory)
    return np.concatenate([labels.numpy() for _, labels in batches])


def test_validation_is_the_last_5000_of_the_stored_training_split(small_copy):
    assert data.info("mnist", small_copy).num_examples == {
        "train": 12,
        "validation": 5000,
        "test": 7,
    }
    # Every stored image has its index modulo 256 as gray level.
    for split, first, count in (("train", 0, 12), ("validation", 12, 5000), ("test", 0, 7)):
        images, labels = next(iter(data.evaluation_batches("mnist", split, 9999, small_copy)))
        indices = np.arange(first, first + count)
        expected = (indices % 256).astype("float32")[:, None, None, None] / np.float32(255)
        assert images.shape == (count, 28, 28, 1)
        np.testing.assert_array_equal(images, np.broadcast_to(expected, images.shape))
        np.testing.assert_array_equal(labels, indices % 10)


def test_info_of_a_png_copy(small_copy):
    info = data.info("mnist", small_copy)
    assert (info.name, info.image_shape, info.num_classes) == ("mnist", (28, 28, 1), 10)
    assert info.class_names == tuple(map(str, range(10)))
    assert info.source == "tfds mnist/3.0.1"


def test_jpeg_copy_is_recognised(write_copy, tmp_path):
    options = {"train": 5001, "test": 3, "shape": (32, 32, 3), "version": "3.0.2"}
    lossy = write_copy(tmp_path / "lossy", "cifar10", encoding="jpeg", **options)
    exact = write_copy(tmp_path / "exact", "cifar10", encoding="png", **options)
    assert data.info("cifar10", lossy).source == "tfds cifar10/3.0.2, JPEG copy, lossy"
    assert data.info("cifar10", exact).source == "tfds cifar10/3.0.2"
    assert data.info("cifar10", lossy).fingerprint != data.info("cifar10", exact).fingerprint


def test_fingerprint_tells_copies_apart_and_not_places(
    small_copy, writable_copy, write_copy, tmp_path
):
    fingerprint = data.info("mnist", small_copy).fingerprint
    assert data.info("mnist", writable_copy).fingerprint == fingerprint
    longer = write_copy(tmp_path / "longer", "mnist", train=5012, test=8)
    assert data.info("mnist", longer).fingerprint != fingerprint


def test_newest_version_is_used(writable_copy):
    # As text, 3.0.10 would come before 3.0.9.
    original = writable_copy / "mnist" / "3.0.1"
    for version in ("3.0.9", "3.0.10"):
        shutil.copytree(original, original.parent / version)
        metadata = original.parent / version / "dataset_info.json"
        metadata.write_text(metadata.read_text().replace('"3.0.1"', f'"{version}"'))
    assert data.info("mnist", writable_copy).source == "tfds mnist/3.0.10"


def test_images_are_decoded_once(writable_copy):
    batches = iter(data.training_batches("mnist", 5, seed=0, data_dir=writable_copy))
    shutil.rmtree(writable_copy)
    sizes = [len(labels) for _, labels in itertools.islice(batches, 9)]
    assert sizes == [5, 5, 2] * 3
    assert len(labels_of("mnist", "train", writable_copy)) == 12


def test_environment_names_the_directory(small_copy, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(small_copy))
    assert data.info("mnist") == data.info("mnist", small_copy)
    assert data_directory() == small_copy
    assert data_directory("elsewhere").name == "elsewhere"
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert data_directory().parts[-1] == "tensorflow_datasets"
    assert "~" not in str(data_directory())


def test_missing_data_says_where_and_how(tmp_path):
    for call in (
        lambda: data.info("fashion_mnist", tmp_path),
        lambda: data.load("fashion_mnist", "train", tmp_path),
        lambda: data.training_batches("fashion_mnist", 10, 0, data_dir=tmp_path),
    ):
        with pytest.raises(data.DatasetNotFoundError) as caught:
            call()
        message = str(caught.value)
        assert f"'fashion_mnist' is not in {tmp_path}" in message
        assert "Set TFDS_DATA_DIR" in message
        assert f"tfds build fashion_mnist --data_dir={tmp_path}" in message
    assert issubclass(data.DatasetNotFoundError, ValueError)


def test_missing_file_is_named(writable_copy):
    (shard,) = (writable_copy / "mnist").glob("*/mnist-test.tfrecord*")
    shard.unlink()
    message = f"incomplete: split 'test' lacks {shard}"
    with pytest.raises(data.DatasetNotFoundError, match=re.escape(message)):
        data.info("mnist", writable_copy)


def test_file_cut_short_is_named(writable_copy):
    (shard,) = (writable_copy / "mnist").glob("*/mnist-test.tfrecord*")
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(data.DatasetNotFoundError, match="is damaged.*tfds build mnist --overwrite"):
        data.load("mnist", "test", writable_copy)


@pytest.mark.parametrize(("train", "test"), [(5000, 2), (3, 2)])
def test_too_few_examples(write_copy, tmp_path, train, test):
    write_copy(tmp_path, "mnist", train=train, test=test)
    message = f"expected more than 5000 training examples .* found {train} and {test}"
    with pytest.raises(ValueError, match=message):
        data.load("mnist", "train", tmp_path)


def test_published_counts_and_mean_of_mnist(require_dataset):
    directory = require_dataset("mnist")
    counts, sums = {}, {}
    for split in ("train", "validation", "test"):
        batches = [*data.evaluation_batches("mnist", split, 5000, directory)]
        counts[split] = sum(np.bincount(labels, minlength=10) for _, labels in batches)
        sums[split] = sum(float(np.sum(images, dtype="float64")) for images, _ in batches)
    assert (counts["train"].sum(), counts["validation"].sum()) == (55_000, 5_000)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (counts["train"] + counts["validation"]).tolist() == train
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert counts["test"].tolist() == test
    total = sums["train"] + sums["validation"]
    assert total / (60_000 * 28 * 28) == pytest.approx(0.1307, abs=5e-5)


def test_empty_split(write_copy, tmp_path):
    write_copy(tmp_path, "mnist", train=5001, test=0)
    with pytest.raises(data.DatasetNotFoundError, match="split 'test' lacks its files"):
        data.load("mnist", "test", tmp_path)


def test_split_whose_file_holds_nothing(writable_copy):
    (metadata,) = (writable_copy / "mnist").glob("*/dataset_info.json")
    content = json.loads(metadata.read_text())
    for split in content["splits"]:
        if split["name"] == "test":
            split["shardLengths"] = ["0"]
    metadata.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="at least 1 test example, found 5012 and 0"):
        data.info("mnist", writable_copy)


def test_tiny_imagenet_100(require_dataset):
    directory = require_dataset("tiny_imagenet_100")
    info = data.info("tiny_imagenet_100", directory)
    assert info.num_examples == {"train": 45_000, "validation": 5_000, "test": 5_000}
    assert (info.image_shape, info.num_classes) == ((32, 32, 3), 100)
    assert "lossy" not in info.source and info.class_names[0] != "n01443537"
    counts = 0
    for images, labels in data.evaluation_batches("tiny_imagenet_100", "test", 1000, directory):
        assert images.dtype == "float32" and np.min(images) >= 0 and np.max(images) <= 1
        counts += np.bincount(labels, minlength=100)
    assert counts.tolist() == [50] * 100
    # Some of its classes as a data set of their own: the same pictures in the same order.
    part = data.info("tiny_imagenet_spread_10", directory)
    assert part.class_names == info.class_names[::10] and part.num_classes == 10
    assert part.num_examples["test"] == 500 and part.fingerprint != info.fingerprint
    assert "10 of its classes, spread evenly" in part.source
    assert sum(part.num_examples.values()) == 10 * 550
    whole, labels = examples("tiny_imagenet_100", "test", directory)
    kept = np.flatnonzero(np.equal(np.mod(labels, 10), 0))
    (batch,) = data.evaluation_batches("tiny_imagenet_spread_10", "test", 500, directory)
    np.testing.assert_array_equal(batch[1], np.take(labels, kept) // 10)
    np.testing.assert_array_equal(np.round(batch[0][7] * 255), np.take(whole, kept[7], axis=0))
    one = next(iter(data.boxed_batches("tiny_imagenet_spread_10", "test", 2, directory, start=7)))
    np.testing.assert_array_equal(one["image"][0], batch[0][7])
    assert len(one["boxes"].shape) == 3
    first = data.info("tiny_imagenet_10", directory)
    assert first.class_names == info.class_names[:10] and first.fingerprint != part.fingerprint


def test_some_classes_are_spread_evenly_and_nested():
    kept = {name: part.kept for name, part in PARTS.items()}
    assert kept["tiny_imagenet_spread_10"] == (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)
    assert kept["tiny_imagenet_spread_20"][:5] == (0, 4, 10, 14, 20)
    assert kept["tiny_imagenet_spread_50"] == tuple(range(0, 100, 2))
    assert kept["tiny_imagenet_20"] == tuple(range(20))
    for kind in ("", "spread_"):
        ten, twenty, fifty = (kept[f"tiny_imagenet_{kind}{count}"] for count in (10, 20, 50))
        assert set(ten) < set(twenty) < set(fifty)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny_imagenet_10", "d246cbf4f468abde"),
        ("tiny_imagenet_20", "dd5c9cccde49b347"),
        ("tiny_imagenet_50", "fd553fb4eed266d7"),
        ("tiny_imagenet_spread_10", "91f4aa20b8846bb3"),
    ],
)
def test_fingerprints_of_some_classes_are_those_of_earlier_records(name, expected):
    assert _fingerprint("c84dfb3bfc946b48", PARTS[name]) == expected


@pytest.mark.parametrize(
    ("name", "train", "shape", "first", "last"),
    [
        ("cifar10", 45_000, (32, 32, 3), "airplane", "truck"),
        ("fashion_mnist", 55_000, (28, 28, 1), "T-shirt/top", "Ankle boot"),
    ],
)
def test_test_splits_of_the_others(require_dataset, name, train, shape, first, last):
    directory = require_dataset(name)
    info = data.info(name, directory)
    assert info.num_examples == {"train": train, "validation": 5_000, "test": 10_000}
    assert (info.image_shape, info.class_names[0], info.class_names[9]) == (shape, first, last)
    images, labels = next(iter(data.evaluation_batches(name, "test", 10_000, directory)))
    assert np.bincount(labels).tolist() == [1000] * 10
    assert float(np.min(images)) == 0.0 and float(np.max(images)) == 1.0
