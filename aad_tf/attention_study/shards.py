"""Joins the parts of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aad_tf.attention_study.records import KEYS
from aad_tf.attention_study.summary import Counts
from aad_tf.records import (
    read_record_lines,
    read_summary,
    record_line,
    summary_path,
    write_record_lines,
)
from aad_tf.records.shards import Part, merged_provenance, read_parts
from aad_tf.utils.files import PathLike, write_json_atomically


def merge_shards(paths: Sequence[PathLike], output: PathLike) -> dict[str, Any]:
    """Joins the records of all parts of a study; the same file as that of one pass.

    Args:
        paths: files of records, in any order.
        output: file to write; its summary goes beside it.

    Returns:
        The summary.

    Raises:
        ValueError: parts of different studies, parts that are missing or overlap, damaged files.
        OSError: a file cannot be read or written.
    """
    parts = read_parts(paths, output, _read_part, "study")
    first = parts[0].summary
    counts = Counts(first["study"]["rounds"])
    write_record_lines(Path(output), _counted_lines(parts, counts))
    merged = {
        **{key: first[key] for key in ("study", "fingerprint", "description", "class_names")},
        "identity": {**first["identity"], "shard": None},
        "counts": counts.as_dict(),
        "accuracy": counts.accuracy(),
        **_speed([part.summary for part in parts]),
        "range": [parts[0].first, parts[-1].stop],
        "shard": None,
        "provenance": merged_provenance(parts),
    }
    write_json_atomically(summary_path(output), merged)
    return merged


def _read_part(path: PathLike) -> Part:
    summary = read_summary(path, "study")
    first, stop = summary["range"]
    return Part(Path(path), summary, summary["shard"], first, stop, summary["fingerprint"])


def _speed(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of all parts together; the rate if no part was resumed, which hides some seconds."""
    seconds = sum(summary["seconds"] for summary in summaries)
    count = sum(summary["counts"]["examples"] for summary in summaries)
    whole = seconds > 0 and not any(summary.get("resumed_at") for summary in summaries)
    return {
        "seconds": round(seconds, 2),
        "examples_per_second": round(count / seconds, 2) if whole else None,
    }


def _counted_lines(parts: Sequence[Part], counts: Counts) -> Iterator[bytes]:
    for part in parts:
        before = counts.examples
        for record in read_record_lines(part.path, KEYS):
            counts.add([record])
            yield record_line(record)
        found, expected = counts.examples - before, part.summary["counts"]["examples"]
        if found != expected:
            raise ValueError(f"{part.path} holds {found} records, its summary says {expected}.")
