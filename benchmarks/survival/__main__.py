"""Kills workers of a training run again and again, and compares its end with a run in peace.

python -m benchmarks.survival --config=train/configs/digits.py:aad_step_ll --kills=5 \
    --work_dir=DIR -- --config.epochs=2 --config.checkpoint_steps=4

What follows `--` goes to train.main.
"""

from __future__ import annotations

import os

# Read when TensorFlow and Keras are first imported; workers inherit them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags

from aad_tf.results import check_writable
from benchmarks.survival.killing import Bounds
from benchmarks.survival.launch import StoppedError, SurvivalError
from benchmarks.survival.run import Plan, run
from train.launch.loopback import core_shares
from train.launch.stopping import StopRequests

_CONFIG = flags.DEFINE_string("config", None, "Preset, as of train.main.", required=True)
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Empty, or of an earlier call.", required=True)
_KILLS = flags.DEFINE_integer("kills", 10, "How many.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of moments and victims.", lower_bound=0)
_WORKERS = flags.DEFINE_integer("workers", 2, "How many.", lower_bound=2)
_PIN_CORES = flags.DEFINE_bool("pin_cores", False, "Give each worker cores of its own (Linux).")
_JOIN = flags.DEFINE_float("join_timeout", 60.0, "As of train.main.", lower_bound=1.0)
_LOST = flags.DEFINE_float("lost_after", 60.0, "As of train.main.", lower_bound=1.0)
_LIMIT = flags.DEFINE_float("limit", 3600.0, "Seconds of the uninterrupted run.", lower_bound=1.0)
_REUSE = flags.DEFINE_bool("reuse_uninterrupted", False, "Take that of an earlier call.")
_OUTPUT = flags.DEFINE_string(
    "output", "results/benchmarks/survival.json", "JSON report; a Markdown one goes beside it."
)


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags before `--` and returns those after it; a mistake ends with code 2."""
    end = argv.index("--") if "--" in argv else len(argv)
    try:
        if unexpected := flags.FLAGS(argv[:end])[1:]:
            raise flags.Error(f"Unexpected argument {unexpected[0]!r} before --.")
    except flags.Error as error:
        _end(error, 2)
    return list(argv[end + 1 :])


def main(overrides: list[str]) -> None:
    """Runs and writes; ends with 1 if a target is missed, 2 after a mistake of the user's."""
    times = [f"--join_timeout={_JOIN.value}", f"--lost_after={_LOST.value}"]
    command = [sys.executable, "-m", "train.main", "--strategy=multi_worker"]
    command += [f"--config={_CONFIG.value}", "--progress_seconds=0", *times, *overrides]
    try:
        check_writable(_OUTPUT.value)
        plan = Plan(
            command,
            Path(_WORK_DIR.value),
            core_shares(_WORKERS.value, _PIN_CORES.value),
            _KILLS.value,
            _SEED.value,
            Bounds(_LOST.value, _JOIN.value),
            _LIMIT.value,
            _REUSE.value,
        )
        with StopRequests() as stops:
            met = run(plan, _OUTPUT.value, stops, _say)
    except (ValueError, OSError) as error:
        _end(error, 2)
    except SurvivalError as error:
        _end(error, 1)
    except StoppedError as error:
        _end(error, 128 + error.signal)
    sys.exit(not met)


def _end(error: Exception, code: int) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
