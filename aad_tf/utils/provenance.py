"""The provenance of a result: command, versions, machine and commit, without absolute paths."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf._version import __version__

# An absolute path that stands alone, behind "=" or in a list, and may hold blanks, or one behind a
# blank, which ends at the next; not "8/255", "8 / 255", "km /h" or "gs://bucket".
_ABSOLUTE_PATH = re.compile(
    r"(?:^|(?<=[=,;:\"'(\[]))/(?!/)[^,;:\"')\]]*"
    r"|(?<=\s)/[^\s/,;:\"')\]]+/[^\s,;:\"')\]]*"
)

_WIDEST_FIRST = {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}


def provenance() -> dict[str, Any]:
    """Describes the running program and the machine, for the summary of a result.

    Returns:
        A dictionary that `json` can write:
        `command`: the command line, without absolute paths.
        `versions`: of `python`, `tensorflow`, `keras`, `numpy` and `aad_tf`.
        `platform`: operating system; `gpus`: names of the GPUs.
        `cpu`: model and widest vector or matrix instructions, such as "AMD EPYC, AVX2", on which
            run times depend strongly; `cpu_cores`: number of cores that this process may use.
        `git_commit`, `git_dirty`: commit, and whether tracked files differ from it; None if the
            package is not run from a git repository.
        `utc`: date and time in ISO 8601, to the second.

    Example:
        >>> provenance()["versions"]["keras"] == keras.__version__
        True
    """
    commit, dirty = _git_state(Path(__file__).resolve().parent)
    return {
        "command": command_line(),
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "aad_tf": __version__,
        },
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_cores": _usable_cores(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "git_commit": commit,
        "git_dirty": dirty,
        "utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def source_commit() -> str | None:
    """Returns the git commit that this package is run from; None if it is not in a git checkout."""
    return _git_state(Path(__file__).resolve().parent)[0]


def command_line() -> str:
    """Returns the command that started this process, quoted for a shell.

    Absolute paths inside the current directory are made relative to it. Of other absolute paths
    only the last component is kept, so that committed results do not show directories of a machine.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = ["-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]
    return shlex.join(["python", *map(without_absolute_paths, [*program, *sys.argv[1:]])])


def provenance_path(path: str | os.PathLike[str]) -> str:
    """Shortens a path for records, so that they do not show directories of a machine.

    Args:
        path: a relative or an absolute path.

    Returns:
        A relative path as it is. An absolute path inside the current directory is made relative to
        it; of another absolute path only the last component is kept.
    """
    return without_absolute_paths(os.fspath(path))


def portable(values: Any) -> Any:
    """Shortens absolute paths in all texts of nested dictionaries and lists.

    Args:
        values: dictionaries, lists, tuples and texts in any nesting; other values are kept.

    Returns:
        A copy in which tuples are lists, an absolute path inside the current directory is relative
        to it, and of other absolute paths only the last component is kept.
    """
    if isinstance(values, dict):
        return {key: portable(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [portable(value) for value in values]
    return without_absolute_paths(values) if isinstance(values, str) else values


def without_absolute_paths(argument: str) -> str:
    """Shortens absolute paths in a text.

    Args:
        argument: any text, such as a command-line argument.

    Returns:
        The text, in which an absolute path inside the current directory is relative to it, and of
        other absolute paths only the last component is kept. A path at the beginning of the text,
        or after one of `= , ; : ( [` or a quote, reaches to the next of `, ; : ) ]` or a quote. A
        path after a blank also ends at the next blank, and counts only with a second slash, so that
        `8 / 255` and `km /h` stay as they are.

    Example:
        >>> without_absolute_paths("see /home/me/notes.md, or --output=/data/a b.jsonl")
        'see notes.md, or --output=a b.jsonl'
    """

    def shorten(match: re.Match[str]) -> str:
        path = Path(match.group())
        here = Path.cwd()
        return str(path.relative_to(here)) if path.is_relative_to(here) else path.name or "/"

    return _ABSOLUTE_PATH.sub(shorten, argument)


def _cpu_model() -> str | None:
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8") if information.exists() else ""
    return described_cpu(text) or platform.processor() or None


def described_cpu(information: str) -> str | None:
    """Reads the model of a CPU and its widest vector or matrix instructions.

    Args:
        information: the text of `/proc/cpuinfo`; its first CPU is described.

    Returns:
        The model's name, followed by "AMX", "AVX-512" or "AVX2" if it has one of these; None if the
        text names no model.

    Example:
        >>> described_cpu("model name : AMD EPYC\\nflags : fpu avx2 avx512f")
        'AMD EPYC, AVX-512'
    """
    model = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", information, re.MULTILINE)
    if model is None:
        return None
    there = set(flags.group(1).split()) if flags else set()
    widest = [name for flag, name in _WIDEST_FIRST.items() if flag in there][:1]
    return ", ".join([model.group(1), *widest])


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _git_state(directory: Path) -> tuple[str | None, bool | None]:
    """Commit and whether tracked files differ from it, or None twice if not in a git checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository, ignored by it.
        git("ls-files", "--error-unmatch", "__init__.py")
        commit = git("rev-parse", "HEAD")
        return commit, bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
