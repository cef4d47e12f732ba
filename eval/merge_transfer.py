"""Joins shards of eval.transfer.

python -m eval.merge_transfer --output=all.jsonl.gz part*.jsonl.gz
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import evaluation
from binaries import command_line, running

_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File of records to write, compressed if its name ends with .gz; a summary goes beside it.",
    required=True,
)


def main(argv: list[str]) -> None:
    """Merges the files that the command line names; bad input ends with exit code 2."""
    running.run(
        lambda: evaluation.format_transfer(evaluation.merge_transfer(argv[1:], _OUTPUT.value))
    )


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_with_arguments)
