"""Checks of arguments, whose errors say what was expected."""

from __future__ import annotations

import difflib
from numbers import Integral

# Larger sides are taken for a mistake: one picture would fill 200 MB.
LARGEST_SIDE = 4096


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError for a value that is none of the choices; names the near ones."""
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"Unknown {what} {value!r}.{hint} Available: {', '.join(choices)}.")


def check_image_size(image_size: int) -> None:
    """Raises ValueError for what is no side of an image."""
    integer = isinstance(image_size, Integral) and not isinstance(image_size, bool)
    if not integer or not 0 <= image_size <= LARGEST_SIDE:
        raise ValueError(
            f"image_size must be 0 (the data's own size) or an integer from 1 to {LARGEST_SIDE}, "
            f"got {image_size!r}."
        )


def check_at_least(what: str, value: int, least: int) -> None:
    """Raises ValueError for what is not an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{what} must be an integer of at least {least}, got {value!r}.")
