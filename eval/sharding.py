"""Which part of the images an evaluation binary takes, and where its records go."""

from __future__ import annotations

from pathlib import Path

from aad_tf.distribute import ClusterError, find_cluster
from aad_tf.records.shards import parse_shard, shard_output


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
