"""Where a result comes from: command, versions, machine, commit; without absolute paths."""

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

# An absolute path that stands alone, behind "=" or in a list; not "8/255", not "gs://bucket".
_ABSOLUTE_PATH = re.compile(r"(?:^|(?<=[=,;:\"'(\[]))/(?!/)[^,;:\"')\]]*")

_WIDEST_FIRST = {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}


def provenance() -> dict[str, Any]:
    """Describes the running program and the machine, for a record of what produced a file.

    Returns:
        Entries that `json` can write: `command` (without absolute paths), `versions` (Python,
        TensorFlow, Keras, NumPy, aad_tf), `platform`, `cpu` (model and what it multiplies with,
        such as "AMD EPYC, AVX2": times differ by several times between these), `cpu_cores`
        (usable by this process), `gpus`, `git_commit` and `git_dirty` (None unless the package is
        run from a git repository), `utc` (ISO 8601, seconds).

    Example:
        >>> provenance()["versions"]["keras"]
        '3.12.0'
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
    """The git commit this package is run from; None if it is not run from a git checkout."""
    return _git_state(Path(__file__).resolve().parent)[0]


def command_line() -> str:
    """The command that started this process, quoted for a shell.

    Absolute paths inside the current directory are made relative to it; of others only the last
    component stays, so that a committed record tells nothing about the machine.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = ["-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]
    return shlex.join(["python", *map(without_absolute_paths, [*program, *sys.argv[1:]])])


def provenance_path(path: str | os.PathLike[str]) -> str:
    """A path as records may name it: relative to the current directory, or its last component."""
    return without_absolute_paths(os.fspath(path))


def portable(values: Any) -> Any:
    """Nested dicts, lists and texts, with absolute paths in texts shortened."""
    if isinstance(values, dict):
        return {key: portable(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [portable(value) for value in values]
    return without_absolute_paths(values) if isinstance(values, str) else values


def without_absolute_paths(argument: str) -> str:
    """An argument with absolute paths made relative, or cut to their last component."""

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
    """Model and widest instructions for matrices of the first CPU in the text of `/proc/cpuinfo`.

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
