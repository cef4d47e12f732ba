"""Bad examples and arguments are refused when given, or before the first epoch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import MatchingArea
from aad_tf.callbacks import AttentionIoU, AttentionSnapshots, GradientShares, RobustAccuracy
from aad_tf.classifier import Classifier
from aad_tf.defenses import StandardModel
from aad_tf.types import Bounds
from tests.callbacks.small_fits import FGSM, compiled, fit, plain, quadrants, small_network


def endless():
    return tf.data.Dataset.from_tensor_slices(quadrants()).batch(5).repeat()


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (lambda x, y: (255 * x, y), ValueError, "divide by 255"),
        (lambda x, y: ((255 * x).astype(np.uint8), y), TypeError, "must be floating point"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "no examples"),
        (lambda x, y: (x, y[:3]), ValueError, "one entry per example, got 24 and 3"),
        (lambda x, y: (x, np.eye(4)[y]), ValueError, "one-hot"),
        (lambda x, y: x, TypeError, "pair of arrays"),
        (lambda x, y: endless(), ValueError, "endless.*take"),
    ],
)
def test_examples_are_checked_when_given(dataset, error, message):
    with pytest.raises(error, match=message):
        RobustAccuracy(dataset(*quadrants()), FGSM)


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (lambda x, y: (x, y + 1), ValueError, r"labels must lie in \[0, 4\), got \[1, 4\]"),
        (lambda x, y: (x, y + 0.5), ValueError, "labels must be whole numbers"),
        (lambda x, y: (x[:, :5], y), ValueError, r"shape \[batch, 8, 8, 1\]"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(4).take(0), ValueError,
         "data set is empty"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((255 * x, y)).batch(4), ValueError,
         "divide by 255"),
    ],
)  # fmt: skip
def test_examples_are_checked_against_the_network_before_an_epoch(dataset, error, message):
    model = plain()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        fit(model, [RobustAccuracy(dataset(*quadrants()), FGSM)])
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


@pytest.mark.parametrize("callback", [RobustAccuracy, AttentionIoU])
def test_nothing_can_be_measured_on_no_examples_outside_of_fit(callback):
    empty = tf.data.Dataset.from_tensor_slices(quadrants()).batch(4).take(0)
    with pytest.raises(ValueError, match="data set is empty"):
        callback(empty, FGSM).evaluate(Classifier.from_keras(plain()))


def test_arguments_are_checked_when_given(tmp_path):
    images, labels = quadrants(4)
    for attack in (None, 0.1):
        with pytest.raises(TypeError, match="attack must be an attack .*, or its text"):
            RobustAccuracy((images, labels), attack)
    with pytest.raises(ValueError, match="Expected an attack like"):
        AttentionIoU((images, labels), "fgsm(0.1")
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        RobustAccuracy((images, labels), FGSM, every=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        RobustAccuracy((images, labels), FGSM, batch_size=0)
    with pytest.raises(TypeError, match="seed must be an integer, got 0.5"):
        RobustAccuracy((images, labels), FGSM, seed=0.5)
    with pytest.raises(ValueError, match="seed must be at most 2147483647, got 2147483648"):
        AttentionIoU((images, labels), FGSM, seed=2**31)
    with pytest.raises(ValueError, match="Unknown threshold rule 'median'"):
        AttentionIoU((images, labels), FGSM, "median")
    with pytest.raises(TypeError, match="MatchingArea belongs to the masks of one batch"):
        AttentionIoU((images, labels), FGSM, MatchingArea(np.ones((4, 4, 4))))
    with pytest.raises(ValueError, match="max_images must be at least 1"):
        AttentionSnapshots(images, labels, tmp_path, max_images=0)
    with pytest.raises(ValueError, match="divide by 255"):
        GradientShares(255 * images, labels)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        AttentionSnapshots(images, labels, tmp_path / "file")


def test_attacks_may_be_text(tmp_path):
    images, labels = quadrants(4)
    callbacks = [
        RobustAccuracy((images, labels), "fgsm(epsilon=0.2)"),
        AttentionIoU((images, labels), "fgsm(epsilon=0.2)"),
        AttentionSnapshots(images, labels, tmp_path, "fgsm(epsilon=0.2)"),
    ]
    history = fit(plain(), callbacks, epochs=1)
    assert {"val_robust_accuracy", "val_attention_iou"} <= set(history)
    assert (tmp_path / "attention_epoch_0001.png").is_file()


def test_class_names_are_as_many_as_classes(tmp_path):
    with pytest.raises(ValueError, match="class_names must have 4 entries, got 2"):
        fit(plain(), [AttentionSnapshots(*quadrants(4), tmp_path, class_names=("a", "b"))])


def test_unknown_attention_layer_lists_candidates():
    with pytest.raises(ValueError, match="No layer is named 'secnd'.*'second'"):
        fit(plain(), [AttentionIoU(quadrants(), FGSM, attention_layer="secnd")])


def test_other_pixel_ranges():
    images, labels = quadrants()
    symmetric = Bounds(-1.0, 1.0)
    network = small_network()
    model = StandardModel(network, bounds=symmetric)
    model.compile("adam", run_eagerly=True)
    with pytest.raises(ValueError, match=r"takes \(-1.0, 1.0\). Pass bounds="):
        fit(model, [RobustAccuracy((images, labels), FGSM)])
    callback = RobustAccuracy((2 * images - 1, labels), FGSM, bounds=symmetric)
    assert len(fit(model, [callback])["val_robust_accuracy"]) == 1
    assert len(fit(compiled(network), [callback])["val_robust_accuracy"]) == 1
