"""What sets replicas apart, and what they agree on."""

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
from tests.distribute.conftest import Results

# The first test waits for all processes of the folder.
pytestmark = [pytest.mark.distributed, pytest.mark.timeout(600)]


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
