"""Where records go while an evaluation runs: memory, or a journal that survives a kill."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.evaluation.journal import Journal, journal_path, write_record_lines
from aad_tf.evaluation.tally import Tally
from aad_tf.results import RECORD_KEYS


class MemoryLedger:
    """Keeps records in memory, for evaluations that write no file."""

    def __init__(self, attacks: Sequence[str], first_index: int = 0) -> None:
        self.tally = Tally(attacks, first_index)
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
    """Appends records to a journal as examples finish, and picks up where a killed run stopped.

    Args:
        output: where sorted records will go; the journal is `<output>.partial`.
        attacks: names of the attacks.
        fingerprint: what is evaluated, as JSON can hold it.
        first_index: place of the first example in the data set.

    Raises:
        ValueError: the journal belongs to another evaluation, is damaged, or in use.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        output: Path,
        attacks: Sequence[str],
        fingerprint: Mapping[str, Any],
        first_index: int = 0,
    ) -> None:
        self.output = output
        self.tally = Tally(attacks, first_index)
        self._journal = Journal(journal_path(output), fingerprint, _is_record)
        self.path = self._journal.path
        try:
            for _, record in self._journal.entries():
                self.tally.add(record)
        except BaseException:
            self._journal.close()
            raise

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Adds records in any order and hands them to the operating system."""
        records = list(records)
        self._journal.append(records)
        for record in records:
            self.tally.add(record)

    def write_sorted(self) -> None:
        """Writes all records to the output by attack, in the order of the attacks, and index."""
        places, indices, offsets = array("q"), array("q"), array("q")
        order = {attack: place for place, attack in enumerate(self.tally.attacks)}
        for offset, record in self._journal.entries():
            places.append(order[record["attack"]])
            indices.append(record["index"])
            offsets.append(offset)
        sequence = np.lexsort((indices, places))
        write_record_lines(self.output, self._journal.lines_at(offsets[i] for i in sequence))

    def remove(self) -> None:
        """Deletes the journal, which is no longer needed."""
        self._journal.remove()

    def close(self) -> None:
        """Closes the journal; it stays for a later run unless removed."""
        self._journal.close()


def _is_record(record: Mapping[str, Any]) -> bool:
    return record.keys() == set(RECORD_KEYS)
