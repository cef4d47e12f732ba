"""Images of different sizes: outcomes are those of each size alone, in one trace."""

from __future__ import annotations

import pytest
import tensorflow as tf

from aad_tf import attacks
from aad_tf.attacks.starts import _compiled_noise
from aad_tf.callbacks import AttentionIoU, RobustAccuracy
from aad_tf.evaluation import evaluate_robustness
from tests.evaluation.attacked_networks import RESTARTED, any_size_classifier, batches_of_sizes
from tests.networks import traces

SIZES = [(6, 6), (8, 6), (8, 6), (6, 6), (5, 9)]
ATTACKS = [attacks.ifgsm(0.02), attacks.a3(attacks.ifgsm(0.02), 3), RESTARTED]


@pytest.fixture(scope="module")
def classifier():
    return any_size_classifier()


def as_dataset(batches) -> tf.data.Dataset:
    signature = (tf.TensorSpec((None, None, None, 3), tf.float64), tf.TensorSpec((None,), tf.int32))
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)


@pytest.mark.parametrize("batch_size", [3, 100])
@pytest.mark.parametrize("success", ["any_iterate", "last_iterate"])
def test_records_are_those_of_each_size_alone(classifier, batch_size, success):
    batches = batches_of_sizes(classifier, SIZES)
    options = {"batch_size": batch_size, "success": success}
    report = evaluate_robustness(classifier, as_dataset(batches), ATTACKS, **options)
    records = list(report.records())
    assert len(records) == 3 * 20 and any(record["restart"] for record in records)
    alone = [
        record
        for number, batch in enumerate(batches)
        for record in evaluate_robustness(
            classifier, [batch], ATTACKS, first_index=4 * number, **options
        ).records()
    ]
    names = [attack.name for attack in ATTACKS]
    assert records == sorted(alone, key=lambda r: (names.index(r["attack"]), r["index"]))


def test_one_trace_for_all_sizes(classifier):
    batches = batches_of_sizes(classifier, [(size, 20 - size) for size in range(4, 16)], 2)
    evaluate_robustness(classifier, batches, RESTARTED)
    for images, labels in batches:
        RESTARTED(classifier, images, labels)
    assert traces(classifier) == {1}
    assert _compiled_noise().experimental_get_tracing_count() == 1


def test_callbacks_measure_images_of_different_sizes(classifier):
    batches = batches_of_sizes(classifier, SIZES)
    attack = attacks.ifgsm(0.02)
    expected = evaluate_robustness(classifier, batches, attack, success="last_iterate")
    measured = RobustAccuracy(as_dataset(batches), attack).evaluate(classifier)
    assert measured == expected.robust_accuracy("ifgsm")
    alone = [AttentionIoU(batch, attack).evaluate(classifier) for batch in batches]
    whole = AttentionIoU(as_dataset(batches), attack).evaluate(classifier)
    assert whole == pytest.approx(sum(alone) / len(alone))
