"""Examples without boxes are counted; bad examples, data sets and options are named."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier
from aad_tf.attacks import pgd
from aad_tf.attention_study import Options
from tests.attention_study.conftest import BOX_LABELS, BOXES, LABELS, batches_of, mean_network
from tests.attention_study.studies import study


def test_images_without_boxes_are_counted(classifier, tmp_path):
    data = batches_of().map(lambda batch: {"image": batch["image"], "label": batch["label"]})
    counts = study(classifier, tmp_path / "x.jsonl", data).summary["counts"]
    assert counts == {"examples": 4, "right": 3, "without_box": 4, "right_without_box": 3}
    padded = batches_of(box_labels=np.full_like(BOX_LABELS, -1), boxes=np.full_like(BOXES, -1))
    assert study(classifier, tmp_path / "y.jsonl", padded).summary["counts"] == counts


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


def test_options_must_be_facts_to_write_down():
    with pytest.raises(TypeError, match="lime options must be plain values"):
        Options(lime={"segmentation": lambda image: image})
    with pytest.raises(ValueError, match="Did you mean 'grad_cam'"):
        Options(keep_maps=("gradcam",))


@pytest.mark.parametrize("name", ["cells", "features"])
def test_at_least_one_size_of_areas_is_needed(name):
    with pytest.raises(ValueError, match=f"{name} is empty; give at least one number"):
        Options(**{name: ()})
