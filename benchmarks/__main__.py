"""Measures this library beside others and writes a report.

python -m benchmarks --only=training_step,attack --output=results/benchmarks/latest.json
"""

from __future__ import annotations

import os

# Read when TensorFlow and Keras are first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import sys

from absl import app, flags

from aad_tf.utils.checks import near_names
from aad_tf.utils.files import check_writable
from aad_tf.utils.logging import show_progress
from benchmarks import report, suite
from benchmarks.peers import PeersMissingError
from benchmarks.subject import SIZES

_ONLY = flags.DEFINE_list("only", [], f"Some of: {', '.join(suite.BENCHMARKS)}. Default: all.")
_SIZE = flags.DEFINE_enum("size", "full", list(SIZES), "How much; small only shows that it runs.")
_OUTPUT = flags.DEFINE_string(
    "output", "results/benchmarks/latest.json", "JSON report; a Markdown one goes beside it."
)


def main(argv: list[str]) -> None:
    """Parses flags, runs, prints and writes; an error of the user's ends in exit code 2."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    for name in _ONLY.value:
        if name not in suite.BENCHMARKS:
            raise app.UsageError(f"Unknown benchmark {name!r}.{near_names(name, suite.BENCHMARKS)}")
    show_progress()
    try:
        check_writable(_OUTPUT.value)
        found = suite.run(_ONLY.value or list(suite.BENCHMARKS), _SIZE.value, _say)
        written = report.write(_OUTPUT.value, found)
    except (PeersMissingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(report.markdown(found))
    print(f"written: {_OUTPUT.value} and {written}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app.run(main)
