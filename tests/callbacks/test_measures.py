"""Attention IoU and robust accuracy by hand, where attention and classes change as is known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks
from aad_tf.attention import TopCells, grad_cam
from aad_tf.callbacks import AttentionIoU, RobustAccuracy
from aad_tf.classifier import Classifier
from tests.callbacks.small_fits import (
    FGSM,
    brightness_network,
    fit,
    grey,
    plain,
    quadrants,
    small_network,
    standard,
    trace_counts,
)


def flipped(classifier, images, labels, *, seed=None):
    """Stands for an attack that moves attention by a known amount."""
    return tf.reverse(images, axis=[2])


def bright_columns(*columns):
    image = np.zeros((4, 4, 1), np.float32)
    image[:, list(columns)] = 1.0
    return image


@pytest.mark.parametrize("batch_size", [1, 2])
def test_attention_iou_worked_by_hand(batch_size):
    """The map is the image: flipping columns 0; 0, 1, 2; 1, 2 gives IoU 0, 8 / 16, 1."""
    images = np.stack([bright_columns(0), bright_columns(0, 1, 2), bright_columns(1, 2)])
    classifier = Classifier.from_keras(brightness_network())
    callback = AttentionIoU((images, [1, 1, 1]), flipped, batch_size=batch_size)
    assert callback.evaluate(classifier) == pytest.approx((0 + 0.5 + 1) / 3)


def to_black_if_dim(classifier, images, labels, *, seed=None):
    """Stands for an attack that puts out attention on images with one bright column."""
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return tf.where(mean < 0.3, tf.zeros_like(images), images)


@pytest.mark.parametrize(("threshold", "batch_size"), [("mean", 1), (TopCells(4), 3)])
def test_empty_pairs_are_left_out_and_counted(threshold, batch_size):
    """Black to black is empty; one column to black has IoU 0; two columns stay, IoU 1."""
    images = np.stack([bright_columns(), bright_columns(), bright_columns(0), bright_columns(1, 2)])
    data = images, [1, 1, 1, 1]
    callback = AttentionIoU(data, to_black_if_dim, threshold, batch_size=batch_size)
    callback.set_model(brightness_network())
    expected = {
        "val_attention_iou": 0.5,
        "val_attention_iou_empty": 0.5,
        "val_attention_iou_zero_clean": 0.5,
        "val_attention_iou_zero_attacked": 0.75,
    }
    assert callback.measure(0) == expected
    assert callback.evaluate(callback.classifier) == 0.5


def test_nothing_but_empty_pairs():
    callback = AttentionIoU((np.stack([bright_columns()] * 2), [1, 1]), to_black_if_dim)
    callback.set_model(brightness_network())
    assert list(callback.measure(0).values()) == [0.0, 1.0, 1.0, 1.0]


def test_a_flat_map_has_no_area_and_is_not_zero():
    callback = AttentionIoU((grey(0.5), [1]), attacks.fgsm(0.0))
    callback.set_model(brightness_network())
    assert list(callback.measure(0).values()) == [0.0, 1.0, 0.0, 0.0]


def test_attention_iou_of_highest_cells_in_numpy():
    classifier = Classifier.from_keras(small_network())
    images, labels = quadrants(7)
    attack = attacks.fgsm(0.3)
    adversarial = attack(classifier, images, labels)
    overlaps = []
    for clean, other in zip(
        grad_cam(classifier, images, labels).numpy(),
        grad_cam(classifier, adversarial, labels).numpy(),
        strict=True,
    ):
        # A zero map has no highest cells.
        order = [np.argsort(-m.ravel(), kind="stable")[: 5 * m.any()] for m in (clean, other)]
        kept = [set(cells) for cells in order]
        if kept[0] | kept[1]:
            overlaps.append(len(kept[0] & kept[1]) / len(kept[0] | kept[1]))
    assert 0 < np.mean(overlaps) < 1
    callback = AttentionIoU((images, labels), attack, TopCells(5), batch_size=3)
    assert callback.evaluate(classifier) == pytest.approx(np.mean(overlaps))


def test_attention_does_not_move_without_perturbation():
    callback = AttentionIoU(quadrants(), attacks.fgsm(0.0), TopCells(4))
    assert callback.evaluate(Classifier.from_keras(small_network())) == 1.0


@pytest.mark.parametrize("make", [plain, standard])
def test_attention_layer_by_name(make):
    callback = AttentionIoU(quadrants(), FGSM, attention_layer="first", name="first_iou")
    history = fit(make(), [callback, AttentionIoU(quadrants(), FGSM)])
    assert callback.classifier.attention_layer == "first"
    assert {"val_first_iou", "val_attention_iou"} <= set(history)


# FGSM of 0.1 moves 0.45 and 0.52 over the border at 0.5; the last is misclassified when clean.
GREY = grey(0.3, 0.45, 0.52, 0.9, 0.2)
GREY_LABELS = np.array([0, 0, 1, 1, 1])
ROBUST = 2 / 5


@pytest.mark.parametrize("batch_size", [1, 2, 128])
@pytest.mark.parametrize("softmax", [False, True])
def test_robust_accuracy_worked_by_hand(batch_size, softmax):
    classifier = Classifier.from_keras(brightness_network(softmax))
    arrays = RobustAccuracy((GREY, GREY_LABELS), FGSM, batch_size=batch_size)
    assert arrays.evaluate(classifier) == pytest.approx(ROBUST)
    batches = tf.data.Dataset.from_tensor_slices((GREY, GREY_LABELS)).batch(batch_size)
    assert RobustAccuracy(batches, FGSM).evaluate(classifier) == pytest.approx(ROBUST)
    assert set(trace_counts(classifier).values()) == {1}


def test_clean_accuracy_bounds_robust_accuracy():
    classifier = Classifier.from_keras(brightness_network())
    dataset = GREY, GREY_LABELS
    by_size = [RobustAccuracy(dataset, attacks.fgsm(size)) for size in (0.0, 0.03, 0.1, 0.5)]
    values = [callback.evaluate(classifier) for callback in by_size]
    assert values == pytest.approx([4 / 5, 3 / 5, 2 / 5, 0.0])


def test_random_starts_are_those_of_the_epoch_before():
    classifier = Classifier.from_keras(small_network())
    pgd = attacks.pgd(0.1, 0.05, 2)
    seen = []

    def attack(*arguments, **keywords):
        seen.append(pgd(*arguments, **keywords).numpy())
        return seen[-1]

    image = quadrants(1)[0]
    callback = RobustAccuracy((np.repeat(image, 4, axis=0), np.zeros(4, int)), attack, batch_size=2)
    callback.evaluate(classifier)
    callback.evaluate(classifier)
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], seen[3])
    assert not np.array_equal(seen[0], seen[1])
