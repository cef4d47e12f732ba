"""What became of each example: a record to write down, and one byte to count by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MISSING, ROBUST, FOOLED, CLEAN_MISTAKE = range(4)


def make_record(
    attack: str,
    *,
    index: int,
    label: int,
    clean_prediction: int,
    adversarial_prediction: int,
    steps: int = 0,
    restart: int = 0,
    linf: float = 0.0,
) -> dict[str, Any]:
    """One row of an evaluation, with the keys of `aad_tf.results.RECORD_KEYS`.

    `success` says that the example is not robust: the attack fooled the network, or, marked by
    `clean_mistake`, it is misclassified as it is and was not attacked.
    """
    return {
        "index": index,
        "label": label,
        "attack": attack,
        "clean_prediction": clean_prediction,
        "adversarial_prediction": adversarial_prediction,
        "success": adversarial_prediction != label,
        "clean_mistake": clean_prediction != label,
        "steps": steps,
        "restart": restart,
        # Rounded above float32's own rounding, so that 0.15 reads 0.15.
        "linf": round(linf, 6),
    }


class Tally:
    """What is known of each (attack, example), one byte each.

    Args:
        attacks: names of the attacks.
        first_index: place of the first example; of a part of a data set, where it begins.

    Attributes:
        attacks: names of the attacks.
    """

    def __init__(self, attacks: Sequence[str], first_index: int = 0) -> None:
        self.attacks = tuple(attacks)
        self._first_index = first_index
        self._outcomes = {attack: bytearray() for attack in attacks}
        self._unmoved = dict.fromkeys(attacks, 0)

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes note of a record.

        Raises:
            ValueError: its example lies before the first one.
        """
        outcomes = self._outcomes[record["attack"]]
        place = record["index"] - self._first_index
        if place < 0:
            raise ValueError(
                f"Example {record['index']} lies before example {self._first_index}, the first "
                f"one of this part. Delete its records to start over."
            )
        if place >= len(outcomes):
            outcomes.extend(bytes(place + 1 - len(outcomes)))
        robust_or_fooled = FOOLED if record["success"] else ROBUST
        outcomes[place] = CLEAN_MISTAKE if record["clean_mistake"] else robust_or_fooled
        self._unmoved[record["attack"]] += not record["success"] and record["linf"] == 0

    def outcomes(self, attack: str) -> np.ndarray:
        """MISSING, ROBUST, FOOLED or CLEAN_MISTAKE of each example from the first one, uint8."""
        return np.frombuffer(bytes(self._outcomes[attack]), np.uint8)

    def unmoved(self, attack: str) -> int:
        """How many examples withstood the attack because it left them as they were."""
        return self._unmoved[attack]

    def missing(self, attack: str, start: int, count: int) -> np.ndarray:
        """Which of `count` examples from `start` on have no outcome yet, bool `[count]`."""
        place = start - self._first_index
        known = self._outcomes[attack][place : place + count]
        return np.frombuffer(bytes(known.ljust(count, bytes([MISSING]))), np.uint8) == MISSING

    def __len__(self) -> int:
        return sum(len(outcomes) - outcomes.count(MISSING) for outcomes in self._outcomes.values())
