"""Joins the shards of eval.attention: python -m eval.merge_attention --output=ALL PART PART ..."""

from __future__ import annotations

import sys

from absl import app, flags, logging

from aad_tf import attention_study

_OUTPUT = flags.DEFINE_string("output", None, "File of records (.jsonl.gz).", required=True)


def main(argv: list[str]) -> None:
    """Merges the files named; a mistake of the user's ends in one line and exit code 2."""
    try:
        summary = attention_study.merge_shards(argv[1:], _OUTPUT.value)
    except (ValueError, OSError) as error:
        logging.debug("Details", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(attention_study.format_summary(summary))


if __name__ == "__main__":
    app.run(main)
