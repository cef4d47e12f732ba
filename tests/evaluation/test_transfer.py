"""Transfer attacks: a surrogate's gradients, the classifier's judgement."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from aad_tf import AdversarialModel
from aad_tf.attacks import a3, fgsm, ifgsm, step_ll
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness, format_summary, merge_shards
from aad_tf.records import RECORD_KEYS
from tests.evaluation.attacked_networks import (
    PRESETS,
    RESTARTED,
    brightness_classifier,
    gray_images,
    island_classifier,
    mean_network,
)
from tests.networks import small_network

BY_SURROGATE = ("surrogate_clean_prediction", "surrogate_adversarial_prediction")


@functools.cache
def darkness_classifier(threshold: float = 0.5) -> Classifier:
    """Class 1 where the gray level is below the threshold: the other way round than brightness."""
    return mean_network([0.0], [[0.0, -4.0]], [0.0, 4.0 * threshold])


def test_outcomes_by_hand():
    # The classifier takes levels above 0.5 for class 1. The surrogate's boundary is at 0.45, so
    # its gradient climbs alike, and at 0.6 it is wrong about one image that the classifier gets.
    levels, labels = [0.3, 0.42, 0.48, 0.55, 0.9], [0, 0, 0, 1, 0]
    data = (gray_images(levels), np.array(labels))
    surrogate = mean_network([0.0], [[0.0, 4.0]], [0.0, -4.0 * 0.45])
    report = evaluate_robustness(brightness_classifier(), data, fgsm(0.1), surrogate=surrogate)
    records = list(report.records())
    # 0.3 -> 0.4, 0.42 -> 0.52, 0.48 -> 0.58, 0.55 -> 0.45 (for the surrogate still class 1).
    assert [record["adversarial_prediction"] for record in records] == [0, 1, 1, 0, 1]
    assert [record["success"] for record in records] == [False, True, True, True, True]
    assert [record[BY_SURROGATE[0]] for record in records] == [0, 0, 1, 1, 1]
    assert [record[BY_SURROGATE[1]] for record in records] == [0, 1, 1, 1, 1]
    (entry,) = report.summary["attacks"]
    assert (entry["robust_accuracy"], entry["clean_accuracy"]) == (1 / 5, 4 / 5)
    assert entry["surrogate_clean_accuracy"] == 3 / 5
    assert entry["surrogate_misclassified"] == 2 / 4
    model = entry["threat_model"]
    assert model["access"] == "transfer" and model["surrogate"]["name"] == surrogate.model.name
    assert report.summary["evaluated"]["surrogate"] == model["surrogate"]["weights"]
    text, weights = format_summary(report.summary), model["surrogate"]["weights"]
    source = f"Transfer from {surrogate.model.name} (weights {weights}), clean accuracy 60.00%"
    assert f"{source}; l-inf, true labels" in text and "White box" not in text


def test_gradients_that_lead_the_wrong_way_leave_all_images_correct():
    data = (gray_images([0.45, 0.55]), np.array([0, 1]))
    attack = ifgsm(0.2, num_steps=4)
    white = evaluate_robustness(brightness_classifier(), data, attack)
    assert white.robust_accuracy("ifgsm") == 0.0
    assert "White box" in format_summary(white.summary)
    assert tuple(next(white.records())) == RECORD_KEYS
    transfer = evaluate_robustness(
        brightness_classifier(), data, attack, surrogate=darkness_classifier()
    )
    assert transfer.robust_accuracy("ifgsm") == 1.0
    assert transfer.summary["attacks"][0]["surrogate_clean_accuracy"] == 0.0


@pytest.mark.parametrize("success", ["any_iterate", "last_iterate"])
@pytest.mark.parametrize(
    "attack", [*PRESETS.values(), RESTARTED, a3(step_ll(0.05, 2), 5)], ids=lambda each: each.name
)
def test_the_classifier_as_its_own_surrogate_is_the_white_box(
    attack, success, random_network, random_examples
):
    arguments = (random_network, random_examples, attack)
    options = {"success": success, "batch_size": 17}
    white = list(evaluate_robustness(*arguments, **options).records())
    transfer = list(evaluate_robustness(*arguments, surrogate=random_network, **options).records())
    assert [{key: record[key] for key in RECORD_KEYS} for record in transfer] == white
    for record in transfer:
        predictions = ("clean_prediction", "adversarial_prediction")
        assert [record[key] for key in BY_SURROGATE] == [record[key] for key in predictions]


def test_fewer_successes_of_more_steps_are_no_sign_of_masking():
    # Over the island, two steps return from where one step had led.
    data = (gray_images([0.5] * 10), np.zeros(10, int))
    tried = [fgsm(0.12), ifgsm(0.15, num_steps=2, step_size=0.12)]
    for surrogate, warned in ((None, True), (island_classifier(), False)):
        report = evaluate_robustness(
            island_classifier(), data, tried, surrogate=surrogate, success="last_iterate"
        )
        assert report.robust_accuracy("ifgsm") == 1.0 and report.robust_accuracy("fgsm") == 0.0
        warnings = " ".join(report.summary["warnings"])
        assert ("yet leaves more accuracy" in warnings) == warned


def test_a_defence_and_a_keras_model_are_taken_too(random_network, random_examples):
    keras.utils.set_random_seed(4)
    other = keras.models.clone_model(random_network.model)
    expected = evaluate_robustness(
        random_network, random_examples, "fgsm(0.1)", surrogate=Classifier.from_keras(other)
    )
    for surrogate in (other, AdversarialModel(other, attack=fgsm(0.1))):
        report = evaluate_robustness(
            random_network, random_examples, "fgsm(0.1)", surrogate=surrogate
        )
        assert list(report.records()) == list(expected.records())


@pytest.mark.parametrize(
    ("surrogate", "message"),
    [
        (lambda: Classifier.from_keras(small_network(shape=(6, 6, 2))), "3 classes, the clas.* 5"),
        (brightness_classifier, r"images of shape \(2, 2, 1\), the classifier of \(6, 6, 2\)"),
        (lambda: five_classes("float32"), "computes in float32, the classifier in float64"),
        (lambda: five_classes("float64", (0, 255)), r"pixels in \(0.0, 255.0\), the classifier in"),
    ],
)
def test_a_surrogate_must_take_the_same_images_and_have_the_same_classes(
    surrogate, message, random_network, random_examples
):
    with pytest.raises(ValueError, match=message):
        evaluate_robustness(random_network, random_examples, fgsm(0.1), surrogate=surrogate())


def five_classes(dtype: str, bounds=(0, 1)) -> Classifier:
    layers = keras.layers
    network = [
        keras.Input((6, 6, 2), dtype=dtype),
        layers.Conv2D(2, 3, dtype=dtype),
        layers.Flatten(dtype=dtype),
        layers.Dense(5, dtype=dtype),
    ]
    return Classifier.from_keras(keras.Sequential(network), bounds=bounds)


def test_a_surrogate_of_any_size_is_taken_and_one_of_a_fixed_size_is_not_enough():
    layers = keras.layers

    def classifier(size) -> Classifier:
        keras.utils.set_random_seed(1)
        network = [keras.Input((size, size, 1)), layers.Conv2D(3, 1), layers.ReLU()]
        pooled = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
        return Classifier.from_keras(keras.Sequential(network + pooled))

    data = (np.full((4, 6, 6, 1), 0.5, np.float32), np.array([0, 1, 0, 1]))
    evaluate_robustness(classifier(6), data, fgsm(0.1), surrogate=classifier(None))
    with pytest.raises(ValueError, match=r"shape \(6, 6, 1\), the classifier of \(None, None, 1\)"):
        evaluate_robustness(classifier(None), data, fgsm(0.1), surrogate=classifier(6))


def test_another_surrogate_is_another_evaluation_and_parts_are_joined(tmp_path):
    classifier, surrogate = brightness_classifier(), darkness_classifier()
    images, labels = gray_images(np.linspace(0.3, 0.7, 8)), np.repeat([0, 1], 4)
    whole = tmp_path / "whole.jsonl"
    expected = evaluate_robustness(
        classifier, (images, labels), fgsm(0.1), surrogate=surrogate, output=whole
    ).summary
    for other in (None, darkness_classifier(0.4)):
        with pytest.raises(ValueError, match="another evaluation, which differs in .*surrogate"):
            evaluate_robustness(
                classifier, (images, labels), fgsm(0.1), surrogate=other, output=whole
            )
    parts = []
    for number in (1, 2):
        first = 4 * (number - 1)
        parts.append(tmp_path / f"{number}.jsonl")
        evaluate_robustness(
            classifier,
            (images[first : first + 4], labels[first : first + 4]),
            fgsm(0.1),
            surrogate=surrogate,
            output=parts[-1],
            first_index=first,
            shard=(number, 2),
        )
    merged = merge_shards(parts, tmp_path / "merged.jsonl")
    assert (tmp_path / "merged.jsonl").read_bytes() == whole.read_bytes()
    for key in ("threat_model", "surrogate_clean_accuracy", "surrogate_misclassified"):
        assert merged["attacks"][0][key] == expected["attacks"][0][key]
