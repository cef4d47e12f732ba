"""Networks of every kind and images of either are opened alike, and must belong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attention_study, configs, data, export
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.evaluation import evaluate_robustness
from aad_tf.losses import AADLosses
from eval.inputs import FolderImages, NamedImages, open_network, open_part, trained_losses

FGSM = "fgsm(epsilon=0.1)"


@pytest.mark.parametrize(
    ("losses", "weights"), [("paper", (8, 4, 1)), ("reference_code", (8, 4, 70))]
)
def test_attacks_weigh_a_sum_over_the_batch_as_training_did(losses: str, weights: tuple) -> None:
    defense = configs.DefenseConfig("aad", FGSM, losses=losses, fill="0.5")
    found = trained_losses(configs.ExperimentConfig(defense=defense, batch_size=70))
    assert found == (weights, AADLosses.preset(losses).replace(fill=0.5))
    assert trained_losses(configs.ExperimentConfig()) is None


def network(side: int | None, classes: int, channels: int = 3) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((side, side, channels)),
            keras.layers.Conv2D(4, 4, 4, activation="relu", name="conv"),
            keras.layers.Conv2D(4, 1, activation="relu", name="last"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes),
        ]
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of fixed size, its export, one of any size, and four photos of two classes."""
    directory = tmp_path_factory.mktemp("files")
    model = network(16, 2)
    model.save(directory / "fixed.keras")
    export.export_saved_model(Classifier.from_keras(model), directory / "exported")
    network(None, 2).save(directory / "open.keras")
    generator = np.random.default_rng(0)
    for number in range(4):
        folder = directory / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (20, 18, 3)).astype(np.uint8)
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return directory


def test_a_file_and_its_export_are_evaluated_alike(files, tmp_path):
    images = FolderImages(str(files / "photos"))
    records = []
    for kind, name in (("keras_model", "fixed.keras"), ("saved_model", "exported")):
        opened = open_network(**{kind: str(files / name)})
        part = open_part(images, opened.classifier, 3, with_boxes=True)
        output = tmp_path / f"{kind}.jsonl"
        options = attention_study.Options(methods=("grad_cam",))
        report = attention_study.study_attention(
            opened.classifier, part.batches, FGSM, output=output, batch_size=3, options=options
        )
        # Of a map of 16 cells only 5 and 10 are smaller.
        assert report.summary["study"]["cells"] == [5, 10]
        plain = open_part(images, opened.classifier, 3)
        found = evaluate_robustness(opened.classifier, plain.batches, FGSM)
        records.append([report.summary["accuracy"], found.robust_accuracy("fgsm")])
    assert records[0] == records[1]


def test_named_images_come_in_the_bounds_of_the_network(files):
    model = network(28, 10, channels=1)
    model.save(files / "digits.keras")
    opened = open_network(keras_model=str(files / "digits.keras"), bounds=["0", "255"])
    assert tuple(opened.classifier.bounds) == (0.0, 255.0)
    expected, _ = next(iter(data.evaluation_batches("digits", "test", 5)))
    plain = open_part(NamedImages("digits"), opened.classifier, 5, limit=5)
    images, _ = next(iter(plain.batches))
    np.testing.assert_allclose(images, 255 * expected, rtol=1e-6)
    boxed = open_part(NamedImages("digits"), opened.classifier, 5, limit=5, with_boxes=True)
    np.testing.assert_array_equal(next(iter(boxed.batches(0)))["image"], images)


def test_a_network_of_any_size_takes_the_size_asked_for(files):
    path = str(files / "open.keras")
    folder = str(files / "photos")
    with pytest.raises(ValueError, match="leaves their size open: give --image_size"):
        open_network(keras_model=path, images=FolderImages(folder))
    images = FolderImages(folder, image_size=24)
    opened = open_network(keras_model=path, images=images)
    assert opened.classifier.input_shape == (24, 24, 3)
    assert str(opened).endswith("open.keras, 2 classes, images of 24 x 24 x 3 in [0, 1]")
    part = open_part(images, opened.classifier, 4)
    assert part.batches.element_spec[0].shape == (None, 24, 24, 3)
    assert part.description["image_size"] == [24, 24]
    assert part.description["class_names"] == ["cat", "dog"]


def test_a_saved_defence_is_opened_as_its_network(files):
    held = Classifier.from_keras(network(16, 2), "conv", bounds=(-1, 1))
    model = StandardModel(held)
    model.save(files / "defence.keras")
    opened = open_network(keras_model=str(files / "defence.keras"))
    assert opened.classifier.bounds == (-1, 1)
    assert opened.classifier.attention_layer == "conv"
    given = open_network(
        keras_model=str(files / "defence.keras"), attention_layer="last", bounds=["0", "1"]
    )
    assert (given.classifier.attention_layer, *given.classifier.bounds) == ("last", 0, 1)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(opened.classifier.predict_logits(pixels), model(pixels))


def test_shards_of_folders_are_the_batches_of_the_whole(files):
    classifier = open_network(keras_model=str(files / "fixed.keras")).classifier
    images = FolderImages(str(files / "photos"))
    whole = [*open_part(images, classifier, 2).batches]
    part = open_part(images, classifier, 2, shard=(2, 2))
    assert (part.first, part.num_examples) == (2, 2)
    (found,) = part.batches
    np.testing.assert_array_equal(found[0], whole[1][0])
    np.testing.assert_array_equal(found[1], whole[1][1])


def test_few_images_of_folders_are_of_every_class(files):
    """Of the four files, two of cats before two of dogs, two are the first and the third."""
    classifier = open_network(keras_model=str(files / "fixed.keras")).classifier
    images = FolderImages(str(files / "photos"))
    pixels, labels = map(
        np.concatenate, zip(*open_part(images, classifier, 1).batches, strict=True)
    )
    assert labels.tolist() == [0, 0, 1, 1]
    for limit, places in ((2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])):
        part = open_part(images, classifier, 1, limit=limit)
        assert part.num_examples == len(places)
        # As many as there are, or more, are all of them: they are no part.
        noted = limit if limit < 4 else None
        assert part.description["limit"] == noted
        assert ("equal distances" in part.description.get("taken", "")) == (noted is not None)
        found = map(np.concatenate, zip(*part.batches, strict=True))
        for values, expected in zip(found, (pixels, labels), strict=True):
            np.testing.assert_array_equal(values, expected[places])
    (second,) = open_part(images, classifier, 1, limit=2, shard=(2, 2)).batches
    np.testing.assert_array_equal(second[0], pixels[[2]])


def test_folders_are_classes_of_the_network(files):
    network(16, 3).save(files / "three.keras")
    classifier = open_network(keras_model=str(files / "three.keras")).classifier
    folder = str(files / "photos")
    message = r"has 3 classes, photos has 2\. Its classes are cat, dog, by .* as --class_names\."
    with pytest.raises(ValueError, match=message):
        open_part(FolderImages(folder), classifier, 2)
    # As the message says.
    part = open_part(FolderImages(folder, ["dog", "cow", "cat"]), classifier, 2)
    labels = np.concatenate([labels for _, labels in part.batches])
    assert labels.tolist() == [2, 2, 0, 0]


def test_a_directory_with_more_folders_than_the_network_has_classes(files):
    network(16, 2).save(files / "two.keras")
    classifier = open_network(keras_model=str(files / "two.keras")).classifier
    folder = files / "more"
    shutil.copytree(files / "photos", folder)
    (folder / "ant").mkdir()
    message = "has 2 classes, more has 3. Each folder .*: ant, cat, dog. Give the directory that"
    with pytest.raises(ValueError, match=message):
        open_part(FolderImages(str(folder)), classifier, 2)
    (folder / "ant").rmdir()
    assert open_part(FolderImages(str(folder)), classifier, 2).num_examples == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"keras_model": "fixed.keras", "saved_model": "exported"}, "Give one of --model_dir"),
        ({"saved_model": "exported", "bounds": ["0", "255"]}, "--bounds belongs to --keras_model"),
        ({"saved_model": "exported", "attention_layer": "conv"}, "explains its layer 'last' and"),
        ({"keras_model": "fixed.keras", "weights": "imagenet"}, "--weights belongs to --network"),
        ({"keras_model": "fixed.keras", "bounds": ["0", "x"]}, "bounds must be a pair"),
        ({"keras_model": "fixed.keras", "attention_layer": "lst"}, "No layer is named 'lst'"),
        ({"keras_model": "none.keras"}, "none.keras"),
    ],
)
def test_what_does_not_go_together_is_named(files, flags, message):
    kinds = ("keras_model", "saved_model")
    paths = {key: str(files / flag) if key in kinds else flag for key, flag in flags.items()}
    with pytest.raises((ValueError, TypeError), match=message):
        open_network(**paths)


def test_a_registered_network_is_built_for_the_images(files):
    images = FolderImages(str(files / "photos"), image_size=28)
    opened = open_network(network="lenet", images=images)
    assert opened.classifier.input_shape == (28, 28, 3) and opened.classifier.num_classes == 2
    assert opened.description == {"network": "lenet", "weights": None}
