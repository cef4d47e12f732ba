"""Atomic writing of files: a file is replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from aad_tf.utils.provenance import without_absolute_paths

PathLike = str | os.PathLike[str]


def write_json_atomically(path: PathLike, data: Any) -> None:
    """Writes a JSON file atomically: after a crash the file is complete or unchanged.

    Args:
        path: file to write or replace; its directory must exist.
        data: data that `json` can write; NumPy scalars and arrays become numbers and lists, and
            paths become text without absolute directories.

    Raises:
        TypeError: data of another type.
        ValueError: NaN or infinity, which JSON does not have.
        OSError: the file cannot be written.
    """
    text = json.dumps(data, indent=2, default=_plain, allow_nan=False, ensure_ascii=False)
    with write_atomically(path) as file:
        file.write(text.encode() + b"\n")


@contextlib.contextmanager
def write_atomically(path: PathLike) -> Iterator[IO[bytes]]:
    """Context manager that writes a file atomically.

    Args:
        path: file to write or replace; its directory must exist.

    Yields:
        A temporary binary file. It replaces `path` when the block ends; after an exception it is
        deleted and `path` stays as it was.

    Raises:
        OSError: the file cannot be written.
    """
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


def check_writable(path: PathLike) -> None:
    """Creates the directory of a file that is written later, and checks that it is writable.

    Args:
        path: the file.

    Raises:
        IsADirectoryError: the path is a directory.
        OSError: its directory cannot be created or written to.
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
        return without_absolute_paths(os.fspath(value))
    raise TypeError(f"Cannot write a {type(value).__name__} as JSON: {value!r}.")
