"""Shards: parts of a data set that are evaluated separately, and checks before they are joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aad_tf.records.io import check_own_summary, summary_path
from aad_tf.records.journal import check_same_evaluation
from aad_tf.utils.checks import check_count
from aad_tf.utils.files import PathLike, check_writable
from aad_tf.utils.provenance import provenance


@dataclass(frozen=True)
class Part:
    """A finished part of an evaluation.

    Attributes:
        path: its file of records.
        summary: its summary.
        shard: (number, count): which part, from 1, of how many; None if it is the whole data set.
        first: index of its first example in the data set.
        stop: the index after its last example.
        identity: facts that must be equal in all parts.
    """

    path: Path
    summary: dict[str, Any]
    shard: Sequence[int] | None
    first: int
    stop: int
    identity: Mapping[str, Any]


def parse_shard(text: str) -> tuple[int, int]:
    """Reads which part of a data set is meant: "3/50" is the third of fifty.

    Args:
        text: `number/count`: which part, from 1, and how many parts there are.

    Returns:
        (number, count).

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
    """The examples of a part of a data set.

    A part begins and ends between batches, so that all parts have the same batches as a single pass
    over the data set.

    Args:
        num_examples: size of the data set.
        batch_size: examples in a batch.
        number: which part, from 1.
        count: how many parts.

    Returns:
        Index of the first example, and the index after the last one.

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


def shard_output(output: PathLike, shard: tuple[int, int]) -> Path:
    """The file of one part, named after the file of the whole evaluation.

    Args:
        output: file of the whole evaluation.
        shard: (number, count): which part, from 1, and how many parts there are.

    Returns:
        Path in the same directory.

    Example:
        >>> shard_output("x.jsonl.gz", (3, 50))
        PosixPath('x.3-of-50.jsonl.gz')
    """
    output = Path(output)
    stem = summary_path(output).name.removesuffix(".summary.json")
    number, count = shard
    return output.with_name(f"{stem}.{number}-of-{count}{output.name.removeprefix(stem)}")


def shard_facts(first_index: int, shard: tuple[int, int] | None) -> dict[str, Any]:
    """Describes a part of a data set, for the facts that identify its evaluation.

    Args:
        first_index: index of the first example.
        shard: (number, count): which part, from 1, and how many parts there are; None for the whole
            data set.

    Returns:
        A dict that JSON can hold: `first_index`, unless it is 0, and `shard`, unless it is None.

    Raises:
        TypeError: not integers.
        ValueError: a negative index, a part that does not exist.
    """
    first_index = check_count(first_index, "first_index", least=0)
    facts: dict[str, Any] = {"first_index": first_index} if first_index else {}
    if shard is not None:
        number, count = (check_count(each, "shard") for each in shard)
        if number > count:
            raise ValueError(f"shard must be (number, count), from 1 to count, got {shard!r}.")
        facts["shard"] = [number, count]
    return facts


def read_parts(
    paths: Sequence[PathLike], output: PathLike, read: Callable[[PathLike], Part], what: str
) -> list[Part]:
    """Reads the parts of an evaluation that are to be joined, and checks that they are complete.

    Args:
        paths: files of records, in any order.
        output: file to be written later; its directory is made.
        read: a function from the path of a file of records to a `Part`: its summary, which part it
            is, its range of examples, and facts that must be equal in all parts.
        what: what the parts are of, for errors: "study" or "evaluation".

    Returns:
        The parts, in the order of the data set.

    Raises:
        ValueError: no files, parts of different evaluations, or parts that are missing or overlap.
        OSError: a file cannot be read, or the output not be written.
        FileExistsError: the output would overwrite the summary of other records.
    """
    check_writable(output)
    check_own_summary(output)
    if len(paths) == 0:
        raise ValueError("There are no files of records to merge.")
    if Path(output).resolve() in {Path(path).resolve() for path in paths}:
        raise ValueError(f"{output} is one of the files to merge. Choose another output.")
    parts = sorted((read(path) for path in paths), key=lambda part: part.first)
    for part in parts[1:]:
        check_same_evaluation(part.path, part.identity, parts[0].identity)
    _check_complete(parts, what)
    return parts


def merged_provenance(parts: Sequence[Part]) -> dict[str, Any]:
    """Versions, hardware and command behind a merged file: of this process, and of each part.

    Args:
        parts: the parts that were joined.

    Returns:
        The provenance of this process, with that of the parts as a list under `shards`.
    """
    return {**provenance(), "shards": [part.summary["provenance"] for part in parts]}


def _check_complete(parts: Sequence[Part], what: str) -> None:
    whole = next((part.path for part in parts if part.shard is None), None)
    if whole is not None:
        raise ValueError(f"{whole} is no shard but a whole {what}.")
    shards = [tuple(part.shard or ()) for part in parts]
    counts = {count for _, count in shards}
    numbers = [number for number, _ in shards]
    wanted = list(range(1, max(counts) + 1))
    if len(counts) > 1 or sorted(numbers) != wanted:
        raise ValueError(
            f"Expected every shard of one division once, got "
            f"{', '.join(f'{number}/{count}' for number, count in shards)}; missing: "
            f"{', '.join(str(number) for number in wanted if number not in numbers) or 'none'}."
        )
    for before, after in zip(parts, parts[1:], strict=False):
        if before.stop != after.first:
            raise ValueError(
                f"{after.path} begins at example {after.first}, the shard before it ends at "
                f"{before.stop}. Were they made with the same batch size and data?"
            )
