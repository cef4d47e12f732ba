"""Reads from flags which part of the images is evaluated, and the file of its records."""

from __future__ import annotations

from pathlib import Path

from aad_tf.distribute import ClusterError, find_cluster
from aad_tf.records.shards import parse_shard, shard_output


def requested_part(shard: str | None, output: str) -> tuple[tuple[int, int] | None, Path]:
    """Reads what `--shard` and `--output` ask for.

    Args:
        shard: None for all images; "3/50" for the third of fifty parts; or "cluster", with which
            each worker of a cluster takes the part of its own number and adds the number to the
            file's name, since all workers run the same command.
        output: file of records.

    Returns:
        (number, count): which part, from 1, of how many, or None for all; and the file to write.

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
