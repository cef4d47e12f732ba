"""Runs of a binary one after the other in one process: starting TensorFlow takes the longest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_SCRIPT = """
import contextlib, importlib, io, json, sys
from absl import flags
binary = importlib.import_module(sys.argv[1])
found = []
for arguments in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            binary.main(flags.FLAGS([sys.argv[1], *arguments]))
            code = 0
        except SystemExit as exit:
            code = exit.code
    found.append([code, output.getvalue(), errors.getvalue()])
print("found:" + json.dumps(found))
"""


class Run(NamedTuple):
    """How a run ended."""

    code: int
    output: str
    errors: str


def run_many(
    binary: str, commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None
) -> list[Run]:
    """Runs a binary, e.g. "eval.robustness", with each list of arguments."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, binary],
        input=json.dumps(commands),
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=280,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found:")]
    return [Run(*each) for each in json.loads(line.removeprefix("found:"))]
