"""Measures this library beside others and writes a report.

python -m benchmarks --only=training_step,attack --output=results/benchmarks/latest.json
"""

from __future__ import annotations

from absl import app, flags

from aad_tf.utils.checks import check_choice
from aad_tf.utils.files import check_writable
from benchmarks import report, suite
from benchmarks.subject import SIZES
from binaries import command_line, running

_ONLY = flags.DEFINE_list("only", [], f"Some of: {', '.join(suite.BENCHMARKS)}. Default: all.")
_SIZE = flags.DEFINE_enum("size", "full", list(SIZES), "How much; small only shows that it runs.")
_OUTPUT = flags.DEFINE_string(
    "output", "results/benchmarks/latest.json", "JSON report; a Markdown one goes beside it."
)


def main(argv: list[str]) -> None:
    """Runs the benchmarks that the flags name; a mistake of the user's ends with exit code 2."""
    del argv
    running.run(_measure)


def _measure() -> str:
    for name in _ONLY.value:
        check_choice(name, suite.BENCHMARKS, "benchmark")
    check_writable(_OUTPUT.value)
    found = suite.run(_ONLY.value or list(suite.BENCHMARKS), _SIZE.value, running.say)
    written = report.write(_OUTPUT.value, found)
    return f"{report.markdown(found)}\nwritten: {_OUTPUT.value} and {written}"


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
