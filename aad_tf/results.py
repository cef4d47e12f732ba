"""What an evaluation or a training run leaves on disk: records, summaries, where they came from.

Records are JSON lines, one per example and attack, with the keys of `RECORD_KEYS`; a file whose
name ends with ".gz" is compressed. Beside them lies a summary as JSON.
"""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import tensorflow as tf

import aad_tf

PathLike = str | os.PathLike[str]

RECORD_KEYS = (
    "index",
    "label",
    "attack",
    "clean_prediction",
    "adversarial_prediction",
    "success",
    "clean_mistake",
    "steps",
    "restart",
    "linf",
)

# An absolute path that stands alone, behind "=" or in a list; not "8/255", not "gs://bucket".
_ABSOLUTE_PATH = re.compile(r"(?:^|(?<=[=,;:\"'(\[]))/(?!/)[^,;:\"')\]]*")


def provenance() -> dict[str, Any]:
    """Describes the running program and the machine, for a record of what produced a file.

    Returns:
        Entries that `json` can write: `command` (without absolute paths), `versions` (Python,
        TensorFlow, Keras, NumPy, aad_tf), `platform`, `cpu`, `cpu_cores` (usable by this
        process), `gpus`, `git_commit` and `git_dirty` (None unless the package is run from a
        git repository), `utc` (ISO 8601, seconds).

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
            "aad_tf": aad_tf.__version__,
        },
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_cores": _usable_cores(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "git_commit": commit,
        "git_dirty": dirty,
        "utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def command_line() -> str:
    """The command that started this process, quoted for a shell.

    Absolute paths inside the current directory are made relative to it; of others only the last
    component stays, so that a committed record tells nothing about the machine.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = ["-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]
    return shlex.join(["python", *map(_without_absolute_paths, [*program, *sys.argv[1:]])])


def write_json_atomically(path: PathLike, data: Any) -> None:
    """Writes JSON so that the file is there whole or not at all.

    Args:
        path: file to write or replace; its directory must exist.
        data: what `json` can write; NumPy scalars, arrays and paths are converted.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
        OSError: the file cannot be written.
    """
    text = json.dumps(data, indent=2, default=_plain, allow_nan=False, ensure_ascii=False)
    with write_atomically(path) as file:
        file.write(text.encode() + b"\n")


@contextlib.contextmanager
def write_atomically(path: PathLike) -> Iterator[IO[bytes]]:
    """Yields a binary file that replaces `path` when the block ends without an exception."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def summary_path(output: PathLike) -> Path:
    """Where the summary of a file of records lies: `x.jsonl.gz` has `x.summary.json`."""
    output = Path(output)
    stem = output.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return output.with_name(f"{stem}.summary.json")


def read_records(path: PathLike) -> Iterator[dict[str, Any]]:
    """Reads the records of an evaluation one by one, in the order of attack and index.

    Args:
        path: file of records, compressed if its name ends with ".gz".

    Yields:
        Dicts with the keys of `RECORD_KEYS`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a record; the message names it.

    Example:
        >>> robust = [not r["success"] for r in read_records("fgsm.jsonl.gz")]
    """
    opener = gzip.open if os.fspath(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        number = 0
        try:
            for number, line in enumerate(file, start=1):  # noqa: B007, the error tells it
                record = json.loads(line)
                if not isinstance(record, dict) or not record.keys() >= set(RECORD_KEYS):
                    raise ValueError(f"expected the keys {', '.join(RECORD_KEYS)}")
                yield record
        except (ValueError, EOFError) as error:
            raise ValueError(
                f"{path} is no file of records, or damaged, at line {number}: {error}."
            ) from error


def read_summary(path: PathLike) -> dict[str, Any]:
    """Reads the summary of an evaluation.

    Args:
        path: the file of records, or the summary itself.

    Returns:
        What `aad_tf.evaluation.evaluate_robustness` returned as `summary`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a summary.
    """
    path = Path(path)
    path = path if path.name.endswith(".summary.json") else summary_path(path)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(summary, dict) or "attacks" not in summary:
        raise ValueError(f"{path} is not the summary of an evaluation: it has no 'attacks'.")
    return summary


def check_writable(path: PathLike) -> None:
    """Makes the directory of a file to be written later, and makes sure that it can be.

    Raises:
        IsADirectoryError: the path is a directory.
        OSError: its directory cannot be made or written.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory. Give the name of a file to write.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent):
            pass
    except OSError as error:
        raise type(error)(
            f"Cannot write to {path.parent} ({error.strerror}). Choose another output."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return _without_absolute_paths(os.fspath(value))
    raise TypeError(f"Cannot write a {type(value).__name__} as JSON: {value!r}.")


def _without_absolute_paths(argument: str) -> str:
    def shorten(match: re.Match[str]) -> str:
        path = Path(match.group())
        here = Path.cwd()
        return str(path.relative_to(here)) if path.is_relative_to(here) else path.name or "/"

    return _ABSOLUTE_PATH.sub(shorten, argument)


def _cpu_model() -> str | None:
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8") if information.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model.group(1) if model else platform.processor() or None


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _git_state(directory: Path) -> tuple[str | None, bool | None]:
    """Commit and whether tracked files differ from it, or Nones outside a repository of ours."""

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
