r"""Trains with several worker processes on this machine, as on as many machines.

    python -m train.local_cluster --workers=2 -- \
        --config=train/configs/mnist.py:clean --model_dir=runs/mnist_clean

What follows `--` goes to train.main. Each line of output says which worker it comes from. When one
worker fails, and on Ctrl-C or SIGTERM, all are asked to save and end.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence

from absl import app, flags

from binaries import command_line
from train.launch import local

_WORKERS = flags.DEFINE_integer(
    "workers", None, "How many worker processes train together.", lower_bound=1, required=True
)
_RESTARTS = flags.DEFINE_integer(
    "restarts",
    0,
    "How many times all workers are started again, to go on, after one has failed.",
    lower_bound=0,
)
_PIN_CORES = flags.DEFINE_bool("pin_cores", False, "Give each worker separate cores (Linux).")
_GRACE = flags.DEFINE_float(
    "grace_seconds",
    60.0,
    "Seconds that workers which are asked to end have to save, before they are killed.",
    lower_bound=0.0,
)
_HOW = "flags of train.main go behind `--`, as in --workers=2 -- --config=..."


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags before `--`.

    Args:
        argv: the command line, the program's name first.

    Returns:
        The arguments after `--`, flags of `train.main`.

    Raises:
        SystemExit: code 0 after help was shown, 2 after a mistake.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    worker_flags = list(argv[end + 1 :])
    if unexpected := command_line.parse_with_arguments(argv[:end], _HOW.capitalize())[1:]:
        command_line.fail(f"Unexpected argument {unexpected[0]!r} before --.")
    if not worker_flags:
        command_line.fail(f"Nothing to train: {_HOW}")
    if any(re.match("--?strategy(=|$)", flag) for flag in worker_flags):
        command_line.fail("Leave out --strategy after --: here it is multi_worker.")
    return worker_flags


def main(worker_flags: list[str]) -> None:
    """Runs the workers and exits with 0, 1, 2, or 128 plus the signal that asked to stop.

    Args:
        worker_flags: flags of `train.main` for every worker.
    """
    command = [sys.executable, "-m", "train.main", "--strategy=multi_worker", *worker_flags]
    workers = _WORKERS.value
    try:
        cores = local.split_cores(workers) if _PIN_CORES.value else [[]] * workers
        print(
            f"[launcher] {workers} workers start, import TensorFlow and wait for each other: "
            f"train.main {shlex.join(worker_flags)}",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(local.run(command, cores, _RESTARTS.value, _GRACE.value))
    except ValueError as error:
        command_line.fail(error)
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
