"""Refuses attention records that do not belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# What must agree for two passes to be of one network and one copy of the data.
_SAME_NETWORK = ("weights", "bounds")
_SAME_DATA = ("name", "fingerprint")


def check_same_network(
    first: Mapping[str, Any], second: Mapping[str, Any], name: str, other: str
) -> None:
    """Refuses summaries of different networks, or of different copies of the data.

    Args:
        first: a summary.
        second: a summary.
        name: what to call the first in the message.
        other: what to call the second.

    Raises:
        ValueError: they differ; the message holds both fingerprints.
    """
    one, two = first["fingerprint"], second["fingerprint"]
    pairs = [("network", key, one[key], two[key]) for key in _SAME_NETWORK]
    layers = [summary["study"]["attention_layer"] for summary in (first, second)]
    pairs.append(("network", "attention_layer", *layers))
    data, copy = (fingerprint["dataset"] or {} for fingerprint in (one, two))
    pairs += [("copy of the data", key, data.get(key), copy.get(key)) for key in _SAME_DATA]
    for what, key, here, there in pairs:
        if here != there:
            raise ValueError(
                f"{other} holds records of another {what} than {name}: {key} is {there!r}, not "
                f"{here!r}. Compare records of one network on one copy of the data."
            )


def check_same_study(
    first: Mapping[str, Any], second: Mapping[str, Any], name: str, other: str
) -> None:
    """Refuses summaries of different studies: another attack, number of rounds, measure.

    Args:
        first: a summary.
        second: a summary.
        name: what to call the first in the message.
        other: what to call the second.

    Raises:
        ValueError: they differ; the message holds both values.
    """
    one, two = first["study"], second["study"]
    keys = [k for k in sorted({*one, *two} - {"batch_size"}) if one.get(k) != two.get(k)]
    if keys:
        raise ValueError(
            f"{other} holds records of another study than {name}: "
            + "; ".join(f"{key} is {two.get(key)!r}, not {one.get(key)!r}" for key in keys)
            + ". Read them as two runs."
        )


def check_complete(
    columns: Mapping[str, np.ndarray], summary: Mapping[str, Any], name: str
) -> None:
    """Refuses records that are not those their summary counts.

    Args:
        columns: as `reading.read_columns` returns them.
        summary: of the same file.
        name: of the file.

    Raises:
        ValueError: another number of images, or of images classified right.
    """
    right = int((columns["prediction"][:, 0] == columns["label"]).sum())
    found = {"examples": len(columns["index"]), "right": right}
    for key, count in found.items():
        expected = summary["counts"].get(key)
        if expected != count:
            raise ValueError(
                f"{name} holds {count} {key}, its summary counts {expected}: records and summary "
                f"are not of one pass, or the file was cut short."
            )
