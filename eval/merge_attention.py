"""Joins shards of eval.attention.

python -m eval.merge_attention --output=all.jsonl.gz part*.jsonl.gz
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import attention_study
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
        lambda: attention_study.format_summary(
            attention_study.merge_shards(argv[1:], _OUTPUT.value)
        )
    )


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_with_arguments)
