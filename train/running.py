"""How training binaries end: in one line and with an exit code that launchers understand."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import flags, logging

from aad_tf.distribute import AbsentWorkerError, WorkerLostError
from aad_tf.training.preemption import PreemptedError, TerminatedError, end_on_signal
from aad_tf.utils.logging import skip_final_garbage_collection

FAILURE = 1
MISTAKE = 2
# Starting all workers again may help.
LOST_WORKER = 75
# Other errors of files and networks may pass, so another try may help.
_MISTAKEN_FILES = (
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; a mistake in them ends like every other of the user's."""
    try:
        unexpected = flags.FLAGS(list(argv))[1:]
    except flags.Error as error:
        _fail(_without_trace(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # What ml_collections makes of overrides that the config has no place for.
        _fail(_impossible_override(error, argv))
    except OSError as error:
        _fail(unreadable_config(error))
    if unexpected:
        _fail(ValueError(f"Unexpected arguments: {' '.join(unexpected)}."))
    return list(argv[:1])


def _without_trace(error: flags.Error) -> Exception:
    """A mistake in a preset's name without the trace that leads to it."""
    *trace, last = str(error).rstrip().splitlines() or [""]
    if trace and last.startswith("ValueError: "):
        return ValueError(last.removeprefix("ValueError: "))
    return error


def unreadable_config(error: OSError) -> ValueError:
    """What ml_collections says of a config file that is not there, in one line."""
    return ValueError(f"--config cannot be read: {str(error).splitlines()[-1].strip()}")


def _impossible_override(error: Exception, argv: Sequence[str]) -> ValueError:
    text = " ".join(str(error).split())
    if near := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text):
        return ValueError(f"Unknown config key {near[2]!r}. Did you mean {near[1]!r}?")
    overrides = ", ".join(word for word in argv if word.startswith("--config."))
    return ValueError(f"The config has no place for {overrides or '--config'} ({text}).")


def run(action: Callable[[], object]) -> None:
    """Runs a binary's work.

    Args:
        action: the work.

    Raises:
        SystemExit: code 2 after a mistake of the user's, 75 after another worker was lost or did
            not start, 130 after Ctrl-C, 143 after SIGTERM, 1 after a failure of files or networks.
    """
    end_on_signal()
    skip_final_garbage_collection()
    try:
        action()
    except WorkerLostError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        # TensorFlow's own end would wait for the worker that is gone.
        os._exit(LOST_WORKER)
    except AbsentWorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(LOST_WORKER)
    except (PreemptedError, TerminatedError) as error:
        print(error, file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except (ValueError, TypeError, FloatingPointError, *_MISTAKEN_FILES) as error:
        logging.debug("Details", exc_info=True)
        _fail(error)
    except OSError as error:
        logging.debug("Details", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(MISTAKE if error.errno in _FULL else FAILURE)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _fail(error: Exception) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(MISTAKE)
