"""Two replicas train as one device does on the same global batch and order.

Replicas differ from one device by the order of additions only. AAD's hard masks and sign() amplify
such differences, so it is compared over a few steps in float32 and over many in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.distribute.cases import Arrays
from tests.distribute.cases.common import examples
from tests.distribute.conftest import Results

# The first test waits for all processes of the folder.
pytestmark = [pytest.mark.distributed, pytest.mark.timeout(600)]

ROUNDING = {"plain": 1e-5, "aad_first_steps": 1e-5, "aad_float64": 1e-9}
# Metrics are kept in float32, whatever the network's precision.
METRICS = 1e-5


@pytest.fixture(params=["two_workers", "mirrored"])
def replicas(request: pytest.FixtureRequest) -> Results:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("case", ROUNDING)
def test_weights_and_loss_curve_equal_those_of_one_device(
    case: str, replicas: Results, alone: Callable[[str], Arrays]
) -> None:
    expected = alone(case)
    for found in replicas(case):
        for name in expected:
            if name.startswith("weight"):
                np.testing.assert_allclose(found[name], expected[name], atol=ROUNDING[case])
        for name in ("epochs", "evaluated"):
            np.testing.assert_allclose(found[name], expected[name], rtol=METRICS, atol=METRICS)
        np.testing.assert_array_equal(found["names"], expected["names"])


def test_each_step_reports_the_mean_over_all_examples(
    two_workers: Results, alone: Callable[[str], Arrays]
) -> None:
    # The last batch of an epoch is short and uneven: workers hold two examples and one.
    for found in two_workers("plain"):
        np.testing.assert_allclose(found["steps"], alone("plain")["steps"], rtol=METRICS)


def test_training_moves_the_weights(alone: Callable[[str], Arrays]) -> None:
    losses = alone("plain")["epochs"][:, list(alone("plain")["names"]).index("loss")]
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize(
    "case",
    [
        "plain",
        "aad_first_steps",
        "aad_float64",
        "batch_normalization",
        "statistics_of_one_step",
        "other_defenses",
        "keras_habits",
        "clipped_and_weighted",
        "stopping",
        "cut_in_validation",
    ],
)
def test_workers_hold_the_same_to_the_last_bit(case: str, two_workers: Results) -> None:
    first, second = two_workers(case)
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_moving_statistics_are_the_mean_of_those_of_the_replicas(replicas: Results) -> None:
    # Momentum 0.9 from mean 0 and variance 1, on a first batch of 10 that is cut into 5 and 5.
    halves = examples()[0][:10].astype(np.float64).reshape(2, -1)
    mean = 0.1 * halves.mean()
    variance = 0.9 + 0.1 * halves.var(axis=1).mean()
    for found in replicas("statistics_of_one_step"):
        np.testing.assert_allclose(found["mean"], [mean], atol=1e-6)
        np.testing.assert_allclose(found["variance"], [variance], atol=1e-6)


def test_one_device_normalizes_by_the_whole_batch(alone: Callable[[str], Arrays]) -> None:
    batch = examples()[0][:10].astype(np.float64)
    found = alone("statistics_of_one_step")
    np.testing.assert_allclose(found["mean"], [0.1 * batch.mean()], atol=1e-6)
    np.testing.assert_allclose(found["variance"], [0.9 + 0.1 * batch.var()], atol=1e-6)


def test_batch_normalization_differs_and_still_trains(
    replicas: Results, alone: Callable[[str], Arrays]
) -> None:
    expected = alone("batch_normalization")
    for found in replicas("batch_normalization"):
        assert np.isfinite(found["epochs"]).all()
        changed = [n for n in expected if n.startswith("weight")]
        assert any(np.abs(found[n] - expected[n]).max() > 1e-4 for n in changed)


def test_arrays_compiled_metrics_and_predict_work_as_on_one_device(
    replicas: Results, alone: Callable[[str], Arrays]
) -> None:
    expected = alone("keras_habits")
    for found in replicas("keras_habits"):
        assert found["predicted"].shape == (40, 3)
        for name in ("top2", "loss", "predicted"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)


def test_clipping_penalties_and_sample_weights_are_those_of_one_device(
    replicas: Results, alone: Callable[[str], Arrays]
) -> None:
    expected = alone("clipped_and_weighted")
    for found in replicas("clipped_and_weighted"):
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_callbacks_see_the_same_and_one_process_writes(
    two_workers: Results, alone: Callable[[str], Arrays]
) -> None:
    expected = alone("callbacks")
    first, second = two_workers("callbacks")
    assert {"val_robust_accuracy", "val_attention_iou"} <= set(expected)
    for name in set(expected) - {"figures"}:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], expected[name], rtol=1e-4)
    assert [int(found["figures"]) for found in (first, second)] == [1, 0]
