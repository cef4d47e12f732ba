"""What sets replicas apart, what they agree on, and that they train as one device does.

Replicas differ from one device by the order of additions only. AAD's hard masks and sign() amplify
such differences, so it is compared over a few steps in float32 and over many in float64.

All is in one file, since the tests of a file run in one process, which starts the replicas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.distribute import (
    Cluster,
    all_workers_equal,
    create_strategy,
    is_chief,
    is_multi_worker,
    per_replica_seed,
    replica_loss_weight,
)
from tests.distribute.cases import Arrays
from tests.distribute.cases.common import examples
from tests.distribute.conftest import Results

# The first test waits for all processes.
pytestmark = [pytest.mark.distributed, pytest.mark.timeout(600)]

ROUNDING = {"plain": 1e-5, "aad_first_steps": 1e-5, "aad_float64": 1e-9}
# Metrics are kept in float32, whatever the network's precision.
METRICS = 1e-5


@pytest.fixture(params=["two_workers", "mirrored"])
def replicas(request: pytest.FixtureRequest) -> Results:
    return request.getfixturevalue(request.param)


def test_dropout_and_seeds_differ_between_replicas(
    two_workers: Results, mirrored: Results, alone: Callable[[str], Arrays]
) -> None:
    for masks, seeds in (
        ([found["masks"][0] for found in two_workers("randomness")], two_workers("randomness")),
        (list(mirrored("randomness")[0]["masks"]), mirrored("randomness")),
    ):
        assert len(masks) == 2
        # Independent masks of 1,000 units agree on about half of them.
        assert 400 < (masks[0] == masks[1]).sum() < 600
        distinct = {tuple(seed) for found in seeds for seed in found["seeds"]}
        assert len(distinct) == 2
    # The first replica drops what a single device drops.
    single = alone("randomness")["masks"][0]
    np.testing.assert_array_equal(two_workers("randomness")[0]["masks"][0], single)


def test_seeds_go_on_alike_on_all_replicas(
    two_workers: Results, mirrored: Results, alone: Callable[[str], Arrays]
) -> None:
    expected = alone("randomness")
    for found in (*two_workers("randomness"), *mirrored("randomness")):
        np.testing.assert_array_equal(found["state_before"], expected["state_before"])
        np.testing.assert_array_equal(found["state_after"], expected["state_after"])
    assert (expected["state_after"] != expected["state_before"]).any()


def test_all_workers_stop_after_the_step_in_which_one_asked(two_workers: Results) -> None:
    for found in two_workers("stopping"):
        np.testing.assert_array_equal(found["stopped_at"], [2])


def test_one_process_stops_after_the_step_in_which_it_asked(
    alone: Callable[[str], Arrays],
) -> None:
    np.testing.assert_array_equal(alone("stopping")["stopped_at"], [2])


def test_a_signal_in_validation_ends_it_and_nothing_is_lost(
    two_workers: Results, mirrored: Results, alone: Callable[[str], Arrays]
) -> None:
    for found in (
        *two_workers("cut_in_validation"),
        *mirrored("cut_in_validation"),
        alone("cut_in_validation"),
    ):
        assert found["preempted"]
        assert found["validated"] == 2  # Of five batches.
        assert len(found["again"]) == 2
        assert list(found["position"]) == [0, 4]
        assert {"loss", "val_loss"} <= set(found["names"])
        np.testing.assert_allclose(found["finished"], found["whole"], rtol=1e-6)


def test_workers_that_see_different_files_say_so(
    two_workers: Results, alone: Callable[[str], Arrays]
) -> None:
    positions = ("epoch 1, step 1", "epoch 1, step 0")
    for found, position in zip(two_workers("disagreement"), positions, strict=True):
        checkpoint, copy = found["said"]
        assert checkpoint.startswith("CheckpointError: Workers read different checkpoints")
        assert position in checkpoint
        assert copy.startswith("ValueError: Workers see different data")
        assert str(found["copy"]) in copy
    assert list(alone("disagreement")["said"]) == ["(0, 1)", "False"]


def test_workers_know_whether_they_agree(two_workers: Results) -> None:
    for found in two_workers("agreement"):
        assert found["same"] and not found["different"]
        assert found["any"] and not found["none"]
        assert list(found["texts"]) == ["\u00e9", "a\u00e9"]


def test_an_overflow_on_one_replica_is_one_on_all(
    two_workers: Results, mirrored: Results, alone: Callable[[str], Arrays]
) -> None:
    expected = alone("loss_scale")
    for found in (*two_workers("loss_scale"), *mirrored("loss_scale"), expected):
        # The update is left out, and the scale halved from its 2**15.
        assert found["unchanged"].all() and found["finite"]
        assert found["scale"] == 2**14


def test_what_several_replicas_cannot_do_is_refused(
    two_workers: Results, mirrored: Results, alone: Callable[[str], Arrays]
) -> None:
    for found in (*two_workers("refusals"), *mirrored("refusals")):
        steps, clipping = found["said"]
        assert "cannot run steps_per_execution=2" in steps
        assert "cannot be clipped in float16" in clipping
    assert list(alone("refusals")["said"]) == ["", ""]


def test_a_batch_with_nothing_for_one_replica_is_refused(mirrored: Results) -> None:
    (found,) = mirrored("empty_replica")
    for said in found["said"]:
        assert "choose a batch size that leaves enough in the last one" in said


def test_alone_everything_is_as_without_strategies() -> None:
    strategy = create_strategy("none")
    assert strategy is tf.distribute.get_strategy()
    assert is_chief(strategy) and not is_multi_worker(strategy)
    assert all_workers_equal(strategy, [1])
    assert replica_loss_weight(tf.constant(3), tf.float32) == 1.0
    seed = tf.constant([1, 2])
    assert per_replica_seed(seed) is seed


def test_strategies_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown strategy 'mirorred'.*mirrored"):
        create_strategy("mirorred")
    with pytest.raises(ValueError, match="needs a cluster"):
        create_strategy("multi_worker")
    pair = Cluster(("127.0.0.1:1", "127.0.0.1:2"), 0, "a test")
    for size in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="pack_megabytes must be positive and finite"):
            create_strategy("multi_worker", pair, pack_megabytes=size)
        with pytest.raises(ValueError, match="lost_after must be a positive number of seconds"):
            create_strategy("multi_worker", pair, lost_after=size)
    if len(tf.config.list_logical_devices()) == 1:
        with pytest.raises(ValueError, match="at least two devices, found 1 CPU"):
            create_strategy("mirrored")


def test_workers_are_connected_without_a_change_of_their_environment(
    cluster_directory: Path,
) -> None:
    for index in range(2):
        assert (cluster_directory / f"environment.{index}.txt").read_text() == ""


def test_a_users_model_needs_the_mixin_alone(cluster_directory: Path) -> None:
    for index in range(2):
        assert (cluster_directory / f"Repaired.{index}.txt").read_text() == ""


@pytest.mark.parametrize(
    ("part", "sign"), [("WithoutLogs", "reduction dimension"), ("WithoutBuild", "PerReplica")]
)
def test_keras_still_needs_the_repair(part: str, sign: str, cluster_directory: Path) -> None:
    """Fails with a Keras that has mended https://github.com/keras-team/keras/issues/20585."""
    for index in range(2):
        fault = (cluster_directory / f"{part}.{index}.txt").read_text()
        assert sign in fault, (
            f"Keras trains without this part of aad_tf.distribute.MultiWorkerFit, or fails in "
            f"another way ({fault[:200]!r}). If it trains, take that part out."
        )


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
    # Before training, after the epoch, and both in one picture.
    assert [int(found["figures"]) for found in (first, second)] == [3, 0]
