"""Programs can skip Python's last search for reference cycles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import gc; gc.disable()
{start}

class Cycle:
    def __init__(self):
        self.me = self

    def __del__(self):
        print("found")

Cycle()
print("done", flush=True)
"""
SKIP = "from aad_tf.utils.logging import skip_final_garbage_collection as skip; skip()"


@pytest.mark.parametrize(("start", "printed"), [("", ["done", "found"]), (SKIP, ["done"])])
def test_nothing_is_searched_at_the_end(start: str, printed: list[str]) -> None:
    command = [sys.executable, "-c", PROGRAM.format(start=start)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == printed
