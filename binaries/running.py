"""Runs the work of a program so that it ends with one line and an exit code for launchers."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable

import tensorflow as tf
from absl import flags

from aad_tf.distribute import AbsentWorkerError, WorkerLostError
from aad_tf.training.preemption import PreemptedError, TerminatedError, end_on_signal
from aad_tf.utils.logging import show_progress, skip_final_garbage_collection
from binaries.command_line import LOST_WORKER, MISTAKE, fail

FAILURE = 1
# Other errors of files and networks may pass, so another try may help.
_MISTAKEN_FILES = (
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# What is wrong with data, or too large for the memory, reaches Python as an error of TensorFlow.
_MISTAKEN_DATA = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
)
_MISTAKES = (ValueError, TypeError, ImportError, FloatingPointError, *_MISTAKEN_FILES)


def say(text: str) -> None:
    """Prints a line on what the program does to stderr; results go to stdout."""
    print(text, file=sys.stderr, flush=True)


def run(action: Callable[[], str | None], resumed_from: Callable[[], object] | None = None) -> None:
    """Runs the work of a program and prints the text that it returns to stdout.

    First it installs the handler for SIGTERM, `aad_tf.training.preemption.end_on_signal`. An
    expected error is printed as one line; with `--verbosity=1` its traceback comes first.

    Args:
        action: a function that does the work and returns the text to print, or None.
        resumed_from: a function that returns the file or directory from which the same command
            resumes after an interruption, for the message; None for work that starts over.

    Raises:
        SystemExit: code 2 after a mistake of the user's (bad input, data or files), a full disk,
            training that diverged (NaN), or too little memory for TensorFlow, 75 after another
            worker was lost or did not start, 130 after Ctrl-C, 143 after SIGTERM, 1 after another
            failure of files or networks.
        Exception: an unexpected error, unchanged.
    """
    with_details = (flags.FLAGS["verbosity"].value or 0) > 0
    show_progress()
    end_on_signal()
    skip_final_garbage_collection()
    try:
        text = action()
    except Exception as error:
        if with_details:
            traceback.print_exc()
        _end(error, resumed_from)
        raise
    except KeyboardInterrupt:
        say(f"interrupted{_advice(resumed_from)}.")
        sys.exit(128 + signal.SIGINT)
    if text:
        print(text)


def _end(error: Exception, resumed_from: Callable[[], object] | None) -> None:
    """Ends the program as an error asks for; returns if it is none that is expected."""
    if isinstance(error, WorkerLostError):
        say(f"error: {error}")
        # TensorFlow's own end would wait for the worker that is gone.
        os._exit(LOST_WORKER)
    if isinstance(error, AbsentWorkerError):
        say(f"error: {error}")
        sys.exit(LOST_WORKER)
    if isinstance(error, PreemptedError):
        say(str(error))
        sys.exit(128 + signal.SIGTERM)
    if isinstance(error, TerminatedError):
        say(f"{error}{_advice(resumed_from)}.")
        sys.exit(128 + signal.SIGTERM)
    if isinstance(error, _MISTAKES):
        fail(error)
    if isinstance(error, _MISTAKEN_DATA):
        # TensorFlow appends which operation failed, line by line.
        fail(error.message.splitlines()[0])
    if isinstance(error, OSError):
        say(f"error: {error}")
        sys.exit(MISTAKE if error.errno in _FULL else FAILURE)


def _advice(resumed_from: Callable[[], object] | None) -> str:
    if resumed_from is None:
        return ""
    return f": run the same command again to resume from {resumed_from()}"
