"""train.local_cluster as a user runs it: what is wrong with the flags is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--workers"),
        (["--workers=0", "--", "--config=c"], "--workers=0"),
        (["--workers=2", "--"], "flags of train.main go behind `--`"),
        (["--workrs=2", "--", "--config=c"], "Did you mean: workers"),
        (["--workers=2", "--config=c"], "'config'. Flags of train.main go behind `--`, as in"),
        (["--workers=2", "--model_dir=d"], "? Flags of train.main go behind `--`"),
        (["--workers=2", "more", "--", "--config=c"], "'more' before --"),
        (["--workers=2", "--restarts=-1", "--", "--config=c"], "--restarts=-1"),
        (["--workers=2", "--", "--config=c", "--strategy=none"], "Leave out --strategy"),
        (["--workers=2", "--", "-strategy", "none"], "Leave out --strategy"),
        (["--workers=4096", "--pin_cores", "--", "--config=c"], "--pin_cores"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], expected: str) -> None:
    command = [sys.executable, "-m", "train.local_cluster", *flags]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert expected in result.stderr
