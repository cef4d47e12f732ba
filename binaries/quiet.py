"""Imports TensorFlow without its start-up messages; every program imports this module first.

TensorFlow writes some messages before it reads TF_CPP_MIN_LOG_LEVEL. Unless that variable is set,
it is set to 2, so that messages below errors are hidden. With 0 nothing is hidden.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile

# Read when TensorFlow and Keras are first imported.
_LEVEL = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

_BELOW_WARNINGS = re.compile(r"I\d{4} |WARNING: All log messages before absl::InitializeLog")
_NO_DRIVER = "Could not find cuda drivers"
_FAILED_DRIVER = "failed call to cuInit"


def worth_showing(text: str) -> str:
    """Removes lines below warnings from TensorFlow's messages.

    If the messages say that there is no CUDA driver, lines about the failed call to it are removed,
    too.

    Args:
        text: messages, several lines.

    Returns:
        The remaining lines.

    Example:
        >>> worth_showing("I0000 00:00:1.2  7 port.cc:153] oneDNN custom operations are on.")
        ''
    """
    no_driver = _NO_DRIVER in text
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not _BELOW_WARNINGS.match(line) and not (no_driver and _FAILED_DRIVER in line)
    )


def _import_tensorflow() -> None:
    import tensorflow as tf

    # Looks for the driver, whose absence is otherwise reported with the first operation.
    tf.config.list_physical_devices()


def _import_quietly() -> None:
    """Keeps back what is written to the file descriptor of stderr meanwhile, C++ included."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            _import_tensorflow()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            kept.seek(0)
            os.write(2, worth_showing(kept.read().decode(errors="replace")).encode())


if _LEVEL == "0":
    _import_tensorflow()
else:
    _import_quietly()
