"""Runs a study: trains its networks and evaluates them, leaving out what is done already.

    python -m train.study --study=aad_table_5_mnist --results_dir=own_results --report

It first lists what is done and what is left, with the commands, which can also be run by hand.
The same command resumes where it was interrupted. With --report it ends with the tables and figures
of the results, and a page of them, own_results/README.md. Several machines share the work with
--shard=1/4, --shard=2/4 and so on, each of which sees the same --runs_dir and --results_dir.
"""

from __future__ import annotations

from binaries import quiet  # noqa: F401

# isort: split

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from aad_tf.data import DatasetNotFoundError
from aad_tf.utils.files import write_atomically
from binaries import command_line, running
from train.studies.planning import (
    DONE,
    NOT_NEEDED,
    RECORDED,
    TO_DO,
    Cell,
    absent_data,
    is_to_be_recorded,
    listing,
    plan,
)
from train.studies.study import available, load

_STUDY = flags.DEFINE_string("study", None, f"One of: {', '.join(available())}.", required=True)
_RUNS = flags.DEFINE_string(
    "runs_dir", "runs", "Directory in which the networks' model directories lie."
)
_RESULTS = flags.DEFINE_string("results_dir", "results", "Directory in which records are kept.")
_ONLY = flags.DEFINE_list(
    "only", [], "Names of evaluations, or of networks with all that is evaluated on them."
)
_SHARD = flags.DEFINE_string(
    "shard",
    "1/1",
    "Part of this machine, as in 2/4 of four machines that share --runs_dir and --results_dir.",
)
_DRY = flags.DEFINE_bool("dry_run", False, "Only say what would be done.")
_REPORT = flags.DEFINE_bool(
    "report",
    False,
    "When all is done, make tables and figures of --results_dir with analysis.report, and their "
    "page: README.md in --results_dir, or for the default one the project's.",
)
# What analysis.report replaces the inside of.
_PAGE = "# Results\n\n<!-- results:begin -->\n<!-- results:end -->\n"


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
    absent = absent_data(asked)
    if _DRY.value:
        return "\n".join(("Nothing was run.", *absent))
    if absent:
        raise DatasetNotFoundError("\n".join(absent))
    for cell in asked:
        if cell.state == TO_DO:
            _do(cell)
        # A kill may have come between training and this.
        trained = cell.kind == "train" and cell.state == DONE
        if trained and is_to_be_recorded(cell.name, _RUNS.value, _RESULTS.value):
            _keep(cell.name)
    waiting = [cell for cell in cells() if cell.state not in (DONE, NOT_NEEDED)]
    if waiting:
        names = ", ".join(cell.name for cell in waiting)
        return f"All of this part is done; left for others, or for later: {names}."
    if not _REPORT.value:
        return "All is done. The same command with --report makes the tables."
    page = _report()
    return f"All is done. {page} shows the tables."


def _report() -> Path:
    """Makes all tables and figures of the results, and returns the page that shows them."""
    own = _RESULTS.value != _RESULTS.default
    page = Path(_RESULTS.value if own else "", "README.md")
    if not page.exists():
        with write_atomically(page) as file:
            file.write(_PAGE.encode())
    flags_of = (f"--results_dir={_RESULTS.value}", f"--readme={page}")
    _run_python("analysis.report", ("-m", "analysis.report", *flags_of))
    if own:
        # Links are those of the project's README, which lies beside the directory of results.
        text = page.read_text(encoding="utf-8").replace("](results/", "](")
        with write_atomically(page) as file:
            file.write(text.encode())
    return page


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
    _run_python(f"{cell.kind} {cell.name}", cell.arguments)
    if cell.kind == "train":
        _keep(cell.name)


def _run_python(name: str, arguments: Sequence[str]) -> None:
    """Runs a program of the project; one that fails ends this one with its exit code."""
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        code = process.wait()
    except BaseException:
        # Ctrl-C reaches both by itself. Either way the cell saves what it has before it ends.
        process.terminate()
        process.wait()
        raise
    if code:
        running.say(
            f"{name} ended with code {code}; what it said stands above. The same command goes on "
            f"from here; this alone is\n{shlex.join(['python', *arguments])}"
        )
        sys.exit(code if code > 0 else 128 - code)


def _keep(name: str) -> None:
    """Copies what is recorded of a training beside the results."""
    run, record = Path(_RUNS.value, name), Path(_RESULTS.value, "runs", name)
    record.mkdir(parents=True, exist_ok=True)
    for file in RECORDED:
        with write_atomically(record / file) as copy:
            copy.write((run / file).read_bytes())


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
