"""Where records go while an evaluation runs: memory, or a journal that survives a kill."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.evaluation.tally import Tally
from aad_tf.results import RECORD_KEYS, PathLike, write_atomically


def journal_path(output: PathLike) -> Path:
    """Where records are kept until an evaluation is complete."""
    output = Path(output)
    return output.with_name(output.name + ".partial")


class MemoryLedger:
    """Keeps records in memory, for evaluations that write no file."""

    def __init__(self, attacks: Sequence[str]) -> None:
        self.tally = Tally(attacks)
        self._records: list[dict[str, Any]] = []

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Adds records in any order."""
        for record in records:
            self._records.append(record)
            self.tally.add(record)

    def sorted_records(self) -> list[dict[str, Any]]:
        """All records by attack, in the order of the attacks, and index."""
        order = {attack: place for place, attack in enumerate(self.tally.attacks)}
        return sorted(self._records, key=lambda r: (order[r["attack"]], r["index"]))

    def close(self) -> None:
        """Nothing is open."""


class JournalLedger:
    """Appends records to a file as examples finish, and picks up where a killed run stopped.

    The first line identifies what is evaluated. A last line cut short by a kill is dropped.

    Args:
        output: where sorted records will go; the journal is `<output>.partial`.
        attacks: names of the attacks.
        fingerprint: what is evaluated, as JSON can hold it.

    Raises:
        ValueError: the journal belongs to another evaluation, is damaged, or in use.
        OSError: it cannot be written.
    """

    def __init__(
        self, output: Path, attacks: Sequence[str], fingerprint: Mapping[str, Any]
    ) -> None:
        self.output = output
        self.path = journal_path(output)
        self.tally = Tally(attacks)
        self._file = self.path.open("a+b")
        try:
            self._lock()
            self._resume(json.loads(json.dumps(fingerprint)))
        except BaseException:
            self._file.close()
            raise

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Adds records in any order and hands them to the operating system."""
        for record in records:
            self._file.write(record_line(record))
            self.tally.add(record)
        self._file.flush()

    def write_sorted(self) -> None:
        """Writes all records to the output by attack, in the order of the attacks, and index."""
        places, indices, offsets = array("q"), array("q"), array("q")
        order = {attack: place for place, attack in enumerate(self.tally.attacks)}
        for offset, record in self._entries():
            places.append(order[record["attack"]])
            indices.append(record["index"])
            offsets.append(offset)
        write_record_lines(self.output, self._lines_at(np.lexsort((indices, places)), offsets))

    def remove(self) -> None:
        """Deletes the journal, which is no longer needed."""
        self.path.unlink()

    def close(self) -> None:
        """Closes the journal; it stays for a later run unless removed."""
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is writing {self.path}. Wait for it, or choose another output."
            ) from error

    def _resume(self, fingerprint: Mapping[str, Any]) -> None:
        header = self._header()
        if header is None:
            self._file.truncate(0)
            self._file.write(record_line({"fingerprint": fingerprint}))
            self._file.flush()
            return
        check_same_evaluation(self.path, header, fingerprint)
        for _, record in self._entries():
            self.tally.add(record)

    def _header(self) -> Mapping[str, Any] | None:
        """What the journal holds, or None if it is new or was cut short in its first line."""
        self._file.seek(0)
        line = self._file.readline()
        start = b'{"fingerprint":'
        if not line.startswith(start[: len(line)]):
            raise ValueError(f"{self.path} is not a journal of an evaluation. Delete or rename it.")
        return json.loads(line)["fingerprint"] if line.endswith(b"\n") else None

    def _entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Records and where their lines start; a last line that was cut short is removed."""
        self._file.seek(0)
        offset = len(self._file.readline())
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(offset)
                return
            yield offset, self._parsed(line, offset)
            offset += len(line)

    def _parsed(self, line: bytes, offset: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{self.path} is damaged at byte {offset} ({error}). Delete it to start over."
            ) from error
        if not isinstance(record, dict) or record.keys() != set(RECORD_KEYS):
            raise ValueError(
                f"{self.path} is damaged at byte {offset}: no record of this version. Delete it "
                f"to start over."
            )
        return record

    def _lines_at(self, order: Iterable[int], offsets: Sequence[int]) -> Iterator[bytes]:
        for place in order:
            self._file.seek(offsets[place])
            yield self._file.readline()


def check_same_evaluation(
    path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Raises ValueError if a file holds another evaluation than the one asked for."""
    there, asked = dict(_flat(found)), dict(_flat(expected))
    keys = sorted(key for key in {*there, *asked} if there.get(key) != asked.get(key))
    if keys:
        differences = "; ".join(
            f"{key} ({there.get(key)!r} there, {asked.get(key)!r} asked for)" for key in keys
        )
        raise ValueError(
            f"{path} belongs to another evaluation, which differs in {differences}. Choose "
            f"another output, or delete it to start over."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def record_line(record: Mapping[str, Any]) -> bytes:
    """A record as one line of a file of records."""
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def write_record_lines(path: PathLike, lines: Iterable[bytes]) -> None:
    """Writes lines of records atomically; compressed, the same records give the same bytes."""
    with write_atomically(path) as file:
        if not os.fspath(path).endswith(".gz"):
            file.writelines(lines)
            return
        # Without name and time in the header, which would differ between equal results.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
            compressed.writelines(lines)
