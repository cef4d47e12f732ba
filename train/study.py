"""Runs a study: trains its networks and evaluates them, leaving out what is done already.

    python -m train.study --study=aad_table_5_mnist --runs_dir=runs --results_dir=own_results

It first lists what is done and what is left, with the commands, which can also be run by hand.
The same command resumes where it was interrupted. Several machines share the work with
--shard=1/4, --shard=2/4 and so on. `python -m analysis.report` then makes the tables.
"""

from __future__ import annotations

from binaries import quiet  # noqa: F401

# isort: split

import re
import subprocess
import sys
from pathlib import Path

from absl import app, flags

from aad_tf.utils.files import write_atomically
from binaries import command_line, running
from train.studies.study import (
    DONE,
    NOT_NEEDED,
    TO_DO,
    Cell,
    available,
    listing,
    load,
    plan,
)

_STUDY = flags.DEFINE_string("study", None, f"One of: {', '.join(available())}.", required=True)
_RUNS = flags.DEFINE_string(
    "runs_dir", "runs", "Directory in which the networks' model directories lie."
)
_RESULTS = flags.DEFINE_string("results_dir", "results", "Directory in which records are kept.")
_ONLY = flags.DEFINE_list(
    "only", [], "Names of evaluations, or of networks with all that is evaluated on them."
)
_SHARD = flags.DEFINE_string("shard", "1/1", "Part of this machine, as in 2/4 of four machines.")
_DRY = flags.DEFINE_bool("dry_run", False, "Only say what would be done.")
# What analysis reads of a run.
_RUN_FILES = ("config.json", "history.csv", "run.json")


def main(argv: list[str]) -> None:
    """Runs the study that the flags name.

    A mistake of the user's ends with exit code 2; a training or evaluation that fails ends the
    program with its own exit code.
    """
    del argv
    running.run(_run, resumed_from=lambda: _RUNS.value)


def _run() -> str:
    study, shard = load(_STUDY.value), _shard()

    def cells() -> list[Cell]:
        return plan(study, _RUNS.value, _RESULTS.value, _ONLY.value, shard)

    asked = cells()
    running.say(f"{_STUDY.value}: {study.reference}\n{listing(asked)}")
    if _DRY.value:
        return "Nothing was run."
    for cell in asked:
        if cell.kind == "train" and cell.state == DONE:
            _keep(cell.name)
        if cell.state == TO_DO:
            _do(cell)
    waiting = [cell for cell in cells() if cell.state not in (DONE, NOT_NEEDED)]
    if waiting:
        names = ", ".join(cell.name for cell in waiting)
        return f"All of this part is done; left for others, or for later: {names}."
    return (
        f"All is done. python -m analysis.report --results_dir={_RESULTS.value} makes the tables; "
        f"it also writes the block of results in --readme."
    )


def _shard() -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", _SHARD.value)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"--shard must be NUMBER/COUNT, such as 2/4, got {_SHARD.value!r}.")
    return number, count


def _do(cell: Cell) -> None:
    running.say(f"{cell.kind} {cell.name} ...")
    for argument in cell.arguments:
        if argument.startswith("--output="):
            Path(argument.partition("=")[2]).parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, *cell.arguments])
    try:
        code = process.wait()
    except BaseException:
        # Ctrl-C reaches both by itself. Either way the cell saves what it has before it ends.
        process.terminate()
        process.wait()
        raise
    if code:
        running.say(
            f"{cell.kind} {cell.name} ended with code {code}; what it said stands above. The same "
            f"command goes on from here; this cell alone is\n{cell.command}"
        )
        sys.exit(code if code > 0 else 128 - code)
    if cell.kind == "train":
        _keep(cell.name)


def _keep(name: str) -> None:
    """Copies what is recorded of a training beside the results, if it is not there."""
    run, record = Path(_RUNS.value, name), Path(_RESULTS.value, "runs", name)
    if record.is_dir() and all((record / file).is_file() for file in _RUN_FILES):
        return
    record.mkdir(parents=True, exist_ok=True)
    for file in _RUN_FILES:
        with write_atomically(record / file) as copy:
            copy.write((run / file).read_bytes())


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
