"""Trains with several worker processes on this machine, as on as many machines.

python -m train.local_cluster --workers=2 -- --config=train/configs/mnist.py:clean --model_dir=DIR

What follows `--` goes to train.main. Each line of output says which worker it comes from. When one
worker fails, and on Ctrl-C or SIGTERM, all are asked to save and end.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import app, flags

from train.launch import local

_WORKERS = flags.DEFINE_integer("workers", None, "How many.", lower_bound=1, required=True)
_RESTARTS = flags.DEFINE_integer("restarts", 0, "Tries after a failure.", lower_bound=0)
_PIN_CORES = flags.DEFINE_bool("pin_cores", False, "Give each worker separate cores (Linux).")
_GRACE = flags.DEFINE_float("grace_seconds", 60.0, "Time to save and end.", lower_bound=0.0)


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags before `--` and returns those after it; a mistake ends with code 2."""
    end = argv.index("--") if "--" in argv else len(argv)
    worker_flags = list(argv[end + 1 :])
    try:
        if unexpected := flags.FLAGS(argv[:end])[1:]:
            raise flags.Error(f"Unexpected argument {unexpected[0]!r} before --.")
        if not worker_flags:
            raise flags.Error("Give the flags of train.main after --, as in -- --config=...")
        if any(re.match("--?strategy(=|$)", flag) for flag in worker_flags):
            raise flags.Error("Leave out --strategy after --: here it is multi_worker.")
    except flags.Error as error:
        _fail(error)
    return worker_flags


def main(worker_flags: list[str]) -> None:
    """Runs the workers and ends with 0, 1, 2, or 128 plus the signal that asked to stop."""
    command = [sys.executable, "-m", "train.main", "--strategy=multi_worker", *worker_flags]
    workers = _WORKERS.value
    try:
        cores = local.split_cores(workers) if _PIN_CORES.value else [[]] * workers
        sys.exit(local.run(command, cores, _RESTARTS.value, _GRACE.value))
    except ValueError as error:
        _fail(error)
    except OSError as error:
        sys.exit(f"error: {error}")


def _fail(error: Exception) -> NoReturn:
    """Says in one line what is wrong and ends with code 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(local.MISTAKE)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
