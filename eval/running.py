"""How every evaluation binary runs and ends: bad input is one line, exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import logging

from aad_tf.utils.logging import show_progress, skip_final_garbage_collection

# Help of a flag.
IMAGE_SIZE = (
    "Side that images are resized to, 0 for the data's own; default: that of the model directory's "
    "config, of other models 0."
)
# What goes wrong while data are read reaches Python as an error of TensorFlow.
_BAD_INPUT = (ValueError, TypeError, OSError, ImportError, tf.errors.OpError)


def run(
    action: Callable[[], str],
    unexpected: Sequence[str] = (),
    resumed_from: Callable[[], object] | None = None,
) -> None:
    """Runs a binary's work and prints what it says of it.

    Args:
        action: the work; returns the text to print.
        unexpected: arguments that are no flags, which most binaries do not take.
        resumed_from: where an interrupted run leaves what it will go on from; None for work that
            starts over.

    Raises:
        SystemExit: code 2 after bad input, 130 after Ctrl-C.
    """
    show_progress()
    skip_final_garbage_collection()
    try:
        if unexpected:
            raise ValueError(f"Unexpected arguments: {' '.join(unexpected)}.")
        text = action()
    except _BAD_INPUT as error:
        logging.debug("Details", exc_info=True)
        # TensorFlow appends which operation failed, line by line.
        shown = error.message.splitlines()[0] if isinstance(error, tf.errors.OpError) else error
        print(f"error: {shown}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        advice = ""
        if resumed_from is not None:
            advice = f": run the same command again to resume from {resumed_from()}"
        print(f"interrupted{advice}.", file=sys.stderr)
        sys.exit(130)
    print(text)
