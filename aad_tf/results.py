"""What an evaluation or a training run leaves on disk: records, summaries, where they came from.

Records are JSON lines, one per example and attack, with the keys of `RECORD_KEYS`; a file whose
name ends with ".gz" is compressed. Beside them lies a summary as JSON.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from aad_tf.provenance import without_absolute_paths

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
    return read_record_lines(path, RECORD_KEYS)


def read_record_lines(path: PathLike, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Reads records of any kind one by one, in the order of the file.

    Args:
        path: file of JSON lines, compressed if its name ends with ".gz".
        keys: what every record must have.

    Yields:
        The records.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no such record, or the file is cut short; the message names it.
    """
    opener = gzip.open if os.fspath(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        number = 0
        try:
            for number, line in enumerate(file, start=1):  # noqa: B007, the error tells it
                record = json.loads(line)
                if not isinstance(record, dict) or not record.keys() >= set(keys):
                    raise ValueError(f"expected the keys {', '.join(keys)}")
                yield record
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path} is no file of records, or damaged, at line {number}: {error}."
            ) from error


def read_summary(path: PathLike, key: str = "attacks") -> dict[str, Any]:
    """Reads the summary of an evaluation.

    Args:
        path: the file of records, or the summary itself.
        key: an entry that tells this kind of summary: "attacks" for robustness, "study" for
            attention.

    Returns:
        What `aad_tf.evaluation.evaluate_robustness` or
        `aad_tf.attention_study.study_attention` returned as `summary`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a summary.
    """
    path = Path(path)
    path = path if path.name.endswith(".summary.json") else summary_path(path)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(summary, dict) or key not in summary:
        raise ValueError(f"{path} is not the summary expected here: it has no {key!r}.")
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
        return without_absolute_paths(os.fspath(value))
    raise TypeError(f"Cannot write a {type(value).__name__} as JSON: {value!r}.")
