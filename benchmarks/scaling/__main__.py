"""Measures how training scales, and writes JSON, Markdown and a figure.

python -m benchmarks.scaling --output=results/benchmarks/scaling.json

With --redraw nothing is measured: Markdown and figure are made anew from the JSON file.
"""

from __future__ import annotations

import os

# Read when TensorFlow and Keras are first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import sys

from absl import app, flags

from aad_tf.checks import near_names
from aad_tf.logs import show_progress
from aad_tf.results import check_writable
from benchmarks.scaling import files, running
from benchmarks.scaling.cases import SIZES

_SIZE = flags.DEFINE_enum("size", "full", list(SIZES), "How much; small only shows that it runs.")
_ONLY = flags.DEFINE_list("only", [], "Some parts; default: all, which the model needs.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights and images.")
_OUTPUT = flags.DEFINE_string("output", "results/benchmarks/scaling.json", "JSON report.")
_FIGURE = flags.DEFINE_string("figure", "results/figures/scaling.png", "Figure of the report.")
_REDRAW = flags.DEFINE_bool("redraw", False, "Make Markdown and figure from the JSON report.")


def main(argv: list[str]) -> None:
    """Parses flags, measures and writes; ends in 2 after a mistake, in 1 if a part failed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    known = running.parts(_SIZE.value)
    for name in _ONLY.value:
        if name not in known:
            raise app.UsageError(f"Unknown part {name!r}.{near_names(name, known)}")
    show_progress()
    try:
        for path in (_OUTPUT.value, _FIGURE.value):
            check_writable(path)
        if _REDRAW.value:
            found = files.read(_OUTPUT.value)
            _save(found)
        else:
            found = running.run(_SIZE.value, _SEED.value, _say, _save, _ONLY.value)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: what was written holds the parts before.", file=sys.stderr)
        sys.exit(130)
    sys.exit(1 if found["raw"]["failures"] else 0)


def _save(found: dict) -> None:
    _say("written: " + ", ".join(map(str, files.write(_OUTPUT.value, _FIGURE.value, found))))


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app.run(main)
