"""train.main as a user runs it: real processes, real kills."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from aad_tf.model_directory import load_network
from tests.binaries.many_runs import run_many, stopped_once

SMALL = [
    "--config=train/configs/digits.py:aad_step_ll",
    "--config.epochs=2",
    "--config.image_size=8",
    "--config.batch_size=20",
    "--config.train_examples=132",
    "--config.checkpoint_steps=2",
    "--config.validation_examples=0",
]


def weights_of(directory: Path) -> list[np.ndarray]:
    return load_network(directory).get_weights()


def test_a_run_killed_at_any_moment_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def is_saved() -> bool:
        return any(killed.glob("checkpoints/*.index"))

    flags = (*SMALL, f"--model_dir={killed}")
    stopped = stopped_once(is_saved, signal.SIGKILL, "train.main", *flags)
    assert stopped.code == -signal.SIGKILL and is_saved(), stopped.errors
    assert not (killed / "model.keras").exists()

    directories = [[*SMALL, f"--model_dir={path}"] for path in (whole, killed)]
    for finished in run_many("train.main", directories):
        assert finished.code == 0, finished.errors
    for one, other in zip(weights_of(whole), weights_of(killed), strict=True):
        np.testing.assert_array_equal(one, other)
    starts = json.loads((killed / "run.json").read_text())["starts"]
    assert len(starts) == 2
    assert str(tmp_path) not in json.dumps(starts)


DIGITS = "--config=train/configs/digits.py"
MISTAKES = [
    ([f"{DIGITS}:aad_stepll"], "aad_step_ll"),
    ([f"{DIGITS}:clean", "--config.epoch=1"], "'epoch'. Did you mean 'epochs'"),
    ([f"{DIGITS}:clean", "--config.epochs=0"], "epochs must be at least 1"),
    ([f"{DIGITS}:clean", "--config.model=lenett"], "lenet"),
    ([f"{DIGITS}:clean", "--config.dataset=digit"], "digits"),
    ([f"{DIGITS}:clean", "--config.defence.kind=aad"], "'defence'. Did you mean 'defense'"),
    ([f"{DIGITS}:clean", "--config.epochs.x=1"], "--config.epochs.x"),
    (["--config=train/configs/digit.py:clean"], "train/configs/digit.py"),
    (["--config=train/configs/digit.py:clean", "--config.epochs=1"], "train/configs/digit.py"),
    (["--config=train/configs/mnist.py:clean", "--data_dir=absent"], "tfds build"),
    ([f"{DIGITS}:clean", "--strategy=many"], "--strategy"),
    ([f"{DIGITS}:clean", "surplus"], "Unexpected arguments: surplus"),
]


def test_mistakes_are_named_in_one_line(tmp_path: Path) -> None:
    commands = [
        [*flags, f"--model_dir={tmp_path / str(number)}"]
        for number, (flags, _) in enumerate(MISTAKES)
    ]
    for run_, (flags, expected) in zip(run_many("train.main", commands), MISTAKES, strict=True):
        assert run_.code == 2, (flags, run_.errors)
        assert "Traceback" not in run_.errors
        last = run_.errors.splitlines()[-1]
        assert last.startswith("error: ") and expected in last, flags


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_model_directory_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    flags = ["--config=train/configs/digits.py:clean", f"--model_dir={tmp_path / 'run'}"]
    (result,) = run_many("train.main", [flags])
    assert result.code == 2
    assert "error:" in result.errors
