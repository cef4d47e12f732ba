"""Classifiers, models, defences and data sets are taken; anything else is refused with a hint."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import AwayFromLabel, GradientSignAttack, fgsm, pgd
from aad_tf.attention_study import Options, study_attention
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.evaluation import evaluate_robustness
from tests.evaluation.attacked_networks import (
    PRESETS,
    brightness_classifier,
    gray_images,
    mean_network,
)


def test_a_defence_is_evaluated_by_its_classifier(random_network, random_examples):
    defence = StandardModel(random_network)
    report = evaluate_robustness(defence, random_examples, PRESETS["fgsm"])
    expected = evaluate_robustness(random_network, random_examples, PRESETS["fgsm"])
    assert list(report.records()) == list(expected.records())


def test_a_keras_model_and_extra_entries_of_a_data_set_are_taken(random_network, random_examples):
    boxes = np.zeros((60, 4))
    dataset = tf.data.Dataset.from_tensor_slices((*random_examples, boxes)).batch(25)
    attack = PRESETS["ifgsm"]
    by_model = evaluate_robustness(random_network.model, dataset, attack)
    assert list(by_model.records()) == list(
        evaluate_robustness(random_network, random_examples, attack).records()
    )


def test_attacks_are_taken_as_text_too(random_network, random_examples):
    data = [part[:5] for part in random_examples]
    for text in ("fgsm(epsilon=0.1)", ["fgsm(epsilon=0.1)"]):
        report = evaluate_robustness(random_network, data, text)
        assert report.summary["attacks"][0]["threat_model"]["epsilon"] == 0.1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": lambda x: x * 255}, ValueError, "0..255 pixels: divide by 255"),
        ({"images": lambda x: x[:, :5]}, ValueError, r"must have shape \[batch, 6, 6, 2\]"),
        ({"labels": lambda y: y + 5}, ValueError, r"must lie in \[0, 5\)"),
        ({"labels": lambda y: y[:-1]}, ValueError, "one entry per example"),
        ({"images": lambda x: x[:0], "labels": lambda y: y[:0]}, ValueError, "data set is empty"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        (
            {"success": "first"},
            ValueError,
            "Unknown success rule .first",
        ),
        ({"attacks": []}, ValueError, "attacks is empty"),
        (
            {"attacks": [fgsm(0.1), fgsm(0.1)]},
            ValueError,
            r"attacks holds fgsm\(epsilon=0.1\) more than once",
        ),
        (
            {"attacks": [0.1]},
            TypeError,
            r"such as aad_tf.attacks.fgsm\(0.1\), or its text.*got 0.1",
        ),
        ({"attacks": ["fgsm"]}, ValueError, "Expected an attack like"),
        ({"dataset": 3}, TypeError, "tf.data.Dataset of .* or a pair of arrays"),
        ({"attacks": pgd}, TypeError, r"Call it: pgd\(epsilon=..., step_size=..., num_steps=...\)"),
        (
            {"classifier": "model.keras"},
            TypeError,
            "must be a keras.Model of Keras 3, got str. Load .* with keras.saving.load_model",
        ),
        ({"dataset": Path("photos")}, TypeError, "'photos'. Read a directory .*image_folder"),
    ],
)
def test_bad_input_is_refused_with_a_hint(changes, error, message, random_network, random_examples):
    changes = dict(changes)
    images, labels = random_examples
    data = (changes.pop("images", np.array)(images), changes.pop("labels", np.array)(labels))
    arguments = {"classifier": random_network, "dataset": data, "attacks": [fgsm(0.1)], **changes}
    with pytest.raises(error, match=message):
        evaluate_robustness(**arguments)


class Batches(keras.utils.PyDataset):
    """The examples in batches of 25 by number; endless without a number of batches."""

    def __init__(self, examples, endless: bool = False) -> None:
        super().__init__()
        self.examples, self.endless = examples, endless

    @property
    def num_batches(self):
        return None if self.endless else 3

    def __getitem__(self, number):
        begin = number % 3 * 25
        return tuple(part[begin : begin + 25] for part in self.examples)


class Tensor:
    """Of another library: NumPy can read it, and nothing else is known of it."""

    def __init__(self, array) -> None:
        self.array, self.shape, self.ndim = array, array.shape, array.ndim

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, part):
        return Tensor(self.array[part])


class Loader:
    """Like the DataLoader of torch: an iterable of lists of tensors."""

    def __init__(self, examples) -> None:
        self.batches = [[Tensor(part) for part in batch] for batch in Batches(examples)]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def as_dictionary(examples) -> dict:
    return dict(zip(("image", "label"), examples, strict=True))


def weighted(examples) -> tuple:
    # Of weight zero, none would count.
    return (*examples, np.zeros(len(examples[1])))


def as_dataset(structure) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(structure).batch(25)


FORMS = {
    "PyDataset": Batches,
    "sample weights": lambda examples: Batches(weighted(examples)),
    "list": lambda examples: list(Batches(examples)),
    "tuple of lists": lambda examples: tuple(map(list, Batches(examples))),
    "two batches in a list": lambda examples: [
        [part[:30] for part in examples],
        [part[30:] for part in examples],
    ],
    "generator": lambda examples: iter(Batches(examples)),
    "generator function": lambda examples: lambda: iter(Batches(examples)),
    "function": lambda examples: lambda: as_dataset(examples),
    "loader": Loader,
    "dictionaries": lambda examples: map(as_dictionary, Batches(examples)),
    "dataset of dictionaries": lambda examples: as_dataset(as_dictionary(examples)),
    "dataset of weights": lambda examples: as_dataset(weighted(examples)),
    "arrays by name": as_dictionary,
    "arrays with weights": weighted,
    "tensors": lambda examples: tuple(map(tf.constant, examples)),
    "lists of images": lambda examples: [list(part) for part in examples],
    "numbers": lambda examples: [part.tolist() for part in examples],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_data_set_changes_nothing(form, random_network, random_examples):
    attack = PRESETS["ifgsm"]
    expected = evaluate_robustness(random_network, random_examples, attack)
    report = evaluate_robustness(random_network, FORMS[form](random_examples), attack)
    assert list(report.records()) == list(expected.records())


def test_channels_first_batches_of_a_loader_are_refused_with_advice_that_works(
    random_network, random_examples
):
    images, labels = random_examples
    loader = Loader((np.moveaxis(images, -1, 1), labels))
    advice = r"They look channels-first: .* with np.moveaxis\(np.asarray\(images\), 1, -1\)"
    with pytest.raises(ValueError, match=advice):
        evaluate_robustness(random_network, loader, PRESETS["ifgsm"])
    followed = ((np.moveaxis(np.asarray(images), 1, -1), labels) for images, labels in loader)
    report = evaluate_robustness(random_network, followed, PRESETS["ifgsm"])
    expected = evaluate_robustness(random_network, random_examples, PRESETS["ifgsm"])
    assert list(report.records()) == list(expected.records())


def test_progress_is_shown_if_asked_for(random_network, random_examples, capsys):
    for verbose in ("auto", 0, 1):
        evaluate_robustness(random_network, random_examples, PRESETS["fgsm"], verbose=verbose)
        shown = capsys.readouterr().err
        assert shown.startswith("100% 60/60 [") == (verbose == 1) == bool(shown)
    with pytest.raises(ValueError, match='verbose must be "auto", 0 or 1, got 3'):
        evaluate_robustness(random_network, random_examples, PRESETS["fgsm"], verbose=3)


def test_pictures_in_directories_are_taken_as_keras_reads_them(tmp_path):
    # Gray levels of 0..255 in a directory for each class: bright are class 1, as is said of 90.
    for number, (label, level) in enumerate([(0, 20), (0, 120), (1, 90), (1, 150), (1, 250)]):
        path = tmp_path / f"class_{label}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        keras.utils.save_img(path, np.full((2, 2, 1), level), scale=False)
    inner = brightness_classifier().model
    network = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Rescaling(1 / 255), inner])
    dataset = keras.utils.image_dataset_from_directory(
        tmp_path, color_mode="grayscale", image_size=(2, 2), batch_size=2, shuffle=False, verbose=0
    )
    classifier = Classifier.from_keras(network, bounds=(0.0, 255.0))
    attack = GradientSignAttack(AwayFromLabel(), 1.0, 10, name="ten levels")
    (entry,) = evaluate_robustness(classifier, dataset, attack).summary["attacks"]
    assert (entry["clean_accuracy"], entry["robust_accuracy"]) == (4 / 5, 3 / 5)


def endless(examples):
    while True:
        yield from Batches(examples)


@pytest.mark.parametrize(
    "form",
    [
        endless,
        lambda examples: Batches(examples, endless=True),
        lambda examples: as_dataset(examples).repeat(),
        lambda examples: examples,
        lambda examples: as_dataset(examples),
        lambda examples: as_dataset(examples).filter(lambda *_: True),
    ],
)
def test_only_so_many_examples(form, random_network, random_examples):
    attack = PRESETS["ifgsm"]
    expected = evaluate_robustness(random_network, [part[:33] for part in random_examples], attack)
    report = evaluate_robustness(
        random_network, form(random_examples), attack, num_examples=33, batch_size=20
    )
    assert list(report.records()) == list(expected.records())


@pytest.mark.parametrize("form", ["generator", "tensors", "PyDataset", "dataset of weights"])
def test_fewer_examples_than_announced_are_noticed(form, random_network, random_examples):
    with pytest.raises(ValueError, match="ended after 60 examples; 61 were announced"):
        evaluate_robustness(
            random_network, FORMS[form](random_examples), fgsm(0.1), num_examples=61
        )


@pytest.mark.parametrize("form", ["generator", "loader", "PyDataset", "dictionaries"])
def test_iterables_are_resumed_from_their_beginning(
    form, random_network, random_examples, tmp_path
):
    def run(output, **options):
        data, attack = FORMS[form](random_examples), PRESETS["ifgsm"]
        evaluate_robustness(
            random_network, data, attack, output=tmp_path / output, batch_size=8, **options
        )
        return (tmp_path / output).read_bytes()

    def interrupt(progress) -> None:
        if progress.done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("cut.jsonl", progress=interrupt)
    states = []
    assert run("cut.jsonl", progress=states.append) == run("whole.jsonl")
    assert 30 < states[0].reused < 60


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (lambda x, y: Batches((x, y), endless=True), ValueError, "endless. Pass num_examples="),
        (
            lambda x, y: zip(x, y, strict=True),
            ValueError,
            r"single images \(6, 6, 2\)\. Batch it, or",
        ),
        (lambda x, y: [x], TypeError, r"must give batches \(images, labels\).*got ndarray"),
        (lambda x, y: [(x,)], TypeError, "got tuple of ndarray"),
        (lambda x, y: [({"a": x}, y)], ValueError, r"dict of 'a'.*x\['a'\], y"),
        (lambda x, y: ({"a": x}, y), ValueError, r"dict of 'a'.*x\['a'\], y"),
        (lambda x, y: [{"img": x, "label": y}], TypeError, "image and label, got img, label"),
        (lambda x, y: {"x": x, "y": y}, TypeError, "must hold image and label, got x, y"),
        (
            lambda x, y: "mnist",
            TypeError,
            "must give batches .*str 'mnist'.*evaluation_batches",
        ),
        (lambda x, y: iter(()), ValueError, "data set is empty"),
        (lambda x, y: [(x, y[:-1])], ValueError, r"one entry per image \(60\), got 59"),
    ],
)
def test_iterables_that_give_no_batches_are_refused(
    dataset, error, message, random_network, random_examples
):
    with pytest.raises(error, match=message):
        evaluate_robustness(random_network, dataset(*random_examples), fgsm(0.1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.batch(4).repeat(), ValueError, "endless. Call dataset.take"),
        (lambda d: d, ValueError, r"single images \(6, 6, 2\). Call dataset.batch"),
        (lambda d: d.batch(4).take(0), ValueError, "data set is empty"),
        (lambda d: d.map(lambda x, y: x).batch(4), TypeError, "must give tuples"),
    ],
)
def test_bad_data_sets_are_refused(change, error, message, random_network, random_examples):
    dataset = change(tf.data.Dataset.from_tensor_slices(random_examples))
    with pytest.raises(error, match=message):
        evaluate_robustness(random_network, dataset, fgsm(0.1))


def test_logits_that_overflow_are_an_error_not_a_success(random_examples):
    network = mean_network([0.0], [[0.0, 4.0]], [0.0, -2.0])
    network.model.layers[-1].bias.assign([np.nan, 0.0])
    with pytest.raises(ValueError, match="NaN or infinite on example 0. Check its weights"):
        evaluate_robustness(network, (gray_images([0.4]), np.array([0])), fgsm(0.1))


def test_logits_that_overflow_under_attack_are_an_error_too():
    # Logit 1 is log(0.7 - v) + 5; moving away from class 1 leads to v above 0.7.
    inner = brightness_classifier().model
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((2, 2, 1), dtype="float64"),
            layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", dtype="float64"),
            layers.GlobalAveragePooling2D(dtype="float64"),
            layers.Dense(1, activation=keras.ops.log, dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ]
    )
    weights = [inner.get_weights()[0], [[-1.0]], [0.7], [[0.0, 1.0]], [0.0, 5.0]]
    network.set_weights([np.array(weight) for weight in weights])
    data = (gray_images([0.5]), np.array([1]))
    with pytest.raises(ValueError, match="NaN or infinite on example 0 under attack 'fgsm'"):
        evaluate_robustness(network, data, fgsm(0.3))


def test_numbers_may_be_numpy_integers(random_network, random_examples, tmp_path):
    number = np.int64
    attack = pgd(0.1, 0.02, number(2), restarts=number(2))
    options = {
        "num_examples": number(6),
        "first_index": number(6),
        "shard": (number(2), number(3)),
        "seed": number(3),
        "batch_size": number(4),
    }
    report = evaluate_robustness(
        random_network, random_examples, attack, output=tmp_path / "r.jsonl", **options
    )
    assert [record["index"] for record in report.records()] == list(range(6, 12))
    evaluated = report.summary["evaluated"]
    assert (evaluated["num_examples"], evaluated["first_index"]) == (6, 6)
    seed = options.pop("seed")
    options["options"] = Options(cells=(number(3),), methods=("grad_cam",), seed=seed)
    study = study_attention(
        random_network, random_examples, fgsm(0.1), output=tmp_path / "s.jsonl", **options
    )
    assert study.summary["shard"] == [2, 3]


@pytest.mark.parametrize("kind", ["list", "tf_data"])
def test_empty_batches_are_passed_over(kind, random_network, random_examples):
    images, labels = random_examples
    edges = ((0, 0), (0, 25), (25, 25), (25, 60), (60, 60))
    batches = [(images[begin:end], labels[begin:end]) for begin, end in edges]
    given = batches
    if kind == "tf_data":
        dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(1, True)
        empty = dataset.map(lambda images, labels: (images[:0], labels[:0]))
        given = dataset.concatenate(empty)
    found = evaluate_robustness(random_network, given, fgsm(0.1))
    expected = evaluate_robustness(random_network, random_examples, fgsm(0.1))
    assert list(found.records()) == list(expected.records())
    with pytest.raises(ValueError, match="The data set is empty"):
        evaluate_robustness(random_network, batches[:1], fgsm(0.1))
