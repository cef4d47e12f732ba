"""Parts of a study that run anywhere, and their way back into one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aad_tf.attention_study.records import KEYS
from aad_tf.attention_study.summary import Counts
from aad_tf.evaluation.journal import check_same_evaluation, record_line, write_record_lines
from aad_tf.provenance import provenance
from aad_tf.results import (
    PathLike,
    check_writable,
    read_record_lines,
    read_summary,
    summary_path,
    write_json_atomically,
)


def parse_shard(text: str) -> tuple[int, int]:
    """Reads "3/50", the third of fifty parts.

    Raises:
        ValueError: not of that form, or a part that does not exist.

    Example:
        >>> parse_shard("3/50")
        (3, 50)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"A shard is given as number/count, from 1/50 to 50/50; got {text!r}.")
    return number, count


def shard_range(num_examples: int, batch_size: int, number: int, count: int) -> tuple[int, int]:
    """The examples of a part: whole batches, so that parts and one pass see the same batches.

    Args:
        num_examples: size of the data set.
        batch_size: examples in a batch.
        number: which part, from 1.
        count: how many parts.

    Returns:
        First example, and the one behind the last.

    Raises:
        ValueError: more parts than batches.

    Example:
        >>> shard_range(1000, 100, 2, 3)
        (300, 600)
    """
    batches = -(-num_examples // batch_size)
    if count > batches:
        raise ValueError(
            f"{num_examples} examples in batches of {batch_size} make {batches} shards at most, "
            f"got {count}. Lower the batch size or the number of shards."
        )
    first, last = (batches * edge // count * batch_size for edge in (number - 1, number))
    return first, min(last, num_examples)


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
    check_writable(output)
    if len(paths) == 0:
        raise ValueError("There are no files of records to merge.")
    if Path(output).resolve() in {Path(path).resolve() for path in paths}:
        raise ValueError(f"{output} is one of the files to merge. Choose another output.")
    parts = sorted(((read_summary(path, "study"), Path(path)) for path in paths), key=_start)
    first, first_path = parts[0]
    for summary, path in parts[1:]:
        check_same_evaluation(path, summary["fingerprint"], first["fingerprint"])
    _check_complete(parts)
    counts = Counts(first["study"]["rounds"])
    write_record_lines(Path(output), _counted_lines(parts, counts))
    merged = {
        **{key: first[key] for key in ("study", "fingerprint", "description", "class_names")},
        "identity": {**first["identity"], "shard": None},
        "counts": counts.as_dict(),
        "accuracy": counts.accuracy(),
        **_speed(parts),
        "range": [first["range"][0], parts[-1][0]["range"][1]],
        "shard": None,
        "provenance": {**provenance(), "shards": [part["provenance"] for part, _ in parts]},
    }
    write_json_atomically(summary_path(output), merged)
    return merged


def _speed(parts: Sequence[tuple[dict[str, Any], Path]]) -> dict[str, Any]:
    """Seconds of all parts together; the rate if no part was resumed, which hides some seconds."""
    seconds = sum(summary["seconds"] for summary, _ in parts)
    count = sum(summary["counts"]["examples"] for summary, _ in parts)
    whole = seconds > 0 and not any(summary.get("resumed_at") for summary, _ in parts)
    return {
        "seconds": round(seconds, 2),
        "examples_per_second": round(count / seconds, 2) if whole else None,
    }


def _start(part: tuple[dict[str, Any], Path]) -> int:
    return part[0]["range"][0]


def _check_complete(parts: Sequence[tuple[dict[str, Any], Path]]) -> None:
    shards = [summary["shard"] for summary, _ in parts]
    if any(shard is None for shard in shards):
        whole = next(path for summary, path in parts if summary["shard"] is None)
        raise ValueError(f"{whole} is no shard but a whole study.")
    counts = {count for _, count in shards}
    numbers = [number for number, _ in shards]
    wanted = list(range(1, max(counts) + 1))
    if len(counts) > 1 or sorted(numbers) != wanted:
        raise ValueError(
            f"Expected every shard of one division once, got "
            f"{', '.join(f'{number}/{count}' for number, count in shards)}; missing: "
            f"{', '.join(str(number) for number in wanted if number not in numbers) or 'none'}."
        )
    for (before, _), (after, path) in zip(parts, parts[1:], strict=False):
        if before["range"][1] != after["range"][0]:
            raise ValueError(
                f"{path} begins at example {after['range'][0]}, the shard before it ends at "
                f"{before['range'][1]}. Were they made with the same batch size and data?"
            )


def _counted_lines(parts: Sequence[tuple[dict[str, Any], Path]], counts: Counts) -> Iterator[bytes]:
    for summary, path in parts:
        before = counts.examples
        for record in read_record_lines(path, KEYS):
            counts.add([record])
            yield record_line(record)
        found, expected = counts.examples - before, summary["counts"]["examples"]
        if found != expected:
            raise ValueError(f"{path} holds {found} records, its summary says {expected}.")
