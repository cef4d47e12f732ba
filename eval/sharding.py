"""Which part of the images an evaluation binary takes, and where its records go: its flags too."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from aad_tf.distribute import ClusterError, find_cluster
from aad_tf.records.journal import journal_path
from aad_tf.records.shards import parse_shard, shard_output

LIMIT = flags.DEFINE_integer("limit", None, "Evaluate only the first so many images.", 1)
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
    """What the flags ask for; see `requested_part`."""
    return requested_part(SHARD.value, str(OUTPUT.value))


def journal() -> Path:
    """The file from which an interrupted run of the flags goes on."""
    return journal_path(asked_for()[1])


def requested_part(shard: str | None, output: str) -> tuple[tuple[int, int] | None, Path]:
    """Reads what `--shard` and `--output` ask for.

    Args:
        shard: None for the whole, "3/50", or "cluster": the part of this worker's number, from a
            file named by it, since all workers are started by the same command.
        output: file of records.

    Returns:
        (number, count) or None, and the file to write.

    Raises:
        ValueError: a part that does not exist, or no cluster.

    Example:
        >>> requested_part("3/50", "x.jsonl.gz")
        ((3, 50), PosixPath('x.jsonl.gz'))
    """
    if shard is None:
        return None, Path(output)
    if shard != "cluster":
        return parse_shard(shard), Path(output)
    try:
        cluster = find_cluster()
    except ClusterError as error:
        raise ValueError(
            f"--shard=cluster takes the number of this worker in its cluster. {error} Or number "
            f"the parts by hand: --shard=1/50."
        ) from error
    part = (cluster.index + 1, cluster.size)
    return part, shard_output(output, part)
