"""Examples without boxes are counted; bad examples, data sets and options are named."""

from __future__ import annotations

import base64
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier
from aad_tf.attacks import pgd
from aad_tf.attention_study import Options
from aad_tf.attention_study.records import KEYS
from aad_tf.records.columns import read_attention_records
from aad_tf.records.io import read_record_lines
from tests.attention_study.conftest import BOX_LABELS, BOXES, LABELS, batches_of, mean_network
from tests.attention_study.studies import many, study


def test_images_without_boxes_are_counted(classifier, tmp_path):
    data = batches_of().map(lambda batch: {"image": batch["image"], "label": batch["label"]})
    counts = study(classifier, tmp_path / "x.jsonl", data).summary["counts"]
    assert counts == {"examples": 4, "right": 3, "without_box": 4, "right_without_box": 3}
    padded = batches_of(box_labels=np.full_like(BOX_LABELS, -1), boxes=np.full_like(BOXES, -1))
    assert study(classifier, tmp_path / "y.jsonl", padded).summary["counts"] == counts


def as_pairs(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.map(lambda batch: (batch["image"], batch["label"]))


FORMS = {
    "tuples": as_pairs,
    "list of tuples": lambda dataset: list(as_pairs(dataset).as_numpy_iterator()),
    "generator function": lambda dataset: lambda: as_pairs(dataset).as_numpy_iterator(),
    "arrays": lambda dataset: as_pairs(dataset.unbatch().batch(100)).get_single_element(),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_and_labels_alone_are_taken_in_any_form(classifier, tmp_path, form):
    data = many(10)
    named = data.map(lambda batch: {"image": batch["image"], "label": batch["label"]})
    for name, dataset in (("expected", named), ("found", FORMS[form](data))):
        study(classifier, tmp_path / f"{name}.jsonl", dataset, batch_size=4)
    assert (tmp_path / "found.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_boxes_are_taken_from_any_iterable(classifier, tmp_path):
    study(classifier, tmp_path / "expected.jsonl", many(10), batch_size=4)
    study(classifier, tmp_path / "found.jsonl", many(10).as_numpy_iterator(), batch_size=4)
    assert (tmp_path / "found.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_only_so_many_examples(classifier, tmp_path):
    first = many(10).unbatch().take(6).batch(4)
    study(classifier, tmp_path / "expected.jsonl", first, batch_size=4)
    for name, data in (("whole", many(10)), ("endless", many(10).repeat()), ("opened", opened)):
        study(classifier, tmp_path / name, data, batch_size=4, num_examples=6)
        assert (tmp_path / name).read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_progress_is_shown_if_asked_for(classifier, tmp_path, capsys):
    for verbose in ("auto", 0, 1):
        study(classifier, tmp_path / f"{verbose}.jsonl", verbose=verbose, num_examples=4)
        shown = capsys.readouterr().err
        assert shown.startswith("100% 4/4 [") == (verbose == 1) == bool(shown)
    with pytest.raises(ValueError, match='verbose must be "auto", 0 or 1, got 3'):
        study(classifier, tmp_path / "x.jsonl", verbose=3)


def opened(start: int) -> tf.data.Dataset:
    return many(10, start=start)


@pytest.fixture(scope="module")
def any_size() -> Classifier:
    model = mean_network()
    images = keras.Input((None, None, 2))
    copied = keras.models.clone_model(model, input_tensors=images)
    copied.set_weights(model.get_weights())
    return Classifier.from_keras(copied, "features")


def test_images_of_different_sizes_are_measured_as_each_size_alone(any_size, tmp_path):
    generator = np.random.default_rng(0)
    sizes = [(4, 4), (6, 5), (6, 5), (4, 4), (3, 7)]
    batches = [
        (generator.uniform(size=(2, *size, 2)).astype(np.float32), np.array([0, 1]))
        for size in sizes
    ]
    output, attack = tmp_path / "all.jsonl", pgd(0.05, 0.02, 2)
    study(any_size, output, lambda: iter(batches), attack)
    records = list(read_record_lines(output, KEYS))
    assert [record["grid"] for record in records[::2]] == list(map(list, sizes))
    for record in records:
        cells = math.prod(record["grid"])
        (kept,) = [name for name in record["maps"] if "map" in record["maps"][name]]
        assert {len(base64.b64decode(text)) for text in record["maps"][kept]["map"]} == {cells}
    alone = []
    for number, batch in enumerate(batches):
        part = tmp_path / f"{number}.jsonl"
        study(any_size, part, [batch], attack, first_index=2 * number)
        alone += read_record_lines(part, KEYS)
    assert records == alone
    # A network of fixed size gives the same, and needs no word of the grid.
    fixed = Classifier.from_keras(mean_network(), "features")
    study(fixed, tmp_path / "fixed.jsonl", [batches[0]], attack)
    (first, second) = read_record_lines(tmp_path / "fixed.jsonl", KEYS)
    assert [first, second] == [{k: v for k, v in r.items() if k != "grid"} for r in records[:2]]


def test_arrays_of_a_study_of_different_sizes_hold_all_but_maps(any_size, tmp_path):
    images = [np.full((1, size, 4, 2), 0.3, np.float32) for size in (4, 6)]
    output = tmp_path / "x.jsonl"
    study(any_size, output, [(each, np.array([1])) for each in images])
    run = read_attention_records(output)
    assert run.measure("grad_cam", "entropy").shape == (2, 3)
    with pytest.raises(ValueError, match="No grad_cam/map in the records"):
        run.maps()
    with pytest.raises(ValueError, match="has 4 cells"):
        study(any_size, tmp_path / "y.jsonl", [(images[0][:, :2, :2], np.array([1]))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": BOXES + np.float32(0.3)}, "Example 0, box 0.*outside the image"),
        ({"boxes": BOXES[..., [2, 1, 0, 3]]}, "Example 0, box 0.*swapped corners"),
        ({"label": LABELS + 5}, r"labels must lie in \[0, 2\)"),
        ({"images": batches_of().unbatch().batch(4).get_single_element()["image"] * 255}, "0..255"),
    ],
)
def test_bad_examples_are_named(classifier, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        study(classifier, tmp_path / "x.jsonl", batches_of(**changes))


def test_error_names_the_example_by_its_index_in_the_split(classifier, tmp_path):
    boxes = BOXES.copy()
    boxes[3, 0, 2] = 1.5
    with pytest.raises(ValueError, match="Example 13, box 0"):
        study(classifier, tmp_path / "x.jsonl", batches_of(boxes=boxes), first_index=10)


def test_wrong_inputs(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    with pytest.raises(TypeError, match="tuples"):
        study(classifier, output, tf.data.Dataset.from_tensor_slices([1]).batch(1))
    with pytest.raises(TypeError, match="another iterable of such batches, got int"):
        study(classifier, output, 3)
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
        study(classifier, output, options=Options(cells=(5, 20)))
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


def test_options_must_be_facts_to_write_down():
    with pytest.raises(TypeError, match="lime options must be plain values"):
        Options(lime={"segmentation": lambda image: image})
    with pytest.raises(ValueError, match="Did you mean 'grad_cam'"):
        Options(keep_maps=("gradcam",))
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        Options(seed=-1)
    with pytest.raises(ValueError, match="seed must be at most 9223372036854775807"):
        Options(seed=2**63)
    with pytest.raises(TypeError, match="seed of lime must be an integer, got 0.5"):
        Options(lime={"seed": 0.5})
    assert type(Options(seed=np.int64(3)).seed) is int


@pytest.mark.parametrize("name", ["cells", "features"])
def test_at_least_one_size_of_areas_is_needed(name):
    with pytest.raises(ValueError, match=f"{name} is empty; give at least one number"):
        Options(**{name: ()})
