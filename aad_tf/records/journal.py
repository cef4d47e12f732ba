"""A file of records that grows while an evaluation runs, from which a killed run is resumed."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aad_tf.records.fingerprints import same_logits
from aad_tf.records.io import check_own_summary, read_summary, record_line, summary_path
from aad_tf.utils.files import PathLike

_HEADER_START = b'{"fingerprint":'
# Older files do not have them; nor are logits known of a network with random numbers at inference.
_NOT_ALWAYS_KNOWN = ("logits", "attention_layer")
_WEIGHTS = ("weights", "networks")


def journal_path(output: PathLike) -> Path:
    """The path of the journal of an unfinished evaluation, to which its records are appended.

    Args:
        output: the file of records that the finished evaluation has.

    Returns:
        `x.jsonl.gz.partial` for `x.jsonl.gz`.
    """
    output = Path(output)
    return output.with_name(output.name + ".partial")


def finished_summary(output: PathLike, key: str) -> dict[str, Any] | None:
    """Reads the summary of an evaluation if it is finished.

    Args:
        output: file of records. The journal of an unfinished evaluation is `<output>.partial`.
        key: an entry that the summary must have: "attacks" of a robustness evaluation, "transfer"
            of a transfer evaluation, "study" of an attention study.

    Returns:
        The summary; None if there are no records yet, or if there is a journal to resume from.

    Raises:
        FileExistsError: there are records without their summary, or the summary is that of other
            records, as of `x.jsonl` where `x.jsonl.gz` is asked for.
        ValueError: the summary is not JSON, or has no such entry.
    """
    output = Path(output)
    check_own_summary(output)
    if not output.exists() or journal_path(output).exists():
        return None
    if not summary_path(output).exists():
        raise FileExistsError(
            f"{output} exists, but not its summary {summary_path(output).name}. Choose another "
            f"output, or delete it to start over."
        )
    return read_summary(output, key)


class Journal:
    """A file to which records are appended, and which a later run of the same evaluation reads.

    The first line identifies what is evaluated. A last line that is incomplete because the process
    was killed is dropped. The file is locked against other processes until it is closed.

    Args:
        path: the file; made if it does not exist.
        fingerprint: data that identifies what is evaluated, as JSON can hold it.
        is_record: a function that says whether a dict is a valid record.

    Raises:
        ValueError: the file belongs to another evaluation, is no journal, or another process is
            writing it.
        OSError: the file cannot be written.

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
        """Adds records and hands them to the operating system, so that a killed process keeps them.

        Args:
            records: dicts that JSON can hold.

        Raises:
            ValueError: a record holds NaN or infinity.
            OSError: the file cannot be written.
        """
        self._file.write(b"".join(map(record_line, records)))
        self._file.flush()

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Reads all records; an incomplete last line is removed from the file.

        Yields:
            The offset at which the record's line starts, in bytes, and the record.

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
        """Reads the records of an evaluation that writes one per example, in the data set's order.

        Args:
            first_index: index of the first example.

        Yields:
            The records; their `index` counts up from `first_index`.

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
        """Reads lines of the file.

        Args:
            offsets: where the lines start, in bytes from the beginning of the file.

        Yields:
            Each line, bytes with a line feed at the end, in the order of the offsets.
        """
        for offset in offsets:
            self._file.seek(offset)
            yield self._file.readline()

    def lines(self) -> Iterator[bytes]:
        """Reads the lines of all records, without the first line of the file.

        Yields:
            Each line, bytes with a line feed at the end, in the order in which records were added.
        """
        self._file.seek(0)
        self._file.readline()
        yield from self._file

    def truncate(self, offset: int) -> None:
        """Cuts the file off at an offset, in bytes."""
        self._file.truncate(offset)

    def remove(self) -> None:
        """Deletes the file from the disk."""
        self.path.unlink()

    def close(self) -> None:
        """Closes the file, which stays for a later run."""
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
    """Checks that a file holds the evaluation that is asked for.

    Args:
        path: the file, for the message.
        found: what identifies the evaluation in the file.
        expected: what identifies the one asked for.

    Raises:
        ValueError: they differ; the message lists the entries.
    """
    if any(found.get(key) != expected.get(key) for key in _WEIGHTS):
        # Other weights give other logits.
        found, expected = (
            {key: value for key, value in each.items() if key != "logits"}
            for each in (found, expected)
        )
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
        if key in _NOT_ALWAYS_KNOWN and (there is None or asked is None):
            continue
        if isinstance(there, list) and name.split(".")[0] == "logits":
            if isinstance(asked, list) and not same_logits(there, asked):
                yield f"{name} (of another network with the same weights)"
        elif isinstance(there, Mapping) and isinstance(asked, Mapping):
            yield from _differences(there, asked, f"{name}.")
        elif isinstance(there, Mapping) and asked is None:
            if any(_differences(there, {})):
                yield f"{name} (only there)"
        elif isinstance(asked, Mapping) and there is None:
            if any(_differences({}, asked)):
                yield f"{name} (only asked for)"
        elif there != asked:
            yield f"{name} ({there!r} there, {asked!r} asked for)"
