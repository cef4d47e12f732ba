"""Programs end without Python's last search for cycles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
{start}

class Cycle:
    def __init__(self):
        self.me = self

    def __del__(self):
        print("found")

Cycle()
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("start", "printed"),
    [
        ("import gc; gc.disable()", ["done", "found"]),
        ("import gc; gc.disable()\nfrom aad_tf.exits import end_quickly; end_quickly()", ["done"]),
    ],
)
def test_nothing_is_searched_at_the_end(start: str, printed: list[str]) -> None:
    command = [sys.executable, "-c", PROGRAM.format(start=start)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == printed
