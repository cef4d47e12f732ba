"""Parses the flags of programs: help ends with exit code 0, a mistake with one line and code 2.

It does not import TensorFlow, so that `train.local_cluster` starts at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags

MISTAKE = 2
"""Exit code after a mistake of the user's, with which the same command would fail again."""
LOST_WORKER = 75
"""Exit code of a worker that lost another worker; starting all workers again may help."""


def parse(argv: Sequence[str]) -> list[str]:
    """Parses flags, for `absl.app.run(main, flags_parser=parse)`.

    Args:
        argv: the command line, the program's name first.

    Returns:
        A list of the program's name alone.

    Raises:
        SystemExit: code 0 after help was shown, 2 after a mistake or an argument that is no flag.
    """
    program, *unexpected = parse_with_arguments(argv)
    if unexpected:
        fail(f"Unexpected arguments: {' '.join(unexpected)}.")
    return [program]


def parse_with_arguments(argv: Sequence[str], hint: str = "") -> list[str]:
    """Parses the flags of a program that takes other arguments, too.

    Args:
        argv: the command line, the program's name first.
        hint: a sentence that is added to the message about an unknown flag.

    Returns:
        The program's name and the arguments that are no flags.

    Raises:
        SystemExit: code 0 after help was shown, 2 after a mistake in flags.
    """
    try:
        return flags.FLAGS(list(argv))
    except SystemExit:
        # Only flags that show help end the program, and those of absl end it with 1.
        sys.exit(0)
    except flags.UnrecognizedFlagError as error:
        text = str(error)
        fail(f"{text if text.endswith('?') else text + '.'} {hint}".rstrip())
    except flags.Error as error:
        fail(_without_trace(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # What ml_collections makes of overrides that the config has no place for.
        fail(_impossible_override(error, argv))
    except OSError as error:
        fail(unreadable_config(error))


def fail(error: object) -> NoReturn:
    """Prints `error: ...` to stderr and ends the program with exit code 2.

    Args:
        error: the message, or an exception.

    Raises:
        SystemExit: always.
    """
    print(f"error: {error}", file=sys.stderr)
    sys.exit(MISTAKE)


def _without_trace(error: flags.Error) -> str:
    """A mistake in flags in one line, one in a preset's name without the trace that leads to it."""
    lines = str(error).rstrip().splitlines() or [""]
    if len(lines) > 1 and lines[-1].startswith("ValueError: "):
        return lines[-1].removeprefix("ValueError: ")
    return " ".join(line.strip() for line in lines)


def unreadable_config(error: OSError) -> ValueError:
    """Shortens the error of ml_collections about a config file that cannot be read to one line."""
    return ValueError(f"--config cannot be read: {str(error).splitlines()[-1].strip()}")


def _impossible_override(error: Exception, argv: Sequence[str]) -> str:
    text = " ".join(str(error).split())
    if near := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text):
        return f"Unknown config key {near[2]!r}. Did you mean {near[1]!r}?"
    overrides = ", ".join(word for word in argv if word.startswith("--config."))
    return f"The config has no place for {overrides or '--config'} ({text})."
