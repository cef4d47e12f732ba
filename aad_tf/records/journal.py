"""A file of records that grows while an evaluation runs and survives a kill at any moment."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aad_tf.records.io import read_summary, record_line, summary_path
from aad_tf.utils.files import PathLike

_HEADER_START = b'{"fingerprint":'


def journal_path(output: PathLike) -> Path:
    """Where records are kept until an evaluation is complete: `x.jsonl.gz.partial`."""
    output = Path(output)
    return output.with_name(output.name + ".partial")


def finished_summary(output: PathLike, key: str) -> dict[str, Any] | None:
    """The summary of a finished evaluation; None if it is to be begun or resumed.

    Args:
        output: file of records.
        key: as for `read_summary`.

    Raises:
        FileExistsError: there are records without their summary.
    """
    output = Path(output)
    if not output.exists() or journal_path(output).exists():
        return None
    if not summary_path(output).exists():
        raise FileExistsError(
            f"{output} exists, but not its summary {summary_path(output).name}. Choose another "
            f"output, or delete it to start over."
        )
    return read_summary(output, key)


class Journal:
    """Appends records to a file, and hands them back to a later run of the same evaluation.

    The first line identifies what is evaluated. A last line cut short by a kill is dropped.

    Args:
        path: the file; made if it does not exist.
        fingerprint: what is evaluated, as JSON can hold it.
        is_record: tells records of this version from others.

    Raises:
        ValueError: the file belongs to another evaluation, is no journal, or in use.
        OSError: it cannot be written.

    Example:
        >>> journal = Journal(journal_path("run.jsonl.gz"), {"weights": "5f3a"}, bool)
    """

    def __init__(
        self,
        path: Path,
        fingerprint: Mapping[str, Any],
        is_record: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self.path = path
        self._is_record = is_record
        self._file = path.open("a+b")
        try:
            self._lock()
            self._begin(json.loads(json.dumps(fingerprint)))
        except BaseException:
            self._file.close()
            raise

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds records and hands them to the operating system."""
        self._file.write(b"".join(map(record_line, records)))
        self._file.flush()

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Records and where their lines start; a last line that was cut short is removed.

        Raises:
            ValueError: a line is damaged.
        """
        self._file.seek(0)
        offset = len(self._file.readline())
        for line in self._file:
            if not line.endswith(b"\n"):
                self.truncate(offset)
                return
            yield offset, self._parsed(line, offset)
            offset += len(line)

    def consecutive(self, first_index: int) -> Iterator[dict[str, Any]]:
        """Records of which there is one per example, in the order of the data set.

        Args:
            first_index: of the first of them.

        Raises:
            ValueError: a line is damaged, or an example is missing.
        """
        for number, (_, record) in enumerate(self.entries(), first_index):
            if record["index"] != number:
                raise ValueError(
                    f"{self.path} is damaged: example {number} was expected, {record['index']} is "
                    f"there. Delete it to start over."
                )
            yield record

    def lines_at(self, offsets: Iterable[int]) -> Iterator[bytes]:
        """The lines that start at given offsets."""
        for offset in offsets:
            self._file.seek(offset)
            yield self._file.readline()

    def lines(self) -> Iterator[bytes]:
        """All lines of records in the order they were added."""
        self._file.seek(0)
        self._file.readline()
        yield from self._file

    def truncate(self, offset: int) -> None:
        """Drops what starts at an offset and everything after it."""
        self._file.truncate(offset)

    def remove(self) -> None:
        """Deletes the file, which is no longer needed."""
        self.path.unlink()

    def close(self) -> None:
        """Closes the file; it stays for a later run unless removed."""
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is writing {self.path}. Wait for it, or choose another output."
            ) from error

    def _begin(self, fingerprint: Mapping[str, Any]) -> None:
        header = self._header()
        if header is not None:
            check_same_evaluation(self.path, header, fingerprint)
            return
        self._file.truncate(0)
        self.append([{"fingerprint": fingerprint}])

    def _header(self) -> Mapping[str, Any] | None:
        """What the file holds, or None if it is new or was cut short in its first line."""
        self._file.seek(0)
        line = self._file.readline()
        if not line.startswith(_HEADER_START[: len(line)]):
            raise ValueError(f"{self.path} is not a journal of an evaluation. Delete or rename it.")
        return json.loads(line)["fingerprint"] if line.endswith(b"\n") else None

    def _parsed(self, line: bytes, offset: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{self.path} is damaged at byte {offset} ({error}). Delete it to start over."
            ) from error
        if not isinstance(record, dict) or not self._is_record(record):
            raise ValueError(
                f"{self.path} is damaged at byte {offset}: no record of this version. Delete it "
                f"to start over."
            )
        return record


def check_same_evaluation(
    path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Raises ValueError if a file holds another evaluation than the one asked for."""
    differences = "; ".join(_differences(found, expected))
    if differences:
        raise ValueError(
            f"{path} belongs to another evaluation, which differs in {differences}. Choose "
            f"another output, or delete it to start over."
        )


def _differences(
    found: Mapping[str, Any], expected: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """What differs, entry by entry; a group of entries that one side alone has is one."""
    for key in sorted({*found, *expected}):
        there, asked, name = found.get(key), expected.get(key), f"{prefix}{key}"
        if isinstance(there, Mapping) and isinstance(asked, Mapping):
            yield from _differences(there, asked, f"{name}.")
        elif isinstance(there, Mapping) and asked is None:
            if any(_differences(there, {})):
                yield f"{name} (only there)"
        elif isinstance(asked, Mapping) and there is None:
            if any(_differences({}, asked)):
                yield f"{name} (only asked for)"
        elif there != asked:
            yield f"{name} ({there!r} there, {asked!r} asked for)"
