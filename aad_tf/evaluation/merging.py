"""Joins the records of an evaluation whose data set was divided into parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aad_tf.evaluation.diagnostics import of_outcomes
from aad_tf.evaluation.example_log import OutcomeCounts
from aad_tf.evaluation.summary import looks_for_nearest, summarize, timing
from aad_tf.evaluation.transfer_summary import TransferCounts, summarize_transfer
from aad_tf.records import (
    TRANSFER_KEYS,
    read_record_lines,
    read_records,
    read_summary,
    record_line,
    summary_path,
    write_record_lines,
)
from aad_tf.records.shards import Part, merged_provenance, read_parts, shard_facts
from aad_tf.utils.files import PathLike, write_json_atomically

_DIFFERS_BETWEEN_PARTS = ("first_example", "num_examples", "first_index", "shard")


def merge_shards(paths: Sequence[PathLike], output: PathLike) -> dict[str, Any]:
    """Joins the records of all parts of a robustness evaluation.

    The result equals that of a single pass over the whole data set, except for float rounding:
    batches of the network differ at the edges of parts.

    Args:
        paths: files of records that `evaluate_robustness` wrote with a `shard`, in any order.
        output: file to write, compressed if it ends with ".gz"; its summary goes beside it.

    Returns:
        The summary of all examples, a dict with `attacks` (an entry of accuracies for each),
        `success_rule`, `warnings`, `diagnostics`, `evaluated` and `provenance`. Seconds of all
        parts are added up. Diagnostics that compare attacks are computed again over all examples;
        those of the first images of each part are kept for each part.

    Raises:
        ValueError: parts of different evaluations, parts that are missing or overlap, or damaged
            files.
        OSError: a file cannot be read or written.

    Example:
        >>> merge_shards(["part1.jsonl.gz", "part2.jsonl.gz"], "whole.jsonl.gz")["warnings"]
        []
    """
    parts = read_parts(paths, output, _read_part, "evaluation")
    first = parts[0].summary
    models = [entry["threat_model"] for entry in first["attacks"]]
    nearest = [model["attack"] for model in models if looks_for_nearest(model)]
    counts = OutcomeCounts([model["attack"] for model in models], parts[0].first, nearest)
    write_record_lines(output, _counted_lines(parts, counts))
    timings = [_timing(parts, model["attack"]) for model in models]
    merged = {
        **summarize(models, timings, counts, first["success_rule"], first["comparisons"]),
        **_diagnostics(parts, models, counts),
        "evaluated": _evaluated(parts),
        "provenance": merged_provenance(parts),
    }
    write_json_atomically(summary_path(output), merged)
    return merged


def merge_transfer(paths: Sequence[PathLike], output: PathLike) -> dict[str, Any]:
    """Joins the records of all parts of a transfer evaluation.

    The result equals that of a single pass over the whole data set, except for float rounding where
    a part begins within a batch of that pass.

    Args:
        paths: files of records that `evaluate_transfer` wrote with a `shard`, in any order.
        output: file to write, compressed if it ends with ".gz"; its summary goes beside it.

    Returns:
        The summary of all examples, a dict with `networks` (clean accuracies), `transfer` (accuracy
        of each target on the images of each source under each attack), `comparisons` of targets,
        `threat_models`, `count`, `rule`, `warnings`, `evaluated` and `provenance`. Seconds of all
        parts are added up.

    Raises:
        ValueError: parts of different evaluations, parts that are missing or overlap, or damaged
            files.
        OSError: a file cannot be read or written.

    Example:
        >>> merge_transfer(["part1.jsonl.gz", "part2.jsonl.gz"], "whole.jsonl.gz")["count"]
        10000
    """
    parts = read_parts(paths, output, _read_transfer_part, "evaluation")
    first = parts[0].summary
    evaluated, models = first["evaluated"], list(first["threat_models"].values())
    counts = TransferCounts(evaluated["sources"], evaluated["targets"], evaluated["order"])
    write_record_lines(output, _counted_transfer_lines(parts, counts))
    totals = (sum(part.summary[each] for part in parts) for each in ("seconds", "images_attacked"))
    merged = {
        **summarize_transfer(models, counts),
        **timing(*totals),
        "evaluated": _evaluated(parts),
        "provenance": merged_provenance(parts),
    }
    write_json_atomically(summary_path(output), merged)
    return merged


def _read_transfer_part(path: PathLike) -> Part:
    summary = read_summary(path, "transfer")
    return _part(path, summary, summary["count"])


def _counted_transfer_lines(parts: Sequence[Part], counts: TransferCounts) -> Iterator[bytes]:
    for part in parts:
        records = read_record_lines(part.path, TRANSFER_KEYS)
        for index in range(part.first, part.stop):
            record = next(records, None)
            if record is None or record["index"] != index:
                found = "the end" if record is None else record["index"]
                raise ValueError(
                    f"{part.path} does not hold what its summary says: expected example {index}, "
                    f"found {found}."
                )
            counts.add([record])
            yield record_line(record)
        if next(records, None) is not None:
            raise ValueError(f"{part.path} holds more records than its summary says.")


def _read_part(path: PathLike) -> Part:
    summary = read_summary(path)
    return _part(path, summary, summary["attacks"][0]["count"])


def _part(path: PathLike, summary: dict[str, Any], count: int) -> Part:
    evaluated = summary.get("evaluated", {})
    identity = {key: value for key, value in evaluated.items() if key not in _DIFFERS_BETWEEN_PARTS}
    first = evaluated.get("first_index", 0)
    return Part(Path(path), summary, evaluated.get("shard"), first, first + count, identity)


def _counted_lines(parts: Sequence[Part], counts: OutcomeCounts) -> Iterator[bytes]:
    """Lines by attack, then example. Parts are read once per attack: memory and open files stay."""
    for attack in counts.attacks:
        for part in parts:
            examples, number = part.stop - part.first, _place(part, attack)
            records = itertools.islice(read_records(part.path), number * examples, None)
            for index in range(part.first, part.stop):
                record = _expected(part, next(records, None), attack, index)
                counts.add(record)
                yield record_line(record)
            if number == len(counts.attacks) - 1 and next(records, None) is not None:
                raise ValueError(f"{part.path} holds more records than its summary says.")


def _place(part: Part, attack: str) -> int:
    """The number of an attack in a part, whose attacks may have been given in another order."""
    return [entry["attack"] for entry in part.summary["attacks"]].index(attack)


def _expected(part: Part, record: dict[str, Any] | None, attack: str, index: int) -> dict[str, Any]:
    """The record, if it is the one that comes next."""
    if record is not None and (record["attack"], record["index"]) == (attack, index):
        return record
    found = "the end" if record is None else f"{record['index']} under {record['attack']}"
    raise ValueError(
        f"{part.path} does not hold what its summary says: expected example {index} under "
        f"{attack}, found {found}."
    )


def _timing(parts: Sequence[Part], attack: str) -> dict[str, float]:
    """Seconds and images of all parts together, as each part's last run counted both."""
    entries = [part.summary["attacks"][_place(part, attack)] for part in parts]
    return timing(
        sum(entry["seconds"] for entry in entries),
        sum(entry["images_attacked"] for entry in entries),
    )


def _diagnostics(
    parts: Sequence[Part], models: Sequence[dict[str, Any]], counts: OutcomeCounts
) -> dict[str, Any]:
    """Nothing, if no part has any."""
    found = [part.summary["diagnostics"] for part in parts if "diagnostics" in part.summary]
    if not found:
        return {}
    first_batches = [batch for each in found for batch in each["first_batch"]]
    return {"diagnostics": {"first_batch": first_batches, "outcomes": of_outcomes(models, counts)}}


def _evaluated(parts: Sequence[Part]) -> dict[str, Any]:
    """What one pass would have written down, so that the same command recognises the result."""
    first = parts[0].summary["evaluated"]
    counts = [part.summary["evaluated"]["num_examples"] for part in parts]
    whole = {
        **{key: value for key, value in first.items() if key not in ("first_index", "shard")},
        "num_examples": None if None in counts else sum(counts),
    }
    return {**whole, **shard_facts(parts[0].first, None)}
