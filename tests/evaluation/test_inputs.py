"""Classifiers, models, defences and data sets are taken; anything else is refused with a hint."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import fgsm
from aad_tf.defenses import StandardModel
from aad_tf.evaluation import evaluate_robustness
from tests.evaluation.attacked_networks import PRESETS, brightness_classifier, gray_images


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
        ({"classifier": "model"}, TypeError, "must be a keras.Model"),
    ],
)
def test_bad_input_is_refused_with_a_hint(changes, error, message, random_network, random_examples):
    changes = dict(changes)
    images, labels = random_examples
    data = (changes.pop("images", np.array)(images), changes.pop("labels", np.array)(labels))
    arguments = {"classifier": random_network, "dataset": data, "attacks": [fgsm(0.1)], **changes}
    with pytest.raises(error, match=message):
        evaluate_robustness(**arguments)


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
    network = brightness_classifier()
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
