"""What two runs have in common, and whether all went as it should."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf import model_directory
from benchmarks.report import Finding, at_least, at_most
from benchmarks.survival.plan import Course

# Sums over an epoch that was interrupted are rounded once more, since checkpoints add up replicas.
_ROUNDING = 1e-6


def compare(one: Path, other: Path) -> dict[str, Any]:
    """Compares the results of two model directories.

    Returns:
        What `compare_weights` and `compare_histories` return.

    Raises:
        ValueError: the networks or histories have not the same form.
    """
    weights, others = ([*model_directory.load_network(path).get_weights()] for path in (one, other))
    histories = [
        (path / model_directory.HISTORY).read_text(encoding="utf-8") for path in (one, other)
    ]
    return {**compare_weights(weights, others), **compare_histories(*histories)}


def compare_histories(one: str, other: str) -> dict[str, Any]:
    """Compares two histories, the text of CSV files, value by value.

    Returns:
        How many `history_values`, how many `history_values_unlike`, and the
        `largest_history_difference`, relative to the value.

    Raises:
        ValueError: other epochs or other columns.
    """
    tables = [list(csv.reader(io.StringIO(text))) for text in (one, other)]
    (names, *rows), (other_names, *other_rows) = tables
    if names != other_names or [row[0] for row in rows] != [row[0] for row in other_rows]:
        raise ValueError("The histories have not the same epochs and columns.")
    values, others = (np.array(table, np.float64) for table in (rows, other_rows))
    apart = np.abs(values - others) / np.maximum(np.abs(values), np.finfo(np.float64).tiny)
    return {
        "history_values": values.size,
        "history_values_unlike": int((values != others).sum()),
        "largest_history_difference": float(apart.max(initial=0.0)),
    }


def compare_weights(weights: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> dict[str, Any]:
    """Compares arrays value by value.

    Raises:
        ValueError: another number of arrays, or other shapes.
    """
    pairs = list(zip(weights, others, strict=True))
    return {
        "arrays": len(pairs),
        "values": sum(one.size for one, _ in pairs),
        "arrays_unlike": sum(not np.array_equal(one, other) for one, other in pairs),
        "largest_difference": max(
            float(np.abs(one.astype(np.float64) - other).max(initial=0.0)) for one, other in pairs
        ),
    }


def findings(
    kills: Sequence[dict[str, Any]], same: dict[str, Any], course: Course, asked: int
) -> list[Finding]:
    """The numbers that decide, beside what they should be."""
    differences = "largest relative difference of histories"
    return [
        Finding("kills", len(kills), target=at_least(asked)),
        *_of_survivors([survivor for kill in kills for survivor in kill["survivors"]]),
        *_of_steps(kills, course.checkpoint_steps),
        Finding("arrays of weights unlike", same["arrays_unlike"], target=at_most(0)),
        Finding("largest difference of weights", same["largest_difference"], target=at_most(0)),
        Finding(differences, same["largest_history_difference"], target=at_most(_ROUNDING)),
    ]


def _of_survivors(survivors: Sequence[dict[str, Any]]) -> list[Finding]:
    phrases = {
        "in_time": "survivors that ended in time",
        "names_the_lost": "survivors that named the lost worker",
        "as_expected": "survivors with the exit code due",
    }
    shares = [
        Finding(what, _share([one[key] for one in survivors]), target=at_least(1))
        for key, what in phrases.items()
    ]
    slowest = max((one["seconds"] for one in survivors), default=0.0)
    return [*shares, Finding("slowest survivor", slowest, "s")]


def _of_steps(kills: Sequence[dict[str, Any]], every: int) -> list[Finding]:
    plain = [kill["steps_repeated"] for kill in kills if not kill["damage"]]
    after = [kill["steps_repeated"] for kill in kills if kill["damage"]]
    said = [kill["damage"]["said"] for kill in kills if kill["damage"]]
    return [
        Finding("most steps repeated after a kill", max(plain, default=0), target=at_most(every)),
        Finding("damaged checkpoints", len(said), target=at_least(2)),
        Finding("damaged checkpoints that were noticed", _share(said), target=at_least(1)),
        Finding(
            "most steps repeated after damage", max(after, default=0), target=at_most(2 * every)
        ),
    ]


def _share(values: Sequence[Any]) -> float:
    """The part of the values that are true; 0 of none."""
    return sum(map(bool, values)) / max(len(values), 1)
