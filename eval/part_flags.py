"""Flags of evaluation binaries: which part of the images is evaluated, and the file of records."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from aad_tf.records.journal import journal_path
from eval.sharding import requested_part

LIMIT = flags.DEFINE_integer(
    "limit",
    None,
    "Evaluate only so many images: the first of a data set, or as many from all over --images.",
    1,
)
SHARD = flags.DEFINE_string(
    "shard",
    None,
    "Evaluate only this part, such as 3/50. With 'cluster' every worker of a cluster takes one: "
    "the third of fifty takes 3/50 and writes x.3-of-50.jsonl.gz where --output is x.jsonl.gz.",
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File of records to write, compressed if its name ends with .gz, as in runs/mine.jsonl.gz; a "
    "summary goes beside it.",
)
NAMES = ("limit", "shard", "output")
"""To be declared as key flags of a binary, so that its `--help` shows them."""


def asked_for() -> tuple[tuple[int, int] | None, Path]:
    """The part and the file of records that `--shard` and `--output` ask for.

    Returns:
        (number, count): which part, from 1, of how many, or None for all; and the file to write.
    """
    return requested_part(SHARD.value, str(OUTPUT.value))


def journal() -> Path:
    """The file from which an interrupted run with these flags is resumed."""
    return journal_path(asked_for()[1])
