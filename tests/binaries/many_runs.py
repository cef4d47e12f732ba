"""Runs of a binary: many in forks of one process, one alone, one that is stopped on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

# Importing TensorFlow takes the longest, so one process imports what binaries need and forks a
# child for each run. It calls nothing of TensorFlow, whose threads would not survive a fork.
_SCRIPT = """
import json, os, runpy, sys, tempfile, traceback
import aad_tf.attention_study, aad_tf.evaluation, aad_tf.training

def run(arguments, output, errors):
    # TensorFlow's own lines, which come from C++, go elsewhere.
    sys.stdout, sys.stderr = output, errors
    sys.argv = [sys.argv[1], *arguments]
    code = 1
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

found = []
for arguments in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if child == 0:
            run(arguments, output, errors)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        errors.seek(0)
        found.append([code, output.read(), errors.read()])
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
    """Runs `python -m binary`, e.g. of "eval.robustness", with each list of arguments."""
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


def run(binary: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `python -m binary` as a user does."""
    command = [sys.executable, "-m", binary, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


def stopped_after(
    records: int, stop: signal.Signals, journal: Path, binary: str, *arguments: object
) -> tuple[int, str]:
    """Starts a binary, stops it once its journal holds so many records; exit code and errors."""
    process = subprocess.Popen(
        [sys.executable, "-m", binary, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") > records:
            break
        time.sleep(0.005)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors
