"""train.main as a user runs it: real processes, real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--config=train/configs/digits.py:aad_step_ll",
    "--config.epochs=2",
    "--config.batch_size=150",
    "--config.checkpoint_steps=2",
    "--config.validation_examples=0",
]


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "train.main", *flags]


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*flags), cwd=ROOT, capture_output=True, text=True, timeout=300)


def weights_of(directory: Path) -> list[np.ndarray]:
    from aad_tf.model_directory import load_classifier

    return load_classifier(directory)[0].model.get_weights()


def test_a_run_killed_at_any_moment_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished = run(*SMALL, f"--model_dir={whole}")
    assert finished.returncode == 0, finished.stderr

    process = subprocess.Popen(
        command(*SMALL, f"--model_dir={killed}"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not list(killed.glob("checkpoints/*.index")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(killed.glob("checkpoints/*.index"))
    assert not (killed / "model.keras").exists()

    resumed = run(*SMALL, f"--model_dir={killed}")
    assert resumed.returncode == 0, resumed.stderr
    for one, other in zip(weights_of(whole), weights_of(killed), strict=True):
        np.testing.assert_array_equal(one, other)
    starts = json.loads((killed / "run.json").read_text())["starts"]
    assert len(starts) == 2
    assert str(tmp_path) not in json.dumps(starts)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--config=train/configs/digits.py:aad_stepll"], "aad_step_ll"),
        (
            ["--config=train/configs/digits.py:clean", "--config.epoch=1"],
            "'epoch'. Did you mean 'epochs'",
        ),
        (
            ["--config=train/configs/digits.py:clean", "--config.epochs=0"],
            "epochs must be at least 1",
        ),
        (["--config=train/configs/digits.py:clean", "--config.model=lenett"], "lenet"),
        (["--config=train/configs/digits.py:clean", "--config.dataset=digit"], "digits"),
        (
            ["--config=train/configs/digits.py:clean", "--config.defence.kind=aad"],
            "'defence'. Did you mean 'defense'",
        ),
        (["--config=train/configs/digits.py:clean", "--config.epochs.x=1"], "--config.epochs.x"),
        (["--config=train/configs/digit.py:clean"], "train/configs/digit.py"),
        (
            ["--config=train/configs/digit.py:clean", "--config.epochs=1"],
            "train/configs/digit.py",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, flags: list[str], expected: str) -> None:
    result = run(*flags, f"--model_dir={tmp_path / 'run'}")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ") and expected in last


def test_missing_data_says_how_to_get_it(tmp_path: Path) -> None:
    result = run(
        "--config=train/configs/mnist.py:clean",
        f"--model_dir={tmp_path / 'run'}",
        f"--data_dir={tmp_path}",
    )
    assert result.returncode == 2
    assert "TFDS_DATA_DIR" in result.stderr
    assert "tfds build" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_model_directory_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    result = run("--config=train/configs/digits.py:clean", f"--model_dir={tmp_path / 'run'}")
    assert result.returncode == 2
    assert "error:" in result.stderr
