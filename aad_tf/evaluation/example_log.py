"""The outcome of each example under each attack: records, in memory or in a file, and counts."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.records.io import RECORD_KEYS, write_record_lines
from aad_tf.records.journal import Journal, journal_path
from aad_tf.utils.norms import distance_of

MISSING, ROBUST, MISCLASSIFIED, CLEAN_MISTAKE = range(4)


class OutcomeCounts:
    """Outcomes of an evaluation, one byte for each attack and example.

    An outcome is one of MISSING (not known yet), ROBUST (correct under attack), MISCLASSIFIED
    (correct when clean but not under attack) and CLEAN_MISTAKE (misclassified when clean).

    Args:
        attacks: names of the attacks.
        first_index: index of the first example in its data set.
        distances_of: names of the attacks whose distances are kept, 8 more bytes for each example.

    Attributes:
        attacks: names of the attacks.
    """

    def __init__(
        self, attacks: Sequence[str], first_index: int = 0, distances_of: Iterable[str] = ()
    ) -> None:
        self.attacks = tuple(attacks)
        self._first_index = first_index
        self._outcomes = {attack: bytearray() for attack in attacks}
        self._tallies: dict[str, Counter[str]] = {attack: Counter() for attack in attacks}
        self._labels: Counter[int] = Counter()
        self._distances = {attack: array("d") for attack in distances_of}
        self._steps: dict[tuple[str, str | None], Counter[int]] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Counts the record of one example and attack.

        It is called once for each example and attack: a second record of both replaces the outcome,
        but `tally`, `steps` and `labels` count both records.

        Args:
            record: a dict of `index`, `label`, `attack`, `clean_prediction`,
                `adversarial_prediction`, `success`, `clean_mistake`, `steps`, `restart` and `linf`,
                for a cascade of attacks also `broken_by`, the name of the attack in it that
                succeeded or None.

        Raises:
            KeyError: an attack that is not among those to count.
            ValueError: its `index` is smaller than `first_index`.
        """
        outcomes = self._outcomes[record["attack"]]
        position = record["index"] - self._first_index
        if position < 0:
            raise ValueError(
                f"Example {record['index']} lies before example {self._first_index}, the first "
                f"one of this part. Delete its records to start over."
            )
        if position >= len(outcomes):
            outcomes.extend(bytes(position + 1 - len(outcomes)))
        attacked = MISCLASSIFIED if record["success"] else ROBUST
        outcomes[position] = CLEAN_MISTAKE if record["clean_mistake"] else attacked
        self._tallies[record["attack"]].update(_signs(record))
        if record["attack"] in self._distances and not record["clean_mistake"]:
            distance = distance_of(record) if record["success"] else math.inf
            self._distances[record["attack"]].append(distance)
        if outcomes[position] == MISCLASSIFIED:
            by = (record["attack"], record.get("broken_by"))
            self._steps.setdefault(by, Counter())[record["steps"]] += 1
        if record["attack"] == self.attacks[0]:
            self._labels[record["label"]] += 1

    def outcomes(self, attack: str) -> np.ndarray:
        """The outcome of each example under an attack.

        Args:
            attack: name of the attack.

        Returns:
            uint8 `[examples]`, from the first index to the last one added: MISSING 0, ROBUST 1,
            MISCLASSIFIED 2 or CLEAN_MISTAKE 3.
        """
        return np.frombuffer(bytes(self._outcomes[attack]), np.uint8)

    def tally(self, attack: str) -> Mapping[str, int]:
        """Counts examples by facts that outcomes do not hold.

        Args:
            attack: name of the attack.

        Returns:
            Numbers of examples by name; a name without examples counts 0. `unmoved`: attacked and
            still correct, at a distance of 0 from the clean image. Targeted attacks: `own_class`,
            not attacked because their label is the target, and `target_reached`, classified as the
            target. Transfer attacks: `surrogate_correct`, clean images that the surrogate
            classifies correctly, and `surrogate_misclassified`, attacked images that it
            misclassifies. Cascades: `broken_by NAME`, misclassified under the attack NAME in it.
        """
        return self._tallies[attack]

    def steps(self, attack: str, broken_by: str | None = None) -> Mapping[int, int]:
        """Counts the examples that an attack got misclassified, for each iteration separately.

        Args:
            attack: name of the attack or cascade.
            broken_by: name of the attack within a cascade; None for an attack on its own.

        Returns:
            From a number of iterations to the number of examples first misclassified after as many.
        """
        return self._steps.get((attack, broken_by), Counter())

    def distances(self, attack: str) -> np.ndarray:
        """The distances of misclassified images from the clean ones.

        Args:
            attack: name of one of the attacks that the argument `distances_of` named.

        Returns:
            float64 `[examples]`, of the examples that are correct when clean, in any order:
            infinity where the attack found no misclassified image.
        """
        return np.array(self._distances[attack], np.float64)

    def labels(self) -> Counter[int]:
        """Counts the examples of each class.

        Returns:
            From the class number to the number of examples counted so far, which are those with a
            record of the first attack.
        """
        return self._labels

    def missing(self, attack: str, start: int, count: int) -> np.ndarray:
        """Tells which examples have no outcome yet.

        Args:
            attack: name of the attack.
            start: index of the first example asked for.
            count: how many examples are asked for.

        Returns:
            bool `[count]`, True where the outcome is missing.
        """
        position = start - self._first_index
        known = self._outcomes[attack][position : position + count]
        return np.frombuffer(bytes(known.ljust(count, bytes([MISSING]))), np.uint8) == MISSING

    def __len__(self) -> int:
        return sum(len(outcomes) - outcomes.count(MISSING) for outcomes in self._outcomes.values())


class ExampleLog:
    """Records of a running evaluation, in memory or in a file from which it can be resumed.

    That file, the journal, is `<output>.partial`. Records that it holds already are counted.

    Args:
        attacks: names of the attacks.
        first_index: index of the first example in the data set.
        output: file that the sorted records will be written to; None keeps records in memory.
        fingerprint: data that identifies what is evaluated, as JSON can hold it. A journal with
            another fingerprint is refused.
        distances_of: names of the attacks whose distances `counts` keeps.

    Attributes:
        counts: the outcomes of all records so far.
        output: the argument of that name.

    Raises:
        ValueError: the journal belongs to another evaluation, is damaged, or is in use.
        OSError: the journal cannot be written.
    """

    def __init__(
        self,
        attacks: Sequence[str],
        first_index: int = 0,
        output: Path | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        distances_of: Iterable[str] = (),
    ) -> None:
        self.counts = OutcomeCounts(attacks, first_index, distances_of)
        self.output = output
        self._records: list[dict[str, Any]] = []
        self._journal = None
        if output is None:
            return
        self._journal = Journal(journal_path(output), fingerprint or {}, _is_record)
        try:
            for _, record in self._journal.entries():
                self.counts.add(record)
        except BaseException:
            self._journal.close()
            raise

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Adds and counts records, in any order.

        If there is a file, they are handed to the operating system at once, so that they survive if
        the process is killed.

        Args:
            records: dicts, one for each example and attack, with `index`, `label`, `attack`,
                `clean_prediction`, `adversarial_prediction`, `success`, `clean_mistake`, `steps`,
                `restart` and `linf`.

        Raises:
            ValueError: an `index` smaller than `first_index`.
            OSError: the file cannot be written.
        """
        records = list(records)
        if self._journal is None:
            self._records += records
        else:
            self._journal.append(records)
        for record in records:
            self.counts.add(record)

    def sorted_records(self) -> list[dict[str, Any]]:
        """The records in memory, sorted by attack in the given order of attacks, then by index.

        Returns:
            Dicts, one for each example and attack; none if records are written to a file.
        """
        order = {attack: number for number, attack in enumerate(self.counts.attacks)}
        return sorted(self._records, key=lambda r: (order[r["attack"]], r["index"]))

    def write_sorted(self) -> None:
        """Writes the records to `output`, sorted by attack, then by index.

        The file of unfinished records, `<output>.partial`, stays.

        Raises:
            ValueError: there is no `output`.
            OSError: the file cannot be written.
        """
        if self._journal is None or self.output is None:
            raise ValueError("These records are in memory: there is no output to write them to.")
        attacks, indices, offsets = array("q"), array("q"), array("q")
        order = {attack: number for number, attack in enumerate(self.counts.attacks)}
        for offset, record in self._journal.entries():
            attacks.append(order[record["attack"]])
            indices.append(record["index"])
            offsets.append(offset)
        sequence = np.lexsort((indices, attacks))
        lines = self._journal.lines_at(offsets[i] for i in sequence)
        write_record_lines(self.output, lines)

    def remove(self) -> None:
        """Deletes the file of unfinished records, `<output>.partial`, if there is one."""
        if self._journal is not None:
            self._journal.remove()

    def close(self) -> None:
        """Closes the file of unfinished records, if there is one; it stays for a later run."""
        if self._journal is not None:
            self._journal.close()


def _signs(record: Mapping[str, Any]) -> Iterator[str]:
    """The names under which a record counts in `OutcomeCounts.tally`."""
    label, found = record["label"], record["adversarial_prediction"]
    own_class = record.get("target") == label
    attacked = not record["clean_mistake"] and not own_class
    if attacked and not record["success"] and distance_of(record) == 0:
        yield "unmoved"
    if own_class and not record["clean_mistake"]:
        yield "own_class"
    if attacked and found == record.get("target"):
        yield "target_reached"
    if record.get("surrogate_clean_prediction") == label:
        yield "surrogate_correct"
    if attacked and record.get("surrogate_adversarial_prediction", label) != label:
        yield "surrogate_misclassified"
    if record.get("broken_by"):
        yield f"broken_by {record['broken_by']}"


def _is_record(record: Mapping[str, Any]) -> bool:
    return record.keys() >= set(RECORD_KEYS)
