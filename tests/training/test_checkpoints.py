"""Corrupt checkpoints are passed over; weights that are not finite are not saved; epochs end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import model_directory
from aad_tf.training import build_defense, train
from aad_tf.training.checkpoints import CheckpointError, ResumableCheckpoint
from tests.training.short_runs import CONFIG, STEPS, KillAt, KilledError, assert_same_weights


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint(tmp_path: Path) -> None:
    model = build_defense(CONFIG, model_directory.build_network(CONFIG, (28, 28, 1), 10), 13)
    checkpoint = ResumableCheckpoint(model, tmp_path, every=1, steps_per_epoch=5)
    checkpoint.on_train_batch_end(0)
    variable = model.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.inf))
    with pytest.raises(FloatingPointError, match="Weights became NaN or infinite in epoch 1"):
        checkpoint.on_train_batch_end(1)
    assert checkpoint.restore() == (0, 1)
    assert np.isfinite(variable.numpy()).all()


def test_the_checkpoint_before_a_corrupt_one_is_used(
    uninterrupted: Path, killed_at: Callable[[int], Path]
) -> None:
    directory = killed_at(STEPS + 1)
    newest = max(
        (directory / model_directory.CHECKPOINTS).glob("*.data-*"),
        key=lambda path: path.stat().st_mtime,
    )
    newest.write_bytes(newest.read_bytes()[:1000])
    train(CONFIG, directory)
    assert_same_weights(directory, uninterrupted)


def test_checkpoints_that_are_all_corrupt_are_an_error(killed_at: Callable[[int], Path]) -> None:
    directory = killed_at(STEPS)
    for path in (directory / model_directory.CHECKPOINTS).glob("*.data-*"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="No checkpoint in .* can be read"):
        train(CONFIG, directory)


def test_a_checkpoint_at_the_end_of_an_epoch_leaves_validation_to_do(tmp_path: Path) -> None:
    """On more replicas an epoch may have a batch less, as a short last one joins another."""
    model = build_defense(CONFIG, model_directory.build_network(CONFIG, (28, 28, 1), 10), 7)
    longer = ResumableCheckpoint(model, tmp_path, every=6, steps_per_epoch=7)
    longer.on_train_batch_end(5)
    assert ResumableCheckpoint(model, tmp_path, 6, steps_per_epoch=7).restore() == (0, 6)
    # Of that epoch, validation and callbacks are left.
    assert ResumableCheckpoint(model, tmp_path, 6, steps_per_epoch=6).restore() == (0, 6)
    assert ResumableCheckpoint(model, tmp_path, 6, steps_per_epoch=5).restore() == (0, 5)


def test_a_checkpoint_after_several_steps_at_once_is_of_the_last_of_them(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=2, run_eagerly=True)
    checkpoint = ResumableCheckpoint(model, tmp_path, every=2, steps_per_epoch=6)
    batches = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.ones((1, 1)))).repeat(6)
    with pytest.raises(KilledError):
        model.fit(batches, verbose=0, shuffle=False, callbacks=[checkpoint, KillAt(1)])
    assert int(model.optimizer.iterations) == 2
    assert checkpoint.restore() == (0, 2)
